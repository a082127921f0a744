"""Faults of files: each is one row with an error, or with the tokens of what is intact."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from item_cases import item, recipe, same

import fcs_edge
from audio_cases import container, noise
from fcs_edge.audio.library import printed_remark
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.schema import is_cut

CODED = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "MP3": "MPEG_LAYER_III",
    "OPUS": "OPUS",
    "OGG": "VORBIS",
    "AIFF": "PCM_16",
    "W64": "PCM_16",
}


def coded(name: str, seconds: float = 3.0) -> bytes:
    format = "OGG" if name == "OPUS" else name
    return container(format, CODED[name], noise(round(16000 * seconds)))


@pytest.fixture
def encoder(tiny: fcs_edge.Codec) -> Iterator[ItemEncoder]:
    """An encoder; the next item after each fault is encoded as by a new one."""
    encoder = ItemEncoder(tiny, recipe())
    yield encoder
    sound = container("WAV", "FLOAT", noise(5000))
    assert same(encoder.row_of_bytes(Item("", ""), sound), tiny.encode(noise(5000)))
    encoder.close()


@pytest.mark.parametrize("name", CODED)
def test_a_cut_file_keeps_what_is_intact(
    name: str, encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path
) -> None:
    path, data = tmp_path / "cut", coded(name)
    path.write_bytes(data[: len(data) * 6 // 10])
    row = encoder.row(item(path))
    with pytest.warns(fcs_edge.AudioWarning):
        tokens = fcs_edge.encode_file(path, codec=tiny).tokens
    assert same(row, tokens)
    assert is_cut(row)
    assert 0 < row["n_tokens"] < 150
    if name in ("WAV", "AIFF", "W64"):
        n = len(data) - 96000
        assert row["warning"].startswith(f"cut: {len(data) * 6 // 10 - n} of 96000 bytes; ends ")
    strict = ItemEncoder(tiny, recipe(strict=True)).row(item(path))
    assert (strict["error"], strict["warning"]) == (row["warning"].split("; the dec")[0], None)
    assert (strict["tokens"], strict["n_tokens"], strict["n_samples"]) == (None, None, None)
    assert (strict["sha256"], strict["channels"]) == (row["sha256"], 1)


@pytest.mark.parametrize(("name", "at"), [("FLAC", 0.5), ("OGG", 0.5), ("OPUS", 0.5)])
def test_flipped_bits(name: str, at: float, encoder: ItemEncoder, tmp_path: Path) -> None:
    """Decoders leave a damaged page of Ogg out without a word."""
    path, data = tmp_path / "flipped", bytearray(coded(name, 9))
    data[round(len(data) * at)] ^= 0xFF
    path.write_bytes(data)
    row = encoder.row(item(path))
    assert is_cut(row)
    assert 0 < row["n_tokens"] < 450
    if name != "FLAC":
        assert row["warning"] == "cut: damaged: 1 page left out"


def claiming_a_day(data: bytes) -> bytes:
    return data[:40] + struct.pack("<I", 16000 * 2 * 86400 % (1 << 32)) + data[44:]


FAULTY: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not a readable sound file: it is empty"),
    "text": (lambda: b"this is not sound at all\n" * 9, "this is text, not sound"),
    "zeros": (lambda: bytes(5000), "not a readable sound file (Format not recognised)"),
    "500 Hz": (
        lambda: coded("WAV")[:24] + struct.pack("<II", 500, 1000) + coded("WAV")[32:],
        "a sample rate of 500 Hz is not supported; 1000 to 1000000 are",
    ),
    "header of WAV": (lambda: coded("WAV")[:44], "holds no sound; it ends 3.00 s before"),
    "part of a header": (lambda: coded("WAV")[:30], "not a readable sound file ("),
    "header of FLAC": (lambda: coded("FLAC")[:42], "holds no sound; it ends 3.00 s before"),
    "header of MP3": (lambda: coded("MP3")[:60], "not a readable sound file ("),
    "header of Ogg": (lambda: coded("OGG")[:100], "not a readable sound file ("),
    "0 samples": (lambda: container("WAV", "PCM_16", noise(0)), "holds no sound"),
    "0 samples of Ogg": (lambda: container("OGG", "VORBIS", noise(0)), "holds no sound"),
    "M4A": (
        lambda: b"\0\0\0\x20ftypM4A " + bytes(100),
        "this is an MP4 file (M4A, AAC), which is not read; convert it: ffmpeg -i FILE x.wav",
    ),
    "a tar": (lambda: bytes(512) + coded("WAV"), "not a readable sound file (Format not rec"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_no_sound_is_an_error(name: str, encoder: ItemEncoder, tmp_path: Path) -> None:
    make, error = FAULTY[name]
    path = tmp_path / "faulty.wav"
    path.write_bytes(make())
    row = encoder.row(item(path))
    assert row["error"].startswith(error)
    assert not row["error"].endswith("--rate")
    assert "\n" not in row["error"]
    assert (row["tokens"], row["warning"]) == (None, None)
    assert len(row["sha256"]) == 64


def test_odd_sounds(encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, noise(1), 16000, "FLOAT")
    assert same(encoder.row(item(path)), tiny.encode(noise(1)))
    path.write_bytes(claiming_a_day(coded("WAV")))
    row = encoder.row(item(path))
    assert is_cut(row)
    assert row["n_samples"] == 48000
    soundfile.write(path, np.tile(noise(900)[:, None], (1, 1000)), 16000, "PCM_16")
    row = encoder.row(item(path))
    assert (row["channels"], row["n_samples"], row["error"]) == (1000, 900, None)
    sound = noise(900)
    sound[[3, 7]] = np.nan, np.inf
    soundfile.write(path, sound, 16000, "FLOAT")
    row = encoder.row(item(path))
    assert (row["n_not_finite"], row["n_samples"], is_cut(row)) == (2, 900, False)
    assert row["warning"] == "2 samples are NaN or infinite; they are encoded as 0"


def test_sounds_one_after_the_other(encoder: ItemEncoder, tmp_path: Path) -> None:
    path = tmp_path / "two.ogg"
    path.write_bytes(coded("OGG") * 2)
    row = encoder.row(item(path))
    assert row["warning"].startswith("cut: holds 2 streams one after the other; only the first")


def test_only_regular_files_are_opened(encoder: ItemEncoder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    errors = {
        "fifo": "is a named pipe, no file",
        "link": "is a named pipe, no file",
        "zero": "is a device, no file",
        "folder": "is a folder, no file",
        "socket": "is a socket, no file",
        "loop": "Too many levels of symbolic links",
        "none": "No such file or directory",
    }
    for name, error in errors.items():
        row = encoder.row(Item(name, str(tmp_path / name), size=5))
        assert (row["error"], row["tokens"], row["sha256"]) == (error, None, None)
    listener.close()
    for path in ("a\0b", "\ud800"):
        assert encoder.row(Item("a", path))["error"] == "no file can have such a path"
    assert encoder.row(Item("a", "x" * 5000))["error"] == "File name too long"


def test_a_link_to_a_sound(encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(), 16000, "FLOAT")
    (tmp_path / "link").symlink_to("in.wav")
    assert same(encoder.row(item(tmp_path / "link")), tiny.encode(noise()))


def test_a_file_that_nobody_may_read(
    encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all: so the system's answer is a stand-in."""
    (tmp_path / "in.wav").write_bytes(coded("WAV"))
    opened = os.open

    def refuse(path: Any, *rest: Any) -> int:
        if str(path).endswith("in.wav"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert encoder.row(item(tmp_path / "in.wav"))["error"] == "Permission denied"


def test_a_file_that_changed_since_the_scan(encoder: ItemEncoder, tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(coded("WAV"))
    planned = item(path)
    path.write_bytes(coded("WAV", 2))
    row = encoder.row(planned)
    assert row["error"] == "changed since the scan: 96044 bytes then, 64044 now"
    assert (row["size"], row["sha256"]) == (96044, None)


def test_a_file_that_changes_while_it_is_read(
    encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path
) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, noise(11 * 16000), 16000, "FLOAT")
    other = tmp_path / "other.wav"
    soundfile.write(other, noise(16000)[::-1], 16000, "FLOAT")
    size = path.stat().st_size
    row = encoder.row(item(path), lambda _: os.truncate(path, size - 4))
    assert (row["error"], row["tokens"]) == ("changed while it was read", None)
    # What was opened is read to its end where another file takes its name.
    soundfile.write(path, noise(11 * 16000), 16000, "FLOAT")
    planned = item(path)
    row = encoder.row(planned, lambda _: os.replace(other, path))
    assert same(row, tiny.encode(noise(11 * 16000)))
    assert encoder.row(planned)["error"].startswith("changed since the scan")


def test_a_file_that_is_replaced_between_its_parts(
    encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path
) -> None:
    path, other = tmp_path / "in.wav", tmp_path / "other.wav"
    soundfile.write(path, noise(), 16000, "FLOAT")
    soundfile.write(other, noise()[::-1].copy(), 16000, "FLOAT")
    planned = item(path, offset=0.5, duration=0.25)
    assert same(encoder.row(planned), tiny.encode(noise()[8000:12000]))
    os.replace(other, path)
    assert same(encoder.row(planned), tiny.encode(noise()[::-1][8000:12000].copy()))


def test_short_memory_is_an_error(
    encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.flac"
    path.write_bytes(coded("FLAC"))

    def fail(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("fcs_edge.audio.library.np.full", fail)
        assert encoder.row(item(path))["error"] == "not enough memory"
    assert encoder.row(item(path))["error"] is None


def test_a_read_that_fails_is_an_error(
    encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the decoder too, which takes a failing read for the file's end."""
    read = os.pread
    for name in CODED:
        path = tmp_path / name
        path.write_bytes(coded(name, 20))
        limit = path.stat().st_size // 2

        def fail(descriptor: int, n: int, at: int, limit: int = limit) -> bytes:
            if at + n > limit:
                raise OSError(errno.EIO, "Input/output error")
            return read(descriptor, n, at)

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fail)
            row = encoder.row(item(path))
        assert (row["error"], row["tokens"]) == ("Input/output error", None), name


def test_an_interrupt_within_the_decoder(
    encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls back from C, where an exception would be lost."""
    read, path = os.pread, tmp_path / "in.flac"
    path.write_bytes(coded("FLAC", 20))

    def interrupt(descriptor: int, n: int, at: int) -> bytes:
        if at > 100000:
            raise KeyboardInterrupt
        return read(descriptor, n, at)

    planned = item(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", interrupt)
        patch.setattr("fcs_edge.audio.sound_files._ending", lambda *_: (None, None))
        with pytest.raises(KeyboardInterrupt):
            encoder.row(planned)
    encoder.close()


def test_what_no_file_causes_passes_up(
    encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.wav"
    path.write_bytes(coded("WAV"))

    def fail(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    planned = item(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(OSError, match="Too many open files"):
            encoder.row(planned)
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "_opened", lambda _: [][0])
        with pytest.raises(IndexError):
            encoder.row(planned)
    path.write_bytes(coded("WAV", 11))

    def report(_: float) -> None:
        raise BrokenPipeError

    with pytest.raises(RuntimeError, match="progress cannot be reported"):
        encoder.row(item(path), report)


def test_what_the_decoder_prints_is_a_warning(
    encoder: ItemEncoder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, data = tmp_path / "in.mp3", coded("MP3")
    path.write_bytes(data[: len(data) // 2])
    row = encoder.row(item(path))
    assert "s before its header says; the decoder prints: Xing stream size off" in row["warning"]
    part = item(path, offset=0.2, duration=0.3)
    assert encoder.row(part)["warning"].startswith("the decoder prints: Xing stream")
    assert capfd.readouterr().err == ""


def test_an_item_with_an_error_is_not_opened(encoder: ItemEncoder) -> None:
    row = encoder.row(Item("a", "/dev/zero", error="a pipe is not run"))
    assert (row["error"], row["path"], row["tokens"]) == ("a pipe is not run", "/dev/zero", None)


def test_printed_lines_are_short() -> None:
    lines = ["[src/libmpg123/id3.c:process():587] error: No text\n", "\n", "Note: a\x1bb\n"]
    assert printed_remark(lines) == "the decoder prints: No text (and 1 more)"
    assert printed_remark(["Warning: " + "x" * 500]) == f"the decoder prints: {'x' * 120} ..."
    assert printed_remark(["\n"]) is None
