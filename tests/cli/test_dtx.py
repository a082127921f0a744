"""``encode --dtx``: pauses in few bytes, and where they cannot be stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.tokens.pauses import PauseFilter
from helpers import stream_tokens


@pytest.fixture
def pauses(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    """Speech between 2.5 s of silence and a silence of 10 s."""
    sound = np.concatenate([np.zeros(40000), speech[20000:40000], np.zeros(160077)])
    soundfile.write(tmp_path / "pauses.wav", sound, 16000, "PCM_16")
    return tmp_path / "pauses.wav"


def test_a_pause_takes_less_than_5_bytes_a_second(
    pauses: Path, tmp_path: Path, run: Callable
) -> None:
    sizes = []
    for options in ((), ("--dtx",)):
        out = tmp_path / f"out{len(sizes)}.fcs"
        assert run("encode", *options, pauses, out).code == 0
        sizes.append(out.stat().st_size)
    records = json.loads(run("info", "--records", "--json", out).out)
    whole = [r for r in records if r["paused"] == 100]
    assert len(whole) >= 3
    assert max(r["size"] for r in whole) / 2 <= 5
    assert sizes[1] < sizes[0]
    facts = json.loads(run("info", "--json", out).out)
    assert 0.5 < facts["pauses"] < 0.95
    assert facts["settings"]["dtx"] is True
    printed = run("info", out).out
    assert "of the tokens" in printed
    assert " with pauses" in printed
    assert run("decode", out, tmp_path / "out.wav").code == 0
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == round(220077 * 1.5)


def test_the_tokens_are_those_of_the_filter(pauses: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "out.fcs"
    assert run("encode", "--dtx", pauses, out).code == 0
    codec, sound = fcs_edge.load(), soundfile.read(pauses, dtype="float32")[0]
    tokens = codec.encode(sound)
    n = sound.size // codec.chunk_size
    filtered = PauseFilter(codec)
    parts = [filtered.push(sound[: n * codec.chunk_size], tokens[: n * codec.chunk_tokens])]
    parts.append(filtered.push(sound[n * codec.chunk_size :], tokens[:0]))
    parts.append(filtered.flush(tokens[n * codec.chunk_tokens :]))
    expected = np.concatenate([part.tokens for part in parts])
    found = stream_tokens(out, codec, strict=True)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, tokens)


@pytest.mark.parametrize("out", ["out.npy", "out.npz"])
def test_arrays_hold_no_pauses(out: str, wav: Path, tmp_path: Path, run: Callable) -> None:
    line = run("encode", "--dtx", wav, tmp_path / out).failed(2)
    assert "--dtx is for an OUT that is a bitstream only" in line
    assert not (tmp_path / out).exists()


def test_stored_tokens_have_no_level(tiny: fcs_edge.Codec, tmp_path: Path, run: Callable) -> None:
    np.save(tmp_path / "in.npy", np.zeros(100, np.uint16))
    line = run("encode", "--dtx", tmp_path / "in.npy", tmp_path / "out.fcs").failed(2)
    assert "--dtx is for an IN that is sound only" in line


def test_streamed_blocks_hold_no_pauses(shell: Callable, wav: Path) -> None:
    done = shell("encode", "--dtx", wav, "-")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"--dtx is for blocks, but a pipe receives chunks: add --block 2." in done.stderr


def test_a_pipe_receives_pauses_in_blocks(
    shell: Callable, pauses: Path, tmp_path: Path, run: Callable
) -> None:
    done = shell("encode", "-q", "--dtx", "--block", "2", pauses, "-")
    (tmp_path / "pipe.fcs").write_bytes(done.stdout)
    assert run("encode", "--dtx", pauses, tmp_path / "file.fcs").code == 0
    assert (tmp_path / "file.fcs").read_bytes() == done.stdout
