"""The example of the C library: a whole encoder and decoder, over toy kernels."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import toy_codec
from fcs_edge.audio.wav import to_file_pcm16
from fcs_edge.export.libraries import NATIVE
from helpers import stream_tokens
from native_tools import compiled

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with a model beside it."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "model.fcsm").write_bytes(toy_codec.model())
    sources = NATIVE / "example.c", NATIVE / "fcs.c", NATIVE / "fcs_inside.c"
    return compiled(folder / "example", f"-I{NATIVE}", *sources, HERE / "toy_kernels.c")


def run(
    example: Path, *words: str | Path, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [example, *words]
    return subprocess.run(command, cwd=example.parent, input=given, capture_output=True)


def pcm(n: int) -> NDArray[np.int16]:
    return np.random.default_rng(n).integers(-20000, 20000, n).astype(np.int16)


@pytest.mark.parametrize("n", [0, 1, 3, 10, 13, 5000, 70001])
def test_there_and_back(n: int, example: Path, tmp_path: Path) -> None:
    samples, source, out = pcm(n), tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, samples, 16000)
    done = run(example, "encode", source, tmp_path / "x.fcs")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    tokens, _ = toy_codec.encoded(samples.astype(np.float32) / 32768)
    assert np.array_equal(stream_tokens(tmp_path / "x.fcs"), tokens)
    assert run(example, "decode", tmp_path / "x.fcs", out).returncode == 0
    sound, rate = soundfile.read(out, dtype="int16")
    assert rate == 8000
    expected = toy_codec.decoded(tokens)[: round(n / 2)]
    assert np.array_equal(sound, to_file_pcm16(np.clip(expected, -1, 1)))


def test_float_pipes_and_an_odd_chunk(example: Path, tmp_path: Path) -> None:
    samples = pcm(1001)
    soundfile.write(tmp_path / "in.wav", samples / 32768, 16000, subtype="FLOAT")
    plain = samples.astype("<i2").tobytes()
    expected = run(example, "encode", "-", "-", given=plain)
    assert expected.returncode == 0
    from_float = run(example, "encode", tmp_path / "in.wav", "-")
    assert from_float.stdout == expected.stdout
    header = b"RIFF\xff\xff\xff\xffWAVE" + b"note\x03\0\0\0abc\0"
    format_ = b"fmt \x10\0\0\0" + np.array([1, 1, 16000, 0, 32000, 0, 2, 16], "<u2").tobytes()
    wav = header + format_ + b"data\xff\xff\xff\xff" + plain
    assert run(example, "encode", "-", "-", given=wav).stdout == expected.stdout
    sound = run(example, "decode", "-", "-", given=expected.stdout).stdout
    assert len(sound) == 44 + 2 * 500


def test_a_pipe_and_a_device_are_written_not_replaced(example: Path, tmp_path: Path) -> None:
    given, pipe = pcm(1001).astype("<i2").tobytes(), tmp_path / "pipe"
    expected = run(example, "encode", "-", "-", given=given).stdout
    os.mkfifo(pipe)
    # Open for both: no end waits for the other.
    end = os.open(pipe, os.O_RDWR)
    assert run(example, "encode", "-", pipe, given=given).returncode == 0
    assert os.read(end, 1 << 16) == expected
    os.close(end)
    assert pipe.is_fifo()
    for words, data in ((("encode", "-"), given), (("decode", "-"), expected)):
        done = run(example, *words, "/dev/full", given=data)
        assert done.returncode == 1
        assert b"/dev/full: cannot be written: is the disk full?" in done.stderr
    assert Path("/dev/full").is_char_device()


def wav(data: bytes, stated: int) -> bytes:
    """Return a WAV that states another number of bytes."""
    format_ = np.array([1, 1, 16000, 0, 32000, 0, 2, 16], "<u2").tobytes()
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + format_
    return head + b"data" + stated.to_bytes(4, "little") + data


@pytest.mark.parametrize("stated", [0, 0x7FFFFFFF, 0x7FFFFFDB, 0xFFFFFFFF])
def test_a_wav_of_unknown_length_is_read_to_its_end(stated: int, example: Path) -> None:
    given = pcm(9001).astype("<i2").tobytes()
    expected = run(example, "encode", "-", "-", given=given).stdout
    done = run(example, "encode", "-", "-", given=wav(given, stated))
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


@pytest.mark.parametrize("missing", [1, 2, 1000])
def test_a_wav_that_is_cut_is_a_problem(missing: int, example: Path) -> None:
    given = pcm(9001).astype("<i2").tobytes()[:-missing]
    expected = run(example, "encode", "-", "-", given=given).stdout
    done = run(example, "encode", "-", "-", given=wav(given, 18002))
    assert (done.returncode, done.stdout) == (1, expected)
    assert done.stderr == b"example: standard input: ends before its header says\n"


def test_damage_is_silence_of_the_same_length(example: Path, tmp_path: Path) -> None:
    given = pcm(40000).astype("<i2").tobytes()
    stream = bytearray(run(example, "encode", "-", "-", given=given).stdout)
    stream[len(stream) // 2] ^= 1
    done = run(example, "decode", "-", tmp_path / "out.wav", given=bytes(stream))
    assert done.returncode == 1
    assert b"standard input: " in done.stderr
    sound, _ = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert sound.size == 20000
    quiet = np.flatnonzero(sound == 0)
    assert quiet.size >= 150
    assert np.array_equal(quiet, np.arange(quiet[0], quiet[0] + quiet.size))


def test_a_part_of_another_model_is_left_out(example: Path, tmp_path: Path) -> None:
    other = toy_codec.fcsm.pack(toy_codec.head(fingerprint=b"anothers"), toy_codec.sections())
    (tmp_path / "other.fcsm").write_bytes(other)
    given = pcm(400).astype("<i2").tobytes()
    stream = run(example, "encode", "-m", tmp_path / "other.fcsm", "-", "-", given=given).stdout
    own = run(example, "encode", "-", "-", given=given).stdout
    done = run(example, "decode", "-", "-", given=stream + own)
    assert done.returncode == 1
    assert b"a part is left out" in done.stderr
    assert len(done.stdout) == 44 + 2 * 200


def test_what_is_refused(example: Path, tmp_path: Path) -> None:
    for rate, channels in ((8000, 1), (16000, 2)):
        samples = np.zeros((20, channels))
        soundfile.write(tmp_path / f"{rate}.{channels}.wav", samples, rate)
    soundfile.write(tmp_path / "24.wav", np.zeros(20), 16000, subtype="PCM_24")
    (tmp_path / "bare").write_bytes(bytes(100))
    (tmp_path / "cut.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    out = tmp_path / "out"
    for words, text in (
        ([], "use: example encode"),
        (["other", "a", "b"], "use: example encode"),
        (["encode", "none.wav", out], "none.wav: cannot be opened"),
        (["encode", tmp_path / "8000.1.wav", out], "has 8000 Hz; the model takes 16000"),
        (["encode", tmp_path / "16000.2.wav", out], "has 2 channels; use a mono file"),
        (["encode", tmp_path / "24.wav", out], "samples must have 16 bits"),
        (["encode", tmp_path / "bare", out], "is no WAV; convert it"),
        (["encode", tmp_path / "cut.wav", out], "the WAV ends in its header"),
        (["decode", tmp_path / "bare", out], "bare: "),
        (["decode", tmp_path / "none", out], "none: cannot be opened"),
        (["encode", "-m", "none", "-", out], "none: cannot be opened; give a model"),
        (["encode", "-m", tmp_path / "bare", "-", out], "not a model file"),
        (["encode", "-m", tmp_path, "-", out], f"{tmp_path}: cannot be read"),
        (["encode", "-", tmp_path], f"{tmp_path}: cannot be written"),
        (["encode", "-", "/none/x"], "/none/x.part: cannot be written"),
    ):
        done = run(example, *words)
        assert done.returncode == 1, words
        assert text in done.stderr.decode(), words
        assert done.stderr.startswith(b"example: ")
    for magic in (b"fLaC", b"OggS", b"RF64", b"FORM", b"ID3\x04"):
        done = run(example, "encode", "-", out, given=magic + bytes(100))
        assert b"standard input: is no WAV; convert it" in done.stderr, magic
        assert done.returncode == 1
    assert not out.exists()
    assert not list(tmp_path.glob("*.part"))
