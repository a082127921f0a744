"""What a run checks before its first shard, on each machine that takes part."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.audio.resampling import open_resampler
from fcs_edge.codec import Codec, load
from fcs_edge.corpus import child_python
from fcs_edge.corpus.job import Recipe
from fcs_edge.corpus.model_cache import find_here
from fcs_edge.corpus.storage import open_storage
from fcs_edge.corpus.versions import MISSING, versions
from fcs_edge.corpus.wire import recipe_of, to_json
from fcs_edge.errors import CorpusError, FcsError, reason, shown
from fcs_edge.model.layers import F32

SOUND_RATE = 22050
"""Hz of the fixed sound: it goes through the resampler, as most sounds do."""
SOUND_SECONDS = 2

SAMPLES, LATENTS, TOKENS = "resampled samples", "latents", "tokens"
"""The stages that `Setup.arithmetic` holds hashes of."""

_MOST_STARTS = 3
_SECONDS = 900
"""That a child may take: a small board compiles kernels for minutes."""


@dataclass(frozen=True)
class Setup:
    """What decides the bytes that a machine writes."""

    versions: Mapping[str, str]
    """Of fcs-edge and of the libraries that take part, by name."""
    model_sha256: str
    arithmetic: Mapping[str, str]
    """Hashes of what comes of the fixed sound, by stage."""


def fixed_sound() -> F32:
    """Return a sound that is the same on every machine: (n,) float32 at `SOUND_RATE`.

    A voice-like tone between 100 and 200 Hz and noise swell and fade. All of it is computed with
    integers, as the functions of mathematical libraries differ in the last bit.
    """
    n = np.arange(SOUND_RATE * SOUND_SECONDS, dtype=np.int64)
    steps = 300 + (n >> 5) % 300
    tone = (np.cumsum(steps) & 0xFFFF) - 0x8000
    noise = (n * 1103515245 + 12345) & 0x7FFFFFFF
    noise = ((noise ^ noise >> 13) * 69069) & 0x7FFFFFFF
    swell = np.abs(n % 8192 - 4096)
    mixed = (tone + ((noise >> 15) - 0x8000 >> 3)) * swell >> 13
    sound: F32 = mixed.astype(np.float32) / np.float32(0x8000)
    return sound


def setup_of(recipe: Recipe, codec: Codec | None = None) -> Setup:
    """Return this process's setup; what encoding needs is compiled and loaded after it.

    Parameters
    ----------
    recipe : Recipe
        What the run's shards share.
    codec : Codec, optional
        The recipe's codec. Absent: it is loaded.
    """
    codec = codec or load(recipe.model, activations=recipe.activations)
    resampler = open_resampler(SOUND_RATE, codec.sample_rate_in, recipe.resampler)
    samples = np.concatenate([resampler.push(fixed_sound()), resampler.flush()])
    tokens = codec.encode(samples, exact=recipe.exact, window=recipe.window, overlap=recipe.overlap)
    arithmetic = {
        SAMPLES: _hash(samples),
        LATENTS: _hash(codec.latents(codec.features(samples))),
        TOKENS: _hash(tokens),
    }
    return Setup(versions(), codec.model.sha256, arithmetic)


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def setup_in_child(recipe: Recipe) -> Setup:
    """Return the setup of a worker's child process on this machine.

    This process then holds no model, and the child's kernels are compiled and stored for others.

    Raises
    ------
    fcs_edge.CorpusError
        The child cannot load the model, or ends without an answer.
    """
    answer = ask_child({"recipe": json.loads(to_json(recipe))})
    return Setup(**answer["setup"])


def ask_child(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `examine` answers in a child process.

    Raises
    ------
    fcs_edge.CorpusError
        The child finds an error, or ends without an answer.
    """
    for _ in range(_MOST_STARTS):
        done = _completed(order)
        # Whoever killed one child may leave the next one alone.
        if done.returncode >= 0:
            break
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        words = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise CorpusError(f"no worker can be tried: {shown(words[-1])}") from None
    if "error" in answer:
        raise CorpusError(answer["error"])
    return answer


def _completed(order: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a child to its end."""
    try:
        return subprocess.run(
            child_python.command(__name__),
            input=json.dumps(order),
            capture_output=True,
            text=True,
            # Libraries may print anything.
            errors="backslashreplace",
            env=child_python.environment(),
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CorpusError(f"no worker can be tried: {reason(error)}") from error


def main() -> None:
    """Answer the order of standard input on standard output: a child's main function."""
    warnings.simplefilter("ignore")
    try:
        answer = examine(json.load(sys.stdin))
    except (FcsError, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


def examine(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this process has, for the one that leads the run.

    Parameters
    ----------
    order : mapping
        ``recipe``; and for a process of another machine what is ``expected``, the fields of the
        leader's `Setup`; ``mixed_cpus``; and ``seen``, a file of the dataset.

    Returns
    -------
    dict
        ``wrong``, lines; ``lacks``, whether only the model's file is missing; ``setup``, where all
        is there; ``model``, the name or path of the model here.
    """
    expected = order.get("expected")
    if expected is not None:
        # Nothing else of another version can be understood.
        wrong = other_versions(expected["versions"], versions())
        if wrong:
            return {"wrong": [wrong]}
    recipe = recipe_of(json.dumps(order["recipe"]))
    if expected is None:
        return {"wrong": [], "setup": vars(setup_of(recipe))}
    check_output(recipe.out, order["seen"])
    model = find_here(recipe.model, recipe.model_sha256)
    if model is None:
        return {"wrong": [], "lacks": True}
    setup = setup_of(replace(recipe, model=model))
    wrong = other_arithmetic(expected["arithmetic"], setup.arithmetic)
    lines = [wrong] if wrong and not order["mixed_cpus"] else []
    return {"wrong": lines, "setup": vars(setup), "model": model}


def check_output(out: str, seen: str | None = None) -> None:
    """Refuse a dataset that cannot be written from this machine.

    Parameters
    ----------
    out : str
        The dataset.
    seen : str, optional
        A file that the leader of the run has written into it.

    Raises
    ------
    fcs_edge.CorpusError
        It cannot be written, or is another folder than the leader's.
    """
    storage = open_storage(out)
    if seen is not None and not storage.exists(seen):
        raise CorpusError(
            f"{storage.location} is another folder there: all machines must share its disk"
        )
    storage.probe()


def other_versions(own: Mapping[str, str], there: Mapping[str, str]) -> str | None:
    """Return which versions of another machine differ from this one's, and what to do; or None."""
    names = [name for name in own if own[name] != there.get(name, MISSING)]
    if not names:
        return None
    theirs = ", ".join(f"{name} {there.get(name, MISSING)}" for name in names)
    ours = ", ".join(own[name] for name in names)
    return f"has {theirs} (here {ours}): install the same there"


def other_arithmetic(own: Mapping[str, str], there: Mapping[str, str]) -> str | None:
    """Return that another machine computes otherwise than this one, and what to do; or None."""
    stages = [stage for stage in own if own[stage] != there.get(stage)]
    if not stages:
        return None
    return (
        f"computes other {' and '.join(stages)} than this machine, and tokens would depend on who "
        "encodes: leave it out, or accept it with --mixed-cpus"
    )
