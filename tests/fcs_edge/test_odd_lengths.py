"""Files and pipes of tokens whose sound ends anywhere: no token and no sample more or less."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.bitstream.reader import BitstreamReader, Event, HeaderRead, read_batches
from fcs_edge.tokens.event_decoder import EventDecoder
from fcs_edge.tokens.event_tokens import EventTokens
from fcs_edge.tokens.fcs import PriorCoders, fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.sound_writer import PausingWriter, SoundWriter
from helpers import Recorded

F32 = NDArray[np.float32]
NAMES = "tiny", "options", "nolookahead"

BLOCKS = [
    FcsOptions(block_seconds=seconds, raw=raw, protection=protection)
    for seconds in (0.02, 0.1, 0.38, 1.0, 2.0, 2.02, 4.0)
    for raw in (False, True)
    for protection in (None, 0.25)
]
PACKETS = [FcsOptions(packet_bytes=n) for n in (24, 51, 222)]
OPTIONS = st.one_of(*map(st.sampled_from, (BLOCKS, PACKETS, [FcsOptions(eager=True)])))


class Arriving(io.RawIOBase):
    """A file that returns what each write of another one has."""

    def __init__(self, writes: list[bytes]) -> None:
        self._writes = iter(writes)

    def read(self, n: int = -1) -> bytes:
        return next(self._writes, b"")


def written(
    codec: fcs_edge.Codec, signal: F32, options: FcsOptions, cuts: list[int]
) -> list[bytes]:
    """Encode a signal that comes in pieces; return what each write of the bitstream has."""
    file = Recorded()
    writer = fcs_writer(file, codec, options)  # type: ignore[arg-type]
    sound = PausingWriter(writer, codec) if options.dtx else SoundWriter(writer)
    encoder = codec.stream_encoder()
    for part in np.split(signal, cuts):
        sound.write(part, encoder.push(part))
    sound.close(signal.size, encoder.flush())
    return file.writes


def events(codec: fcs_edge.Codec, writes: list[bytes], live: bool) -> list[list[Event]]:
    reader = BitstreamReader(eager=live, coders=PriorCoders(codec))
    return list(read_batches(Arriving(writes), reader))


def decoded(codec: fcs_edge.Codec, batches: list[list[Event]], live: bool) -> F32:
    problems: list[str] = []
    decoder = EventDecoder(codec, problems.append, live=live)
    sound = [part for batch in batches for part in decoder.decode(batch)]
    sound += decoder.close()
    assert problems == []
    return np.concatenate(sound)


def copied(codec: fcs_edge.Codec, batches: list[list[Event]], knows: bool) -> list[int]:
    """Return the tokens that a copy has, where the model is known and where it is not."""
    header = next(e for batch in batches for e in batch if isinstance(e, HeaderRead)).header
    tokens = EventTokens(header, codec.chunk_tokens if knows else None)
    parts = [part for batch in batches for part in tokens.take(batch)]
    parts += tokens.rest()
    assert tokens.losses(damaged=False) == []
    return np.concatenate([np.zeros(0, np.uint16), *parts]).tolist()


@settings(max_examples=60, phases=[Phase.generate])
@given(data=st.data())
def test_a_sound_that_ends_anywhere(data: st.DataObject, golden: Callable, speech: F32) -> None:
    codec = golden(data.draw(st.sampled_from(NAMES))).codec
    n = data.draw(st.integers(1, 50000))
    signal = speech[20000:][:n]
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=5)))
    options = data.draw(OPTIONS)
    writes = written(codec, signal, options, cuts)
    live = options.eager and data.draw(st.booleans())
    batches = events(codec, writes, live)
    tokens = codec.encode(signal)
    expected = codec.decode(tokens)[: codec.output_length(n)]
    np.testing.assert_array_equal(decoded(codec, batches, live), expected)
    for knows in (True, False):
        assert copied(codec, batches, knows) == tokens.tolist()


@pytest.mark.parametrize("n", [77, 47, 1281, 16000 * 7 + 321])
def test_pauses_that_reach_the_end(n: int, tiny: fcs_edge.Codec) -> None:
    signal = np.random.default_rng(1).standard_normal(n).astype(np.float32) * np.float32(1e-4)
    batches = events(tiny, written(tiny, signal, FcsOptions(dtx=True), [n // 2]), False)
    assert len(copied(tiny, batches, True)) == -(-n // 320)
    assert decoded(tiny, batches, False).size == tiny.output_length(n)


def test_lengths_are_rounded_with_ties_to_even(tiny: fcs_edge.Codec) -> None:
    assert [tiny.output_length(n) for n in range(8)] == [0, 2, 3, 4, 6, 8, 9, 10]


def test_tokens_of_version_1_stay_whole_chunks(
    tiny: fcs_edge.Codec, speech: F32, tmp_path: Path
) -> None:
    """A file of them is read, written again and copied as it is; its sound has the same length."""
    tokens = tiny.encode(speech[: 5 * 1280])
    path = tmp_path / "old.fcs"
    fcs_edge.write_fcs(path, tokens, 4 * 1280 + 1, tiny)
    stored = fcs_edge.read_fcs(path)
    assert stored.damage == ()
    np.testing.assert_array_equal(stored.tokens, tokens)
    sound = fcs_edge.decode_file(path, codec=tiny)
    length = tiny.output_length(4 * 1280 + 1)
    np.testing.assert_array_equal(sound, tiny.decode(tokens)[:length])
    with pytest.raises(ValueError, match="16 tokens more"):
        fcs_edge.write_fcs(tmp_path / "b.fcs", tokens, 1280, tiny)
