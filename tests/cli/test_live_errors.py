"""Live commands without a device, without PortAudio, or with wrong arguments."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fcs_edge.errors import AudioError
from fcs_edge.live import devices
from fcs_edge.live.devices import Device
from helpers import COMMAND


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., str]:
    """Run the command without a sound server and a sound card; return its error."""

    def run(*arguments: object, code: int = 1, **env: str) -> str:
        surroundings = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        surroundings.update(env)
        command = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(
            command, env=surroundings, capture_output=True, check=False, timeout=120
        )
        message = done.stderr.decode()
        assert done.returncode == code, message
        if code == 0:
            return done.stdout.decode()
        assert "Traceback" not in message
        assert "internal error" not in message
        assert len(message.strip().splitlines()) == 1 or code == 2
        return message

    return run


COMMANDS = (
    ("mic",),
    ("mic", "--monitor", "off"),
    ("encode", "--mic", "-"),
    ("send", "127.0.0.1:5004"),
    ("receive", "5004"),
)


@pytest.fixture
def has_portaudio() -> None:
    try:
        import sounddevice  # noqa: F401
    except OSError:
        pytest.skip("no PortAudio here")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("has_portaudio")
def test_no_device(command: tuple[str, ...], bare: Callable[..., str]) -> None:
    listed = bare("mic", "--list-devices", code=0)
    if "no devices found" not in listed:
        pytest.skip("this machine has sound devices")
    message = bare(*command)
    assert "microphone" in message or "speaker" in message
    assert "plug one in" in message


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_portaudio(command: tuple[str, ...], bare: Callable[..., str], tmp_path: Path) -> None:
    # sounddevice raises this where the library is missing.
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    message = bare(*command, PYTHONPATH=str(fake))
    assert "PortAudio library is missing" in message
    assert "apt install libportaudio2" in message


def test_usage(run: Callable[..., object], tmp_path: Path) -> None:
    for arguments, message in (
        (("mic", "--latency", "fast"), "low, high or a number of seconds"),
        (("mic", "--latency", "0"), "low, high or a number of seconds"),
        (("mic", "--duration", "0"), "0"),
        (("mic", "--record-bitstream", tmp_path / "a.wav"), "must end in .fcs"),
        (("mic", "--record-input", tmp_path / "a.mp3"), "must end in .wav"),
        (
            ("mic", "--record-input", tmp_path / "a.wav", "--record-output", tmp_path / "a.wav"),
            "same file",
        ),
        (("encode", "--mic", "a.wav", "a.fcs"), "takes the place of IN"),
        (("decode", "a.fcs"), "Missing argument 'OUT'"),
        (("decode", "--play", "a.fcs", "a.wav"), "not both"),
    ):
        result = run(*arguments)
        assert message in result.failed(2)  # type: ignore[attr-defined]


def test_recordings_are_not_overwritten(run: Callable[..., object], tmp_path: Path) -> None:
    there = tmp_path / "a.fcs"
    there.write_bytes(b"precious")
    result = run("mic", "--record-bitstream", there)
    assert "exists already" in result.failed()  # type: ignore[attr-defined]
    assert there.read_bytes() == b"precious"


class RefusedError(Exception):
    """An error of PortAudio."""


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Error opening InputStream: Device unavailable [PaErrorCode -9985]", "it is busy"),
        ("Error opening InputStream: Invalid device [PaErrorCode -9996]", "it is gone"),
        ("Invalid sample rate [PaErrorCode -9997]", "choose another"),
        ("Error opening InputStream: something new", "something new"),
    ],
)
def test_what_portaudio_says_is_put_in_a_line(text: str, advice: str) -> None:
    device = Device(3, "USB mic", "ALSA", 1, 0, 48000, False)
    error = devices.problem("input", device, RefusedError(text))
    assert isinstance(error, AudioError)
    assert str(error).startswith("microphone 3, USB mic: cannot be opened")
    assert advice in str(error)
    assert "\n" not in str(error)
