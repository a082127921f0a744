"""Commands and Python of README, tutorial and how-tos run as they stand; links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from voice_cases import drawn_voice

import fcs_edge

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "train" / "README.md", *DOCS]
GUIDES = [
    README,
    *(p for p in DOCS if p.name in ("start.md", "corpus.md") or p.parent.name == "howto"),
]
"""Pages whose commands are run."""

NOT_RUN = {
    r"^make ": "a target of the Makefile; CI runs it on its own",
    r"^\.ci/run|\bpytest\b|scripts/|pre-commit|mkdocs|\bruff\b": "for contributors; CI runs it",
    r"\bgit ": "network, or a change of the checkout",
    r"\bpip install\b": "network",
    r"python3 -m venv|bin/activate": "an installation; `make wheel` tries one",
    r"\bapt(-get)? install\b": "network",
    r"--engine dask\b": "a cluster",
    r"\bssh\b|\bscp\b|\brsync\b": "network",
    r"lucadellalib/": "download",
    r"(4k|25hz)\S*\.safetensors|--model 4k\b|\bFOLDER\b": "a checkpoint to download",
    r"fcs-edge mic\b|--mic\b|--play\b|--list-devices": "sound card",
    r"fcs-edge receive 0\.0\.0\.0": "network and sound card",
    r"(?i)fcs-edge send .*\breceiver:": "network and sound card",
    r"fcs-edge (export|page)\b": "compiled libraries; tests/export runs it",
    r"python3? -m train\b|\bnew\.safetensors": "torch, and a model to train first",
    r"\bMY\.wav\b": "a file of the reader's own",
}
"""Commands that are not run, and why."""

PROGRAMS = r"fcs-edge|pip|python3?|git|make|ssh|scp|apt|apt-get|sudo|source|\.|venv/\S+|\.venv/\S+"
"""What a line starts with that is a command, in a fence that is not tagged `sh`."""


def fences(page: Path, languages: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fence of a page."""
    found = re.findall(
        rf"^([ ]*)```({languages})\n(.*?)^\1```", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [(language, textwrap.dedent(text)) for _, language, text in found]


def commands(page: Path) -> list[str]:
    """Return the commands of a page in order; those of a `text` fence start with a program."""
    found = []
    for language, text in fences(page, "sh|bash|console|text|"):
        for line in text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            if command and (language == "sh" or re.match(rf"(?:{PROGRAMS})(?: |$)", command)):
                found.append(command)
    return found


def without_comment(command: str) -> str:
    return re.sub(r"(^|\s)#\s.*", "", command).strip()


def reason(command: str) -> str | None:
    """Return why a command is not run, None where it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command)), None)


def encoded_file(lines: list[str], decoded: str) -> str:
    """Return the sound file at 16 kHz that commands encode, then decode to `decoded`."""
    script = "\n".join(lines)
    bitstream = re.search(rf"fcs-edge decode (\S+) {re.escape(decoded)}", script)
    assert bitstream is not None
    source = re.search(rf"fcs-edge encode (\S+) {re.escape(bitstream[1])}", script)
    assert source is not None
    return source[1]


@pytest.fixture
def folder(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    """A user's folder, with the inputs that commands name."""
    soundfile.write(tmp_path / "speech.wav", speech[:48000], 16000, "PCM_16")
    write_corpus(tmp_path / "speech", speech)
    return tmp_path


def write_corpus(folder: Path, speech: NDArray[np.float32]) -> None:
    """Write the folder of sounds that the guide of corpora encodes."""
    folder.mkdir()
    for number, name in enumerate(("a.wav", "b.flac")):
        soundfile.write(folder / name, speech[32000 * number :][:32000], 16000)


def prepared(page: Path, folder: Path) -> tuple[str, dict[str, str]]:
    """Return a command that makes a shell ready, and the shell's environment.

    For README that is its own line on an environment without any variable but two. For the other
    pages, a folder of programs stands in PATH.
    """
    activate = [without_comment(c) for c in commands(README) if "bin/activate" in c]
    if page == README and sys.prefix != sys.base_prefix:
        (folder / activate[0].split()[1].partition("/")[0]).symlink_to(sys.prefix)
        return activate[0], {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin"}
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in {"fcs-edge": "-m fcs_edge.cli ", "python3": "", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (programs / name).chmod(0o755)
    return "", {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_commands(page: Path, folder: Path) -> None:
    """Every command that needs no network and no sound card, in order, in one folder."""
    activate, environment = prepared(page, folder)
    lines = [without_comment(c) for c in commands(page) if reason(c) is None]
    lines = [line for line in lines if line]
    assert page != README or len(lines) >= 8
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", "\n".join([activate, "set -eu", *lines])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    named = re.findall(
        r"(?<![\w/.-])[\w.-]+\.(?:wav|flac|fcs|npy|npz|key|raw|json|png)\b", " ".join(lines)
    )
    for name in named:
        assert (folder / name).stat().st_size > 0, name
    if {"decoded.wav", "live.wav"} <= set(named):
        files = (folder / "decoded.wav", folder / "live.wav")
        sounds = [soundfile.read(file, dtype="int16")[0] for file in files]
        length = soundfile.info(folder / encoded_file(lines, "decoded.wav")).frames
        assert sounds[0].size == sounds[1].size == round(length * 24000 / 16000) > 0
        assert np.abs(sounds[0].astype(int) - sounds[1]).max() <= 1


def test_commands_that_are_not_run_have_a_reason() -> None:
    listed = {
        "git clone --depth 1 URL fcs-edge": "network",
        "fcs-edge mic  # headphones": "sound card",
        "fcs-edge encode --mic - | ssh HOST fcs-edge decode - --play": "network",
        "fcs-edge convert --weights int8 4k-f32.safetensors 4k.safetensors": "checkpoint",
        "make demo": "Makefile",
    }
    for command, why in listed.items():
        assert why in str(reason(command))
    for command in ("fcs-edge demo", "fcs-edge key voice.key", "fcs-edge bench --seconds 5"):
        assert reason(command) is None
    assert without_comment("fcs-edge info a.fcs   # what it is") == "fcs-edge info a.fcs"


def test_make_targets_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    texts = [page.read_text() for page in (README, ROOT / "CONTRIBUTING.md", *GUIDES)]
    targets = set(re.findall(r"(?:^|`| {4})make ([a-z0-9-]+)", "\n".join(texts), re.MULTILINE))
    assert {"demo", "wheel", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_python(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    """In a folder that has the voice which a how-to makes first, and sounds to encode."""
    write_corpus(tmp_path / "speech", speech)
    drawn_voice(fcs_edge.load(), 8).save(tmp_path / "anna.voice")
    # How to add a file shows a part of it.
    pages = [page for page in GUIDES if not page.name.startswith("add-")]
    found = [text for page in pages for _, text in fences(page, "python")]
    assert found
    for text in found:
        subprocess.run([sys.executable, "-c", text], check=True, timeout=120, cwd=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths in backquotes that start at the top of the checkout."""
    folders = "fcs_edge|kernels|convert|live|link|cli|train|scripts|tests|docs|examples"
    # How to add a file names one that is not there yet.
    if page.name.startswith("add-"):
        return
    for name in re.findall(rf"`((?:{folders})/[\w/.-]*)`", page.read_text()):
        assert (ROOT / name).exists() or name.startswith("kernels/compiled"), name
