"""encode and decode: each kind of input and output, and the round trip."""

from __future__ import annotations

import array
import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.audio.reader import open_input
from fcs_edge.bitstream.reader import BitstreamReader, End, Tokens
from fcs_edge.cli.main import cli
from helpers import COMMAND, Recorded, stream_tokens, writes_into

N = 33333


def tokens_of(path: Path) -> NDArray[np.uint16]:
    return stream_tokens(path, strict=True)


def pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)


@pytest.fixture
def signal_in(wav: Path) -> NDArray[np.float32]:
    samples, _ = soundfile.read(wav, dtype="float32")
    return samples


@pytest.fixture
def bitstream(wav: Path, tmp_path: Path, run: Callable) -> Path:
    path = tmp_path / "speech.fcs"
    assert run("encode", wav, path).code == 0
    return path


def test_file_to_file(
    wav: Path, bitstream: Path, tmp_path: Path, run: Callable, signal_in: NDArray[np.float32]
) -> None:
    codec = fcs_edge.load()
    tokens = codec.encode(signal_in)
    assert np.array_equal(tokens_of(bitstream), tokens)
    result = run("decode", bitstream, tmp_path / "out.wav")
    assert (result.code, result.out) == (0, "")
    sound, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert rate == 24000
    assert sound.size == round(N * 24000 / 16000)
    expected = codec.decode(tokens)[: sound.size]
    assert np.abs(sound - expected).max() <= 1.01 / 32768
    assert np.abs(sound).max() > 0.01


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".WAV"])
def test_output_formats(suffix: str, bitstream: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / f"out{suffix}"
    assert run("decode", bitstream, out).code == 0
    info = soundfile.info(out)
    assert (info.samplerate, info.channels, info.frames) == (24000, 1, 50000)
    assert info.format == suffix[1:].upper()


def test_npy(bitstream: Path, wav: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "tokens.npy"
    assert run("encode", wav, out).code == 0
    tokens = np.load(out, allow_pickle=False)
    assert tokens.dtype == np.uint16
    assert np.array_equal(tokens, tokens_of(bitstream))
    assert run("decode", out, tmp_path / "out.wav").code == 0
    sound, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert sound.size == tokens.size * 480
    assert run("decode", bitstream, tmp_path / "other.wav").code == 0
    other, _ = soundfile.read(tmp_path / "other.wav", dtype="float32")
    assert np.array_equal(sound[: other.size], other)


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (8000, 1, "PCM_U8"),
        (22050, 2, "PCM_16"),
        (44100, 2, "PCM_24"),
        (48000, 6, "FLOAT"),
        (96000, 1, "DOUBLE"),
        (16000, 3, "PCM_32"),
    ],
)
def test_any_rate_and_channels(
    rate: int, channels: int, subtype: str, tmp_path: Path, run: Callable
) -> None:
    """The mean of the channels at 16 kHz, for each kind of input."""
    n = rate * 3 // 2
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)
    weights = np.linspace(0.5, 1.5, channels)
    weights /= weights.mean()
    source = tmp_path / "in.wav"
    soundfile.write(source, tone[:, None] * weights, rate, subtype)
    with open_input(str(source), None, 0, 0) as sound:
        assert (sound.rate, sound.channels, sound.seconds) == (rate, channels, 1.5)
        mono = np.concatenate(list(sound.at_rate(16000)))
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(24000) / 16000)
    assert mono.size == 24000
    inner = slice(400, -400)
    assert np.abs(mono - expected)[inner].max() < (0.02 if subtype == "PCM_U8" else 0.001)
    assert run("encode", source, tmp_path / "c.fcs").code == 0
    assert run("decode", tmp_path / "c.fcs", tmp_path / "c.wav").code == 0
    assert soundfile.info(tmp_path / "c.wav").frames == 36000


def test_flac_and_ogg_in(wav: Path, tmp_path: Path, run: Callable, signal_in: NDArray) -> None:
    soundfile.write(tmp_path / "in.flac", signal_in, 16000, "PCM_16")
    assert run("encode", tmp_path / "in.flac", tmp_path / "a.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), fcs_edge.load().encode(signal_in))
    soundfile.write(tmp_path / "in.ogg", signal_in, 16000)
    assert run("encode", tmp_path / "in.ogg", tmp_path / "b.npy").code == 0
    assert np.load(tmp_path / "b.npy").size == 105


@pytest.mark.parametrize("raw", ["s16le", "f32le"])
def test_bare_samples(raw: str, shell: Callable, signal_in: NDArray[np.float32]) -> None:
    """Samples in, samples out, on pipes: nothing but data on standard output."""
    codec = fcs_edge.load()
    data = pcm16(signal_in).tobytes() if raw == "s16le" else signal_in.tobytes()
    given = pcm16(signal_in) / np.float32(32768) if raw == "s16le" else signal_in
    encoded = shell("encode", "--quiet", "--raw", raw, "-", "-", data=data)
    assert (encoded.returncode, encoded.stderr) == (0, b"")
    decoded = shell("decode", "--quiet", "--raw", raw, "-", "-", data=encoded.stdout)
    assert (decoded.returncode, decoded.stderr) == (0, b"")
    expected = codec.decode(codec.encode(given))[:50000]
    sound = np.frombuffer(decoded.stdout, "<i2" if raw == "s16le" else "<f4")
    assert np.array_equal(sound, pcm16(expected) if raw == "s16le" else expected)


def test_bare_samples_at_another_rate(shell: Callable, tmp_path: Path) -> None:
    stereo = np.zeros((48000, 2), "<i2").tobytes()
    options = ("--raw", "s16le", "--rate", 48000, "--channels", 2)
    done = shell("encode", *options, "-", tmp_path / "a.fcs", data=stereo + b"\0")
    assert done.returncode == 0
    assert tokens_of(tmp_path / "a.fcs").size == 50


def test_wav_through_pipes(shell: Callable, wav: Path, bitstream: Path) -> None:
    encoded = shell("encode", "-", "-", data=wav.read_bytes())
    assert encoded.returncode == 0
    decoded = shell("decode", "-", "-", data=encoded.stdout)
    assert decoded.returncode == 0
    assert decoded.stdout[:4] == b"RIFF"
    sound = np.frombuffer(decoded.stdout[44:], "<i2")
    codec = fcs_edge.load()
    assert np.array_equal(sound, pcm16(codec.decode(tokens_of(bitstream))[:50000]))


def test_redirected_wav_has_its_length(bitstream: Path, tmp_path: Path) -> None:
    with (tmp_path / "out.wav").open("wb") as file:
        subprocess.run([*COMMAND, "decode", str(bitstream), "-"], stdout=file, check=True)
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.frames, info.samplerate, info.subtype) == (50000, 24000, "PCM_16")
    size = (tmp_path / "out.wav").stat().st_size
    assert struct.unpack_from("<I", (tmp_path / "out.wav").read_bytes(), 4)[0] == size - 8


def test_redirected_bitstream_is_that_of_a_file(wav: Path, bitstream: Path, tmp_path: Path) -> None:
    with (tmp_path / "out.fcs").open("wb") as file:
        subprocess.run([*COMMAND, "encode", str(wav), "-"], stdout=file, check=True)
    assert (tmp_path / "out.fcs").read_bytes() == bitstream.read_bytes()


def read_exactly(file: BinaryIO, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = file.read(n - len(data))
        assert more, "the stream ended early"
        data += more
    return data


def test_pipes_run_chunk_by_chunk(signal_in: NDArray[np.float32]) -> None:
    """Each chunk of samples leaves the decoder before the next one enters the encoder."""
    pipe = subprocess.PIPE
    encode = [*COMMAND, "encode", "--quiet", "--raw", "f32le", "-", "-"]
    decode = [*COMMAND, "decode", "--quiet", "--raw", "f32le", "-", "-"]
    encoder = subprocess.Popen(encode, stdin=pipe, stdout=pipe)
    decoder = subprocess.Popen(decode, stdin=encoder.stdout, stdout=pipe)
    assert encoder.stdin is not None
    assert encoder.stdout is not None
    assert decoder.stdout is not None
    encoder.stdout.close()
    sound = b""
    for at in range(0, 20 * 1280, 1280):
        encoder.stdin.write(signal_in[at : at + 1280].tobytes())
        encoder.stdin.flush()
        sound += read_exactly(decoder.stdout, 1920 * 4)
    encoder.stdin.write(signal_in[20 * 1280 :].tobytes())
    encoder.stdin.close()
    sound += decoder.stdout.read()
    decoder.stdout.close()
    assert (encoder.wait(60), decoder.wait(60)) == (0, 0)
    codec = fcs_edge.load()
    expected = codec.decode(codec.encode(signal_in))[:50000]
    assert np.array_equal(np.frombuffer(sound, "<f4"), expected)


def test_the_last_chunk_comes_with_the_end(
    signal_in: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A player that plays each write at once never plays the padding of the last chunk."""
    sound = signal_in[: 5 * 1280 + 100]
    file = Recorded()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sound.tobytes())))
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(file)))
        cli.main(["encode", "--quiet", "--raw", "f32le", "-", "-"], standalone_mode=False)
    reader = BitstreamReader(eager=True)
    events = [event for data in file.writes[:-1] for event in reader.feed(data)]
    assert sum(e.tokens.size for e in events if isinstance(e, Tokens)) == 5 * 4
    assert reader.feed(file.writes[-1])[-1] == End(sound.size)


def unread(pipe: BinaryIO) -> int:
    """Unread bytes in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe.fileno(), termios.FIONREAD, count)
    return count[0]


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def heed_interrupts() -> None:
    """Restore the signals that a shell ignores in background processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_no_chunk_waits_for_the_next(
    golden: Callable, signal_in: NDArray[np.float32], tmp_path: Path
) -> None:
    """Four tokens of 11 bits end inside a byte; a pipe fills it."""
    model = golden("tiny").model
    command = [*COMMAND, "encode", "--quiet", "--model", str(model), "--raw", "f32le", "-", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    data = b""
    for at in range(0, 7 * 1280, 1280):
        process.stdin.write(signal_in[at : at + 1280].tobytes())
        process.stdin.flush()
        head = 19 + 6 if at == 0 else 8 if at == 6 * 1280 else 0
        data += read_exactly(process.stdout, head + 6)
    process.stdin.close()
    data += process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0
    (tmp_path / "live.fcs").write_bytes(data)
    codec = fcs_edge.load(model)
    tokens = codec.encode(signal_in[: 7 * 1280])
    assert np.array_equal(tokens_of(tmp_path / "live.fcs")[:28], tokens)
    decode = [*COMMAND, "decode", "--quiet", "--model", str(model), "--raw", "f32le"]
    done = subprocess.run([*decode, "-", "-"], input=data, capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(done.stdout, "<f4"), codec.decode(tokens))


def test_ctrl_c_finishes_a_live_recording(tmp_path: Path, signal_in: NDArray[np.float32]) -> None:
    out = tmp_path / "live.fcs"
    command = [*COMMAND, "encode", "--raw", "f32le", "-", str(out)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stderr=pipe, preexec_fn=heed_interrupts)
    assert process.stdin is not None
    process.stdin.write(signal_in[:16000].tobytes())
    process.stdin.flush()
    wait_until(lambda: writes_into(tmp_path, process.pid) and unread(process.stdin) == 0)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert np.array_equal(tokens_of(out), fcs_edge.load().encode(signal_in[:16000]))


def test_ctrl_c_leaves_nothing_of_a_file(tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, np.zeros(16000 * 3600, np.int16), 16000)
    before = sorted(os.listdir(tmp_path))
    command = [*COMMAND, "encode", str(long), str(tmp_path / "long.fcs")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=heed_interrupts)
    wait_until(lambda: writes_into(tmp_path, process.pid))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.decode().strip() == "fcs-edge: error: interrupted; no output was written"
    assert sorted(os.listdir(tmp_path)) == before


def test_a_killed_writer_leaves_its_whole_blocks(
    signal_in: NDArray[np.float32], tmp_path: Path
) -> None:
    command = [*COMMAND, "encode", "--raw", "f32le", "--block", "0.16", "--raw-tokens", "-", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(signal_in[: 1280 * 7].tobytes())
    process.stdin.flush()
    data = read_exactly(process.stdout, 19 + 3 * 24)
    process.kill()
    data += process.stdout.read()
    process.communicate()
    (tmp_path / "killed.fcs").write_bytes(data)
    tokens = stream_tokens(tmp_path / "killed.fcs")
    assert tokens.size == 24
    assert np.array_equal(tokens, fcs_edge.load().encode(signal_in[: 1280 * 6]))


def test_constant_memory(tmp_path: Path) -> None:
    """Six minutes take no more memory than one, encoding and decoding."""
    peak = (
        "import resource, sys; from fcs_edge.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for minutes in (1, 6):
        soundfile.write(tmp_path / "in.wav", np.zeros(16000 * 60 * minutes, np.int16), 16000)
        for arguments in (("encode", "in.wav", "a.fcs"), ("decode", "a.fcs", "a.wav")):
            command = [sys.executable, "-c", peak, *arguments, "--force", "--quiet"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
            peaks.append(int(done.stdout))
    assert soundfile.info(tmp_path / "a.wav").frames == 24000 * 60 * 6
    assert abs(peaks[2] - peaks[0]) < 4000
    assert abs(peaks[3] - peaks[1]) < 4000
