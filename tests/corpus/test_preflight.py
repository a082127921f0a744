"""What a run checks on each machine before its first shard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge import CorpusError, load
from fcs_edge.corpus import model_cache, preflight
from fcs_edge.corpus.job import Recipe
from fcs_edge.corpus.preflight import LATENTS, SAMPLES, TOKENS, Setup
from fcs_edge.corpus.wire import to_json
from fcs_edge.tokens.settings import token_settings


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    codec = load(model)
    (tmp_path / "out").mkdir()
    return Recipe(
        model=str(model),
        model_sha256=codec.model.sha256,
        fingerprint=codec.fingerprint.hex(),
        settings=token_settings(codec.model),
        out=str(tmp_path / "out"),
    )


@pytest.fixture(scope="module")
def own(model: Path) -> Setup:
    return preflight.setup_of(_recipe_of(model))


def _recipe_of(model: Path, **fields: Any) -> Recipe:
    codec = load(model)
    return Recipe(str(model), codec.model.sha256, "", {}, "", **fields)


def order_of(recipe: Recipe, own: Setup, **fields: Any) -> dict[str, Any]:
    order = {"recipe": json.loads(to_json(recipe)), "expected": vars(own)}
    return {**order, "seen": None, "mixed_cpus": False, **fields}


def test_the_fixed_sound_is_a_voice_like_sound_of_exact_values() -> None:
    sound = preflight.fixed_sound()
    assert sound.shape == (44100,)
    assert sound.dtype == np.float32
    assert 0.3 < np.abs(sound).max() < 1
    assert np.array_equal(sound * 32768, np.round(sound * 32768))
    # Loud as speech is, in each half second.
    assert all(0.05 < part.std() < 0.5 for part in sound.reshape(4, -1))


def test_a_setup_is_the_same_in_a_child(own: Setup, model: Path) -> None:
    assert preflight.setup_in_child(_recipe_of(model)) == own
    assert own.model_sha256 == load(model).model.sha256
    assert set(own.versions) == {"fcs-edge", "libsndfile", "soxr", "pyarrow"}


def test_a_child_does_not_import_from_the_current_folder(
    model: Path, own: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert preflight.setup_in_child(_recipe_of(model)) == own


def test_other_kernels_give_another_arithmetic(
    model: Path, own: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FCS_EDGE_KERNELS", "plain")
    plain = preflight.setup_in_child(_recipe_of(model))
    assert plain.versions == own.versions
    assert plain.arithmetic[SAMPLES] == own.arithmetic[SAMPLES]
    assert plain.arithmetic[LATENTS] != own.arithmetic[LATENTS]


def test_the_resampler_is_part_of_the_arithmetic(model: Path, own: Setup) -> None:
    other = preflight.setup_of(_recipe_of(model, resampler="torchaudio"))
    assert other.arithmetic[SAMPLES] != own.arithmetic[SAMPLES]


def test_a_model_that_needs_the_whole_sound_has_an_arithmetic(
    golden: Callable[[str], Any],
) -> None:
    case = golden("nc_25")
    setup = preflight.setup_of(_recipe_of(case.model, exact=True))
    assert set(setup.arithmetic) == {SAMPLES, LATENTS, TOKENS}


def test_a_machine_like_this_one_fits(recipe: Recipe, own: Setup) -> None:
    answer = preflight.examine(order_of(recipe, own))
    assert answer == {"wrong": [], "setup": vars(own), "model": recipe.model}
    # The probe is gone.
    assert [p for p in Path(recipe.out).rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("library", ["fcs-edge", "libsndfile", "soxr", "pyarrow"])
def test_another_version_is_named_with_this_one(recipe: Recipe, own: Setup, library: str) -> None:
    expected = replace(own, versions={**own.versions, library: "9.9"})
    answer = preflight.examine(order_of(recipe, expected))
    assert answer == {
        "wrong": [f"has {library} {own.versions[library]} (here 9.9): install the same there"]
    }


def test_another_arithmetic_is_refused_or_accepted(recipe: Recipe, own: Setup) -> None:
    other = replace(own, arithmetic={**own.arithmetic, TOKENS: "0" * 16})
    (line,) = preflight.examine(order_of(recipe, other))["wrong"]
    assert line.startswith("computes other tokens than this machine")
    assert "--mixed-cpus" in line
    assert preflight.examine(order_of(recipe, other, mixed_cpus=True))["wrong"] == []


def test_a_dataset_that_cannot_be_written_is_refused(
    recipe: Recipe, own: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        preflight.examine(order_of(replace(recipe, out=str(tmp_path / "none")), own))
    with pytest.raises(CorpusError, match="another folder there"):
        preflight.examine(order_of(recipe, own, seen=".run-01234567"))


def test_a_model_that_is_not_here_is_lacking_until_it_is_sent(
    recipe: Recipe, own: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    away = replace(recipe, model=str(tmp_path / "elsewhere.safetensors"))
    assert preflight.examine(order_of(away, own)) == {"wrong": [], "lacks": True}
    send(Path(recipe.model), recipe.model_sha256)
    answer = preflight.examine(order_of(away, own))
    copy = tmp_path / "cache/fcs-edge/models" / f"{recipe.model_sha256}.safetensors"
    assert answer == {"wrong": [], "setup": vars(own), "model": str(copy)}
    assert list(copy.parent.iterdir()) == [copy]


def send(path: Path, sha256: str, file_sha256: str | None = None) -> None:
    import hashlib

    data = path.read_bytes()
    for offset in range(0, len(data), 1000003):
        model_cache.receive(sha256, "ab" * 8, offset, data[offset : offset + 1000003])
    model_cache.complete(sha256, "ab" * 8, file_sha256 or hashlib.sha256(data).hexdigest())


def test_a_model_that_was_damaged_on_its_way_is_removed(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CorpusError, match="damaged on its way"):
        send(Path(recipe.model), recipe.model_sha256, "0" * 64)
    assert list(model_cache.folder().iterdir()) == []
    assert model_cache.find_here(str(tmp_path / "none"), recipe.model_sha256) is None


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "0" * 63, "A" * 64])
def test_a_copy_is_named_by_a_hash_alone(sha256: str) -> None:
    with pytest.raises(CorpusError, match="64 hexadecimal digits"):
        model_cache.receive(sha256, "ab" * 8, 0, b"")


def test_a_child_without_the_model_is_one_line(recipe: Recipe) -> None:
    with pytest.raises(CorpusError) as caught:
        preflight.setup_in_child(replace(recipe, model="no-such-model"))
    assert "no-such-model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_child_that_dies_is_one_line(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('first\\nlast words')"]

    monkeypatch.setattr(preflight.child_python, "command", die)
    with pytest.raises(CorpusError, match="no worker can be tried: last words"):
        preflight.setup_in_child(recipe)


def test_a_child_that_is_killed_starts_again(
    model: Path, own: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = preflight.child_python.command("fcs_edge.corpus.preflight")
    starts = tmp_path / "starts"

    def once(_: str) -> list[str]:
        with starts.open("a") as file:
            file.write("x")
        dying = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
        return dying if len(starts.read_text()) == 1 else command

    monkeypatch.setattr(preflight.child_python, "command", once)
    assert preflight.setup_in_child(_recipe_of(model)) == own
    assert starts.read_text() == "xx"


def test_the_preflight_of_one_machine_needs_no_dask(tmp_path: Path) -> None:
    code = "import fcs_edge.corpus.preflight, sys; print('distributed' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "False"


def test_parts_of_senders_that_died_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model_cache.receive("0" * 64, "aa" * 4, 0, b"old")
    (old,) = model_cache.folder().iterdir()
    os.utime(old, (0, 0))
    model_cache.receive("1" * 64, "bb" * 4, 0, b"new")
    model_cache.receive("2" * 64, "cc" * 4, 0, b"newer")
    assert sorted(path.read_bytes() for path in model_cache.folder().iterdir()) == [
        b"new",
        b"newer",
    ]
