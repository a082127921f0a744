"""Sound that is cut, of opposite channels or of none, at each command that reads a sound file."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge.cli

READERS = {
    "encode": ("encode", "-m", "MODEL", "IN", "out.fcs"),
    "demo": ("demo", "-m", "MODEL", "IN"),
    "file_facts": ("info", "IN"),
    "send": ("send", "-m", "MODEL", "--from", "IN", "PORT"),
    "voice_features": ("voice", "make", "-m", "MODEL", "IN", "out.voice"),
}
"""By the module of `fcs_edge.cli` that reads the file."""


@pytest.fixture
def port() -> Iterator[str]:
    """An address where somebody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture
def read(
    golden: Callable, run: Callable, port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return a function that lets a command read a file."""
    monkeypatch.chdir(tmp_path)
    values = {"MODEL": str(golden("tiny").model), "PORT": port}

    def call(reader: str, source: Path, *options: object) -> Any:
        command, *arguments = (values.get(part, part) for part in READERS[reader])
        arguments = [str(source) if part == "IN" else part for part in arguments]
        return run(command, *options, *arguments)

    return call


def test_each_reader_has_a_case() -> None:
    folder = Path(fcs_edge.cli.__path__[0])
    calls = ("open_input(", "reading.open(")
    readers = {
        path.stem
        for path in folder.rglob("*.py")
        if any(call in path.read_text() for call in calls)
    }
    # Its readers call what it opens.
    assert readers - {"reading"} == set(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_missing_sound_is_exit_code_1(
    reader: str, read: Callable, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    """The header shows nothing of it: the decoder finds it."""
    path = tmp_path / "in.flac"
    soundfile.write(path, speech[20000:32000], 16000, "PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = read(reader, path)
    assert result.code == 1, result.err
    assert result.err.count("s before its header says") == 1
    assert f"warning: {path}: ends " in result.err


@pytest.mark.parametrize("reader", ["encode", "file_facts", "send"])
def test_channels_that_cancel_are_a_warning(
    reader: str, read: Callable, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    sound = speech[20000:24000]
    soundfile.write(tmp_path / "in.wav", np.stack([sound, -sound], 1), 16000)
    result = read(reader, tmp_path / "in.wav")
    assert result.code == 0, result.err
    assert result.err.count("less energy than the louder channel") == 1


@pytest.mark.parametrize("reader", READERS)
def test_a_file_without_sound(reader: str, read: Callable, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(0), 16000)
    result = read(reader, tmp_path / "in.wav")
    assert result.code == 1, result.err
    assert result.err.count("in.wav: holds no sound") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_send_takes_the_channel_that_is_named(
    read: Callable, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    sound = speech[20000:24000]
    soundfile.write(tmp_path / "in.wav", np.stack([sound, -sound], 1), 16000)
    result = read("send", tmp_path / "in.wav", "--channel", 2)
    assert (result.code, "less energy" in result.err) == (0, False)
    assert "no channel 3" in read("send", tmp_path / "in.wav", "--channel", 3).failed()
    result = read("send", tmp_path / "in.wav", "--input", "USB")
    assert (result.code, "leave out --input" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("encode --rate 8000 in.wav out.fcs", "--rate is for --raw only"),
        ("encode --channels 2 in.wav out.fcs", "--channels is for --raw only"),
        ("encode --input USB in.wav out.fcs", "--input is for --mic only"),
        ("encode --mic --strict out.fcs", "--strict is for an IN only"),
        ("encode --mic --raw s16le out.fcs", "--raw is for an IN only"),
        ("encode --channel 1 in.npz out.fcs", "--channel is for an IN that is sound only"),
        ("encode --block 1 in.wav out.npy", "--block is for an OUT that is a bitstream only"),
        ("decode --salvage in.npz out.wav", "--salvage is for an IN that is a bitstream only"),
        ("decode --output USB in.fcs out.wav", "--output is for --play only"),
        ("decode --latency low in.fcs out.wav", "--latency is for --play only"),
        ("decode --play --raw s16le in.fcs", "--raw is for an OUT only"),
    ],
)
def test_options_that_would_change_nothing(command: str, line: str, run: Callable) -> None:
    assert line in run(*command.split()).failed(2)
