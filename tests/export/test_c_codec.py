"""Exported models through the C library of this machine: the tokens and samples of the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import fingerprints
import fuzz_cases
import numpy as np
import pytest
from conftest import Golden
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import c_fuzz
import c_library
import fcs_edge
from c_library import FcsError, Model
from fcs_edge.convert import convert

CASES = ("tiny", "options", "nolookahead", pytest.param("full_4k", marks=pytest.mark.full))
SAMPLES = 1e-4
"""Largest difference from the reference, absolute."""

Exported = Callable[[str | Path | None], Model]


def in_pieces(stream: Any, items: NDArray[Any], pieces: tuple[int, ...], seed: int) -> Any:
    """Push items in pieces of random sizes, flush, and return all that comes out."""
    rng, parts, at = np.random.default_rng(seed), [], 0
    while at < items.size:
        n = int(rng.choice(pieces))
        parts.append(stream.push(items[at : at + n]))
        at += n
    return np.concatenate([*parts, stream.flush()])


@pytest.mark.parametrize("chunks", [1, 8])
@pytest.mark.parametrize("name", CASES)
def test_golden(
    name: str, chunks: int, golden: Callable[[str], Golden], exported: Exported
) -> None:
    case = golden(name)
    model = exported(case.model)
    tokens = in_pieces(model.encoder(chunks), case.signal, (0, 1, 319, 1279, 1281, 9999), 1)
    assert np.array_equal(tokens, case.expected["toks"])
    sound = in_pieces(model.decoder(chunks), tokens, (0, 1, 3, 4, 5, 37), 2)
    assert np.abs(sound - case.expected["sig"]).max() < SAMPLES
    assert np.array_equal(sound, case.codec.decode(tokens))


class _Streams:
    """A model of the library, with the names that a codec's streams have."""

    def __init__(self, model: Model) -> None:
        self.stream_encoder, self.stream_decoder = model.encoder, model.decoder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    found: dict[str, Path | None] = fingerprints.models(tmp_path_factory.mktemp("models"))
    return found


@pytest.mark.parametrize("name", ["edge-65k", *fingerprints.WEIGHTS, *fingerprints.NOISY])
def test_fingerprints_of_every_cpu(
    name: str, models: dict[str, Path | None], exported: Exported
) -> None:
    model = exported(models[name])
    tokens, samples = fingerprints.streamed(_Streams(model), fingerprints.speech())
    found = {
        "model": bytes(model.facts.fingerprint).hex(),
        "tokens": fingerprints.fingerprint(tokens),
        "samples": fingerprints.fingerprint(samples),
    }
    assert found == fingerprints.expected()[name]


@pytest.fixture(scope="module")
def halves(golden: Callable[[str], Golden], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a model's encoder and its decoder, each in a file of its own."""
    folder, case = tmp_path_factory.mktemp("halves"), golden("options")
    paths = {part: folder / f"{part}.safetensors" for part in ("encoder", "decoder")}
    for part, path in paths.items():
        convert(case.model, path, None, case.codec.model.scheme, part)
    return paths


def test_the_prior_is_in_the_file(exported: Exported) -> None:
    codec, model = fcs_edge.load(), exported(None)
    assert model.facts.name.decode() == codec.name
    assert model.section(5, len(codec.model.priors)) is None
    newest = model.section(5, len(codec.model.priors) - 1)
    assert newest is not None
    assert newest.startswith(codec.model.priors[-1].head())


def test_tails_of_every_length(
    golden: Callable[[str], Golden], exported: Exported, speech: NDArray[np.float32]
) -> None:
    case = golden("tiny")
    model, codec = exported(case.model), case.codec
    chunk = codec.chunk_size
    signal, encoder, theirs = speech[30000:], model.encoder(), codec.stream_encoder()
    for n in range(1, chunk):
        assert encoder.push(signal[:n]).size == theirs.push(signal[:n]).size == 0
        assert np.array_equal(encoder.flush(), theirs.flush()), n
    tokens = codec.encode(signal[: 3 * chunk])
    decoder = model.decoder()
    for n in range(tokens.size + 1):
        sound = np.concatenate([decoder.push(tokens[:n]), decoder.flush()])
        assert np.array_equal(sound, codec.decode(tokens[:n])), n


@pytest.mark.parametrize("chunks", [1, 8])
def test_half_models(
    chunks: int,
    golden: Callable[[str], Golden],
    exported: Exported,
    halves: dict[str, Path],
    speech: NDArray[np.float32],
) -> None:
    codec = golden("options").codec
    signal = speech[: 10 * codec.chunk_size + 333]
    tokens = codec.encode(signal)
    encodes, decodes = exported(halves["encoder"]), exported(halves["decoder"])
    for half in (encodes, decodes):
        assert bytes(half.facts.fingerprint) == codec.model.fingerprint
    assert np.array_equal(in_pieces(encodes.encoder(chunks), signal, (1, 999, 9999), 3), tokens)
    sound = in_pieces(decodes.decoder(chunks), tokens, (1, 5, 37), 4)
    assert np.array_equal(sound, codec.decode(tokens))
    for other in (encodes.decoder, decodes.encoder):
        with pytest.raises(FcsError) as refused:
            other(chunks)
        assert refused.value.code == c_library.NO_PART
    whole = exported(golden("options").model)
    for half in (encodes, decodes):
        assert half.memory.bytes.size < whole.memory.bytes.size


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 5000), max_size=8), chunks=st.sampled_from([1, 8]))
def test_any_cutting_gives_the_same(
    cuts: list[int],
    chunks: int,
    golden: Callable[[str], Golden],
    exported: Exported,
    speech: NDArray[np.float32],
) -> None:
    case = golden("tiny")
    model = exported(case.model)
    signal, encoder, decoder = speech[:13000], model.encoder(chunks), model.decoder(chunks)
    whole = case.codec.encode(signal)
    tokens, sounds = [], []
    for piece in np.split(signal, np.minimum(np.cumsum(cuts, dtype=int), signal.size)):
        tokens.append(encoder.push(piece))
        sounds.append(decoder.push(tokens[-1]))
    tokens.append(encoder.flush())
    sounds += [decoder.push(tokens[-1]), decoder.flush()]
    assert np.array_equal(np.concatenate(tokens), whole)
    assert np.array_equal(np.concatenate(sounds), case.codec.decode(whole))


@pytest.mark.parametrize("name", ["tiny", "noisy"])
def test_random_calls(name: str, request: pytest.FixtureRequest, exported: Exported) -> None:
    codec: fcs_edge.Codec = request.getfixturevalue(name)
    rng = np.random.default_rng(fuzz_cases.SEED)
    streams = codec.stream_encoder, codec.stream_decoder
    c_fuzz.fuzz(exported(codec.model.path), *streams, rng, 300 * fuzz_cases.TIMES)


def test_work_memory_holds_nothing(
    golden: Callable[[str], Golden], exported: Exported, speech: NDArray[np.float32]
) -> None:
    """A state without its history, poisoned between calls, gives the same."""
    case = golden("tiny")
    model = exported(case.model)
    signal = speech[: 10 * case.codec.chunk_size + 77]
    expected = case.codec.encode(signal)
    for chunks in (1, 8):
        encoder, tokens = model.encoder(chunks), []
        for piece in np.array_split(signal, 7):
            tokens.append(encoder.push(piece))
            encoder.poison()
        tokens.append(encoder.flush())
        assert np.array_equal(np.concatenate(tokens), expected)
        decoder, sounds = model.decoder(chunks), []
        for some in np.array_split(expected, 7):
            sounds.append(decoder.push(some))
            decoder.poison()
        sounds.append(decoder.flush())
        assert np.array_equal(np.concatenate(sounds), case.codec.decode(expected))


def test_two_states_on_two_threads(
    golden: Callable[[str], Golden], exported: Exported, speech: NDArray[np.float32]
) -> None:
    case = golden("tiny")
    model, signals = exported(case.model), (speech[:60000], speech[-60000:])
    results: list[list[Any]] = [[], []]

    def run(number: int) -> None:
        encoder, decoder = model.encoder(), model.decoder()
        for piece in np.array_split(signals[number], 20):
            tokens = encoder.push(piece)
            results[number] += [tokens, decoder.push(tokens)]

    threads = [Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for signal, parts in zip(signals, results, strict=True):
        tokens = np.concatenate(parts[::2])
        assert np.array_equal(tokens, case.codec.encode(signal)[: tokens.size])
        sound = np.concatenate(parts[1::2])
        assert np.array_equal(sound, case.codec.decode(tokens)[: sound.size])
