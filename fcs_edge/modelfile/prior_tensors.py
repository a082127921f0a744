"""The priors of a model file: its tensors ``prior.N.*``, and the checks that it states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcs_edge.entropy.prior import FIELDS, Prior
from fcs_edge.errors import ModelFileError, parsing, shown
from fcs_edge.modelfile.tensors import Array, StoredTensor

KEY = "priors"
"""Metadata: the check of each prior in 8 hexadecimal digits, the newest last, between spaces."""

PREFIX = "prior."

MAX_PRIORS = 64
"""Priors of a file at most."""

_CHECKS = re.compile(r"[0-9a-f]{8}( [0-9a-f]{8})*")


def is_prior(name: str) -> bool:
    """Return whether a tensor belongs to a prior."""
    return name.startswith(PREFIX)


def read_priors(
    path: Path, metadata: Mapping[str, str], stored: Mapping[str, StoredTensor], bits: int
) -> tuple[Prior, ...]:
    """Return a file's priors, the newest last; their weights are copied and checked.

    Raises
    ------
    ModelFileError
        A tensor is missing, unexpected, or of another type or shape; a prior has another number of
        bits than the model, sums that could overflow, or another check than the file states.
    """
    tensors = {name: tensor for name, tensor in stored.items() if is_prior(name)}
    text = metadata.get(KEY, "")
    if not text and not tensors:
        return ()
    if not _CHECKS.fullmatch(text) or len(text.split()) > MAX_PRIORS:
        raise ModelFileError(f"{path}: damaged metadata (priors {shown(text, 60)!r})")
    checks = text.split()
    names = [f"{PREFIX}{n}.{field}" for n in range(len(checks)) for field in FIELDS]
    for name in tensors:
        if name not in names:
            raise ModelFileError(f"{path}: unexpected tensor {shown(name, 80)}")
    priors = tuple(_read(path, f"{PREFIX}{n}.", tensors, bits) for n in range(len(checks)))
    for n, (prior, check) in enumerate(zip(priors, checks, strict=True)):
        if f"{prior.check:08x}" != check:
            raise ModelFileError(
                f"{path}: damaged: the check of prior {n} is {prior.check:08x}, not {check}"
            )
    if len(set(checks)) < len(checks):
        raise ModelFileError(f"{path}: damaged metadata (a prior is there twice)")
    return priors


def _read(path: Path, prefix: str, stored: Mapping[str, StoredTensor], bits: int) -> Prior:
    arrays: dict[str, Array] = {}
    for field in FIELDS:
        tensor = stored.get(prefix + field)
        if tensor is None:
            raise ModelFileError(f"{path}: tensor {prefix}{field} is missing")
        if tensor.data is None:
            raise ModelFileError(f"{path}: tensor {prefix}{field} is {tensor.dtype}")
        arrays[field] = tensor.data
    with parsing(path, ModelFileError, f"{prefix[:-1]} cannot be used"):
        prior = Prior(**arrays)
    if prior.bits != bits:
        raise ModelFileError(
            f"{path}: {prefix[:-1]} is for tokens of {prior.bits} bits, not {bits}"
        )
    return prior


def prior_tensors(priors: Sequence[Prior]) -> dict[str, Array]:
    """Return the tensors of priors by their names in a file."""
    return {
        f"{PREFIX}{n}.{field}": array
        for n, prior in enumerate(priors)
        for field, array in prior.arrays()
    }


def prior_facts(priors: Sequence[Prior]) -> dict[str, str]:
    """Return the metadata of priors; empty where there are none."""
    return {KEY: " ".join(f"{prior.check:08x}" for prior in priors)} if priors else {}
