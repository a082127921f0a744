"""Files are named by ids, which are foreign text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcs_edge.corpus.safe_paths import safe_path

HOSTILE = (
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b.wav",
    "a/./b.wav",
    "a//b.wav",
    "",
    "/",
    ".",
    "..",
    ".hidden.wav",
    "a/.git/config",
    "line\nbreak.wav",
    "nul\0.wav",
    "x" * 300 + ".wav",
    "\u00e9" * 200,
    "half \udc80.wav",
    "trailing/",
    "/".join(["deep"] * 2000),
    "/".join(["deep"] * 2001),
)


def test_an_id_is_the_path_with_the_new_suffix() -> None:
    assert safe_path("a/b.flac", ".wav") == "a/b.wav"
    assert safe_path("a/b.FLAC", ".wav") == "a/b.wav"
    assert safe_path("a/b.mp2", ".wav") == "a/b.wav"
    assert safe_path("a/b.flac", ".wav", keep_suffix=True) == "a/b.flac.wav"


def test_what_is_no_suffix_of_sound_stays() -> None:
    assert safe_path("utt.001", ".wav") == "utt.001.wav"
    assert safe_path("v1.2/utt", ".wav") == "v1.2/utt.wav"


@pytest.mark.parametrize("keep_suffix", [True, False])
@pytest.mark.parametrize("id", HOSTILE)
def test_a_hostile_id_stays_below_its_folder(id: str, keep_suffix: bool, tmp_path: Path) -> None:
    path = safe_path(id, ".wav", keep_suffix=keep_suffix)
    assert os.path.normpath(path) == path
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"sound")
    assert file.resolve().is_relative_to(tmp_path.resolve())
    assert not any(part.startswith(".") for part in Path(path).parts)


def test_hostile_ids_have_different_paths() -> None:
    assert len({safe_path(id, ".wav") for id in HOSTILE}) == len(HOSTILE)


@settings(max_examples=50)
@given(st.text(), st.text())
def test_two_ids_have_two_paths(first: str, second: str) -> None:
    paths = {safe_path(id, ".npz", keep_suffix=True) for id in (first, second)}
    assert len(paths) == len({first, second})
    for path in paths:
        assert not Path(path).is_absolute()
        assert all(len(os.fsencode(part)) <= 255 for part in Path(path).parts)
        assert ".." not in Path(path).parts
