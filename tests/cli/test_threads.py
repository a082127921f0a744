"""--threads: the same files, wrong numbers, and what live commands say of their choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fcs_edge import Codec
from fcs_edge.cli import live_threads
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.live.threads import Choice


def test_files_do_not_depend_on_threads(tmp_path: Path, run: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "in.wav", 0.1 * rng.standard_normal(9000), 16000)
    found = []
    for n in (1, 2, 4):
        tokens, sound = tmp_path / f"{n}.fcs", tmp_path / f"{n}.wav"
        assert run("encode", tmp_path / "in.wav", tokens, "--threads", n).code == 0
        assert run("decode", tokens, sound, "--threads", n).code == 0
        found.append((tokens.read_bytes(), sound.read_bytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "command",
    [
        ("encode", "in.wav", "out.fcs"),
        ("decode", "in.fcs", "out.wav"),
        ("bench",),
        ("mic",),
        ("send", "localhost:5004"),
        ("receive", "5004"),
    ],
)
def test_a_wrong_number_of_threads(command: tuple[str, ...], run: Callable[..., Any]) -> None:
    assert "'3' is not one of" in run(*command, "--threads", 3).failed(2)


@pytest.mark.parametrize(
    "command", [("encode", "in.npz", "out.fcs"), ("decode", "in.fcs", "out.npz")]
)
def test_tokens_need_no_threads(command: tuple[str, ...], run: Callable[..., Any]) -> None:
    assert "--threads is for an" in run(*command, "--threads", 2).failed(2)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_live_sound_reports_its_threads(
    n: int, tiny: Codec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = Choice(n, 0.0321, 0.0567)
    monkeypatch.setattr(live_threads, "prepare", lambda *parts, **named: None)
    monkeypatch.setattr(live_threads, "choose", lambda codec, **parts: choice)
    assert live_threads.prepared(tiny, None, Messages(), encoder=True).threads == n
    output = capsys.readouterr().err
    audio = f"{1e3 * tiny.latency:g}"
    line = f"{n} threads: a chunk takes 32.1 of {audio} ms, with one thread 56.7 ms\n"
    assert output == (line if n > 1 else "")
    assert live_threads.prepared(tiny, 4, Messages()).threads == 4
    assert capsys.readouterr().err == ""
