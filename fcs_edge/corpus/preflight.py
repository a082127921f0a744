"""What a run checks before its first shard, on each machine that takes part."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.audio.resampling import open_resampler
from fcs_edge.codec import Codec, load
from fcs_edge.corpus.job import Recipe
from fcs_edge.corpus.wire import recipe_of, to_json
from fcs_edge.errors import CorpusError, FcsError, reason
from fcs_edge.model.layers import F32

if TYPE_CHECKING:
    from fcs_edge.corpus.storage import Storage

SOUND_RATE = 22050
"""Hz of the fixed sound: it goes through the resampler, as most sounds do."""
SOUND_SECONDS = 2

SAMPLES, LATENTS, TOKENS = "resampled samples", "latents", "tokens"
"""The stages that `Setup.arithmetic` holds hashes of."""

_MISSING = "none"
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


def versions() -> dict[str, str]:
    """Return the versions of what decides samples, tokens and the bytes of shards, by name."""
    import soundfile
    import soxr

    return {
        "fcs-edge": version("fcs-edge"),
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
        "pyarrow": _version("pyarrow"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING


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
    tokens = codec.encode(
        samples, exact=recipe.exact, window=recipe.window, overlap=recipe.overlap
    )
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
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p]; "
        "from fcs_edge.corpus.preflight import main; main()"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=to_json(recipe),
            capture_output=True,
            text=True,
            env=worker_environment(),
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CorpusError(f"a worker cannot be tried: {reason(error)}") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CorpusError(f"a worker cannot be tried: {words[-1]}") from None
    if "error" in answer:
        raise CorpusError(answer["error"])
    return Setup(**answer)


def main() -> None:
    """Read a recipe from standard input; write this process's setup, or an error, as JSON."""
    try:
        answer: Mapping[str, Any] = vars(setup_of(recipe_of(sys.stdin.read())))
    except FcsError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


def check_output(storage: Storage) -> None:
    """Write a file into a dataset and remove it.

    Raises
    ------
    fcs_edge.CorpusError
        The dataset cannot be written from this machine.
    """
    name = f".probe-{secrets.token_hex(8)}"
    try:
        with storage.write(name) as file:
            file.write(b"fcs-edge\n")
        storage.delete(name)
    except OSError as error:
        raise CorpusError(f"{storage.place}: cannot be written: {reason(error)}") from error


def differences(own: Setup, other: Setup, *, mixed_cpus: bool = False) -> list[str]:
    """Return what another machine has that differs from this one, each with what to do.

    Parameters
    ----------
    own, other : Setup
        Of this machine and of the other one.
    mixed_cpus : bool
        Whether another arithmetic is accepted.
    """
    lines = []
    pairs = [(name, own.versions[name], other.versions.get(name, _MISSING)) for name in own.versions]
    wrong = [(name, here, there) for name, here, there in pairs if here != there]
    if wrong:
        there = ", ".join(f"{name} {there}" for name, _, there in wrong)
        here = ", ".join(f"{name} {here}" for name, here, _ in wrong)
        lines.append(f"has {there}, and this machine {here}: install the same there")
    if own.model_sha256 != other.model_sha256:
        lines.append("has another model under this name: use the model's file")
    elif not mixed_cpus and own.arithmetic != other.arithmetic:
        stages = [s for s in own.arithmetic if own.arithmetic[s] != other.arithmetic.get(s)]
        lines.append(
            f"computes other {' and '.join(stages)} than this machine, so that tokens would depend "
            "on who encodes; take its workers out, or accept it with --mixed-cpus"
        )
    return lines
