"""The spectrogram pictures of the demo command."""

import builtins
import io
import struct

import numpy as np
import pytest
from rich.console import Console

from fcs_edge.cli.ui import spectrogram


def tone(hz, rate, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


SIGNALS = {
    "empty": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
    "short": tone(440, 16000, 0.004),
    "silent": np.zeros(16000, np.float32),
    "faint": np.full(4000, 1e-38, np.float32),
    "loud": 1e30 * tone(440, 16000, 0.5),
}


@pytest.mark.parametrize(("rate_in", "rate_out"), [(16000, 24000), (8000, 48000), (22050, 16000)])
def test_tone_lands_in_its_row(rate_in, rate_out):
    original, decoded = tone(1000, rate_in), tone(3000, rate_out)
    pair = spectrogram.analyse(original, rate_in, decoded, rate_out, 60, 50)
    row_hz = pair.top_hz / 60
    assert np.all(np.abs(pair.original[:, 2:-2].argmax(axis=0) * row_hz - 1000) < 1.5 * row_hz)
    assert np.all(np.abs(pair.decoded[:, 2:-2].argmax(axis=0) * row_hz - 3000) < 1.5 * row_hz)


def test_tone_row_is_exact_on_a_kilohertz_grid():
    pair = spectrogram.analyse(tone(1500, 16000), 16000, tone(9500, 24000), 24000, 12, 20)
    assert set(pair.original[:, 1:-1].argmax(axis=0)) == {1}
    assert set(pair.decoded[:, 1:-1].argmax(axis=0)) == {9}


def test_axes_and_scale():
    pair = spectrogram.analyse(tone(1000, 16000), 16000, 0.1 * tone(1000, 24000, 2), 24000, 24, 40)
    assert pair.seconds == 2.0
    assert pair.top_hz == 12000
    assert pair.original.max() == 0
    assert pair.decoded.max() == pytest.approx(-20, abs=0.1)
    assert np.all(pair.original[17:] == spectrogram.FLOOR_DB)  # above 8 kHz
    assert np.all(pair.original[:, 21:] == spectrogram.FLOOR_DB)  # after its end
    assert min(pair.original.min(), pair.decoded.min()) >= spectrogram.FLOOR_DB


def test_click_lands_in_its_column():
    click = np.zeros(16000, np.float32)
    click[12000] = 1
    pair = spectrogram.analyse(click, 16000, click, 16000, 8, 20)
    assert pair.original.max(axis=0).argmax() == 15


def test_long_signal_is_sampled():
    pair = spectrogram.analyse(tone(1000, 8000, 300), 8000, tone(1000, 8000, 1), 8000, 8, 30)
    assert np.all(pair.original[2] > -1)
    assert np.all(pair.decoded[:, 1:] == spectrogram.FLOOR_DB)


@pytest.mark.parametrize("original", SIGNALS.values(), ids=SIGNALS.keys())
@pytest.mark.parametrize("decoded", SIGNALS.values(), ids=SIGNALS.keys())
def test_odd_signals(original, decoded):
    pair = spectrogram.analyse(original, 16000, decoded, 24000, 30, 40)
    assert pair.original.shape == pair.decoded.shape == (30, 40)
    assert np.isfinite(pair.original).all()
    assert np.isfinite(pair.decoded).all()
    assert spectrogram.terminal(original, 16000, decoded, 24000, 60).plain.count("\n") == 15


@pytest.mark.parametrize("name", ["empty", "short", "silent"])
def test_png(tmp_path, name):
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    path.write_bytes(b"an older picture")
    spectrogram.save_png(path, SIGNALS[name], 16000, SIGNALS[name], 24000, "Title", ("in", "out"))
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    assert struct.unpack(">II", content[16:24]) == (1800, 690)
    assert 10_000 < len(content) < 2_000_000
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_png_leaves_nothing_behind_on_failure(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "folder"
    path.mkdir()
    silence = np.zeros(10, np.float32)
    with pytest.raises(IsADirectoryError):
        spectrogram.save_png(path, silence, 16000, silence, 24000, "Title")
    assert list(tmp_path.iterdir()) == [path]


def test_png_without_matplotlib(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    silence = np.zeros(10, np.float32)
    with pytest.raises(ImportError):
        spectrogram.save_png(tmp_path / "a.png", silence, 16000, silence, 24000, "Title")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("width", "height"), [(24, 4), (61, 9), (80, 16), (120, 25), (200, 40)])
@pytest.mark.parametrize("colour", [True, False])
def test_terminal_size(width, height, colour):
    text = spectrogram.terminal(
        tone(1000, 16000), 16000, tone(1000, 24000), 24000, width, height, colour=colour
    )
    console = Console(file=io.StringIO(), width=width, force_terminal=colour)
    lines = console.render_lines(text, pad=False)
    assert len(lines) == height
    assert width - 1 <= max(sum(part.cell_length for part in line) for line in lines) <= width


def test_terminal_blocks_and_labels():
    text = spectrogram.terminal(
        tone(6000, 16000), 16000, tone(6000, 24000), 24000, 80, labels=("left", "right")
    )
    lines = text.plain.split("\n")
    assert lines[0].split() == ["kHz", "left", "right"]
    assert [line[:3].strip() for line in lines[1:-1] if line[:3].strip()] == ["12", "8", "4", "0"]
    assert all(line.count("▀") == 2 * 37 for line in lines[1:-1])
    assert lines[-1].split()[0] == "0s"
    assert "#000004" in {
        str(span.style.bgcolor.name) for span in text.spans if span.style != "bold"
    }


@pytest.mark.parametrize(
    "choice", [{"colour": False}, {"encoding": "ascii"}, {"encoding": "cp1252"}]
)
def test_ascii_fallback(choice):
    text = spectrogram.terminal(
        tone(500, 16000), 16000, tone(500, 24000), 24000, 80, labels=("à", "→"), **choice
    )
    assert text.plain.isascii()
    assert text.plain.count("\n") == 15
    picture = text.plain.split("\n")[1:-1]
    assert "@" in picture[-1]
    assert "@" not in "".join(picture[:-1])
