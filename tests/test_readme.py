"""The README's commands and Python run as they stand, and what it names is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    """A user's folder, with the inputs that the README's commands name."""
    soundfile.write(tmp_path / "speech.wav", speech[:48000], 16000, "PCM_16")
    (tmp_path / "samples.raw").write_bytes(np.zeros(48000, "<i2").tobytes())
    return tmp_path


def test_install_commands_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^make (\S+)", "".join(blocks("sh")), re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_commands(folder: Path) -> None:
    """Every line of the usage block, in order, in a shell."""
    wrapper = folder / "bin" / "fcs-edge"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fcs_edge.cli "$@"\n')
    wrapper.chmod(0o755)
    environment = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines = [line for line in lines if line.startswith("fcs-edge")]
    assert len(lines) >= 8
    script = "set -eu\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for name in ("speech.fcs", "decoded.wav", "tokens.npy", "again.wav", "live.wav", "talk.fcs"):
        assert (folder / name).stat().st_size > 0
    sounds = [soundfile.read(folder / f"{n}.wav", dtype="int16")[0] for n in ("decoded", "live")]
    assert sounds[0].size == sounds[1].size == 72000
    assert np.abs(sounds[0].astype(int) - sounds[1]).max() <= 1


def test_python() -> None:
    for block in blocks("python"):
        subprocess.run([sys.executable, "-c", block], check=True, timeout=120)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_files_that_explanations_name_exist() -> None:
    roots = ("cli", "convert", "fcs_edge", "kernels", "link", "live", "scripts", "tests", "train")
    for page in sorted((ROOT / "docs" / "explanation").glob("*.md")):
        for name in re.findall(r"`([\w./-]+/[\w./-]*)`", page.read_text()):
            if name.split("/")[0] in roots:
                assert (ROOT / name).exists(), f"{page.name}: {name}"
