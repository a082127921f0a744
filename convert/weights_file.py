"""Reads the tensors of a weights file: safetensors, or a pickle that torch reads."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fcs_edge.convert.source import SAFETENSORS, listed
from fcs_edge.errors import CheckpointError, ModelFileError, parsing, shown
from fcs_edge.modelfile.tensors import StoredTensor, map_tensors
from fcs_edge.stand_ins import HEAD_BYTES, stand_in

NESTED = ("state_dict", "model")
"""Keys under which programs of training save the state dict beside others."""
_DEPTH = 4
"""How often such keys may be within each other."""
_PREFIX = re.compile(r"(?:(?:module|model|_orig_mod)\.){1,8}")
"""What wrappers of a model put before the names of its tensors: several GPUs, a trainer, a
compiler. No part of the codec has such a name."""


class Report(Protocol):
    """Takes what a reader has to say, a line each."""

    def note(self, text: str, /) -> None:
        """Take information that is no problem."""

    def warn(self, text: str, /) -> None:
        """Take a problem that does not end the reading."""


class Silent:
    """A report that nobody reads."""

    def note(self, text: str, /) -> None:
        """Discard the text."""

    def warn(self, text: str, /) -> None:
        """Discard the text."""


def read(path: Path, report: Report, part: str | None = None) -> dict[str, StoredTensor]:
    """Return the tensors of a weights file by the names that the model gives them.

    Parameters
    ----------
    path : Path
        ``.safetensors`` is mapped, without torch. Any other file is a pickle, which torch's
        weights-only loading reads whole.
    report : Report
        Takes what is ignored.
    part : str, optional
        The part of the model that the file holds alone, without its name before the tensors'.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or no state dict, or two tensors have one name.
    """
    try:
        found = map_tensors(path)[1] if path.suffix == SAFETENSORS else _from_torch(path, report)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from error
    tensors = {}
    for name, tensor in found.items():
        prefix = _PREFIX.match(name)
        bare = name[prefix.end() :] if prefix else name
        if bare in tensors:
            raise CheckpointError(f"{path}: tensor {shown(bare, 80)} is there twice")
        tensors[bare] = tensor
    # The encoder has tensors encoder.* itself, but others too.
    if part is None or all(name.startswith(f"{part}.") for name in tensors):
        return tensors
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def _from_torch(path: Path, report: Report) -> dict[str, StoredTensor]:
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path}: reading {path.suffix} needs torch: pip install torch; a .safetensors file "
            "needs nothing"
        ) from None
    with parsing(path, CheckpointError, "not a readable state dict"):
        with path.open("rb") as file:
            if what := stand_in(file.read(HEAD_BYTES), "weights"):
                raise CheckpointError(f"{path}: {what}")
        # Torch warns about archives of other kinds.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = torch.load(path, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
                raise CheckpointError(
                    f"{path}: damaged, or not a plain state dict of weights, which is all that "
                    "is read"
                ) from error
        state = _innermost(path, loaded, report)
        others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
        if len(others) == len(state):
            raise CheckpointError(f"{path}: not a state dict: it holds no tensors; {_keys(others)}")
        if others:
            report.warn(f"{path}: ignored, as no tensors: {listed(others)}")
        return {
            str(name): _stored(path, str(name), value)
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
        }


def _keys(names: list[object]) -> str:
    return f"its keys are {listed(names)}" if names else "it is empty"


def _innermost(path: Path, loaded: object, report: Report) -> Mapping[Any, Any]:
    """Return the state dict of what a pickle holds: it, or one under the keys `NESTED`."""
    for _ in range(_DEPTH):
        if not isinstance(loaded, dict):
            raise CheckpointError(f"{path}: not a state dict")
        state: dict[Any, Any] = loaded
        key = next((key for key in NESTED if isinstance(state.get(key), dict)), None)
        if key is None:
            return state
        others = [name for name in state if name != key]
        if others:
            report.warn(f"{path}: the weights are under {key!r}; ignored: {listed(others)}")
        loaded = state[key]
    raise CheckpointError(f"{path}: not a state dict: {' and '.join(NESTED)} are nested too deeply")


def _stored(path: Path, name: str, value: Any) -> StoredTensor:
    import torch

    shape = tuple(value.shape)
    dtype = str(value.dtype).removeprefix("torch.")
    kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    if dtype not in kinds:
        return StoredTensor(dtype, shape, None)
    # A view may repeat few numbers many times.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path}: tensor {shown(name, 80)} is larger than its storage")
    value = value.detach().contiguous()
    if dtype == "bfloat16":
        return StoredTensor("BF16", shape, value.view(torch.int16).numpy().view(np.uint16))
    return StoredTensor(kinds[dtype], shape, value.numpy())
