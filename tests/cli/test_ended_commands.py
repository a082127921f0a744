"""Commands under signals, and with closed standard descriptors."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import files
from fcs_edge.whole_files import read_fcs, write_fcs
from forked_commands import Case, Outcome, run_cases

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SENT = (*ENDING, signal.SIGPIPE)


@pytest.fixture(scope="module")
def sources(
    golden: Callable, speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A second of sound in two parts, whole and as a bitstream; and an hour of silence."""
    folder = tmp_path_factory.mktemp("sources")
    codec = golden("tiny").codec
    sound = speech[20000:36000]
    for name, part in (("first.raw", sound[:9600]), ("rest.raw", sound[9600:])):
        (folder / name).write_bytes(part.tobytes())
    soundfile.write(folder / "in.wav", sound, 16000, "FLOAT")
    write_fcs(folder / "in.fcs", codec.encode(sound), sound.size, codec)
    data = (folder / "in.fcs").read_bytes()
    (folder / "first.fcs").write_bytes(data[:40])
    (folder / "rest.fcs").write_bytes(data[40:])
    soundfile.write(folder / "hour.wav", np.zeros(16000 * 3600, np.int16), 16000)
    return folder


def run_all(
    commands: Sequence[tuple[dict[str, Any], Sequence[str]]], model: Path, folder: Path
) -> list[Outcome]:
    """Run commands of the tiny model, each in a folder of its own."""
    cases = []
    for number, (settings, (command, *arguments)) in enumerate(commands):
        own = folder / str(number)
        own.mkdir()
        cases.append(Case(str(own), [command, "-m", str(model), *arguments], **settings))
    return run_cases(cases)


ENCODE = ("encode", "--raw", "f32le", "-", "out.fcs")
DECODE = ("decode", "-", "out.wav")


def test_signals(golden: Callable, sources: Path, tmp_path: Path, speech: NDArray) -> None:
    """Received sound is kept, what is not complete vanishes, an ignored signal changes nothing."""
    model = golden("tiny").model
    commands: list[tuple[dict[str, Any], Sequence[str]]] = []
    for number, ignored in itertools.product(SENT, (False, True)):
        ignored = ignored or number == signal.SIGPIPE
        for suffix, command in (("raw", ENCODE), ("fcs", DECODE)):
            parts = {"first": f"{sources}/first.{suffix}", "rest": f"{sources}/rest.{suffix}"}
            commands.append(({"sent": number, "ignored": ignored, **parts}, command))
    hour = f"{sources}/hour.wav"
    commands += [({"sent": number}, ("encode", hour, "out.fcs")) for number in ENDING]
    if (descriptor := files._unnamed(tmp_path / "a")) is not None:
        os.close(descriptor)
        commands += [({"sent": signal.SIGKILL}, ("encode", hour, "out.fcs"))]
    outcomes = run_all(commands, model, tmp_path)
    codec: fcs_edge.Codec = golden("tiny").codec
    for number, (settings, command) in enumerate(commands):
        outcome, label = outcomes[number], f"{command} {settings}: {outcomes[number]}"
        out = tmp_path / str(number) / command[-1]
        assert "Traceback" not in outcome.err, label
        if settings.get("ignored"):
            assert (outcome.status, outcome.files) == (0, [out.name]), label
        elif command == ENCODE:
            assert (outcome.status, outcome.files) == (0, ["out.fcs"]), label
            expected = codec.encode(speech[20000:29600])
            assert np.array_equal(read_fcs(out).tokens, expected), label
        else:
            assert outcome.files == [], label
            sent = settings["sent"]
            assert outcome.status == (1 if sent == signal.SIGINT else -sent), label
            lines = outcome.err.strip().splitlines()
            assert len(lines) == (0 if sent == signal.SIGKILL else 1), label


@pytest.mark.parametrize("command", ["encode", "encode -", "decode", "decode -"])
def test_closed_descriptors(command: str, golden: Callable, sources: Path, tmp_path: Path) -> None:
    """No file gets the number of a standard descriptor; what needs one fails in one line."""
    model = golden("tiny").model
    subsets = [c for n in range(4) for c in itertools.combinations((0, 1, 2), n)]
    source, out = {
        "encode": (f"{sources}/in.wav", "out.fcs"),
        "encode -": ("-", "out.fcs"),
        "decode": (f"{sources}/in.fcs", "out.wav"),
        "decode -": (f"{sources}/in.fcs", "-"),
    }[command]
    raw = ["--raw", "f32le"] if source == "-" else []
    arguments = [command.split()[0], *raw, source, out]
    first = f"{sources}/first.raw" if source == "-" else ""
    commands = [({"closed": closed, "first": first}, arguments) for closed in subsets]
    outcomes = run_all(commands, model, tmp_path)
    assert outcomes[0].status == 0
    for number, closed in enumerate(subsets):
        outcome, label = outcomes[number], f"{arguments} {closed}: {outcomes[number]}"
        lines = outcome.err.splitlines()
        if (source == "-" and 0 in closed) or (out == "-" and 1 in closed):
            assert outcome.status == 1, label
            assert outcome.files == [], label
            name = "standard input" if source == "-" else "standard output"
            assert 2 in closed or (len(lines) == 1 and name in lines[0]), label
            continue
        assert outcome.status == 0, label
        assert outcome.files == outcomes[0].files, label
        assert outcome.out == (b"" if 1 in closed else outcomes[0].out), label
        for name in outcome.files:
            found = (tmp_path / str(number) / name).read_bytes()
            assert found == (tmp_path / "0" / name).read_bytes(), label
