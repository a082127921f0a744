"""Reads a checkpoint's configuration and tensors, and checks them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcs_edge.errors import CheckpointError, ConfigError, ModelFileError, parsing, shown
from fcs_edge.modelfile import config_json, strict_json
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.model_file import expected
from fcs_edge.modelfile.stream_memory import check_memory
from fcs_edge.modelfile.tensors import UNUSABLE, Array, StoredTensor, map_tensors, usable
from fcs_edge.stand_ins import HEAD_BYTES, stand_in

_CONFIG_BYTES = 1 << 20


def read_config(path: Path) -> CodecConfig:
    """Read and check a config.json.

    Raises
    ------
    CheckpointError
        The file is not readable or not JSON.
    ConfigError
        The configuration is invalid or not supported.
    """
    with parsing(path, CheckpointError, "not a readable JSON file"):
        with path.open("rb") as file:
            text = file.read(_CONFIG_BYTES + 1)
        if what := stand_in(text[:HEAD_BYTES], "a configuration"):
            raise CheckpointError(f"{path}: {what}")
        if len(text) > _CONFIG_BYTES:
            raise CheckpointError(f"{path}: too large for a config.json")
        raw = strict_json.loads(text)
    try:
        config = config_json.from_dict(raw)
        check_memory(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


class SourceTensors(Mapping[str, Array]):
    """A checkpoint's float tensors by published name, read one at a time.

    Reading one releases the mapped memory of the one before.

    Parameters
    ----------
    stored : mapping of str to StoredTensor
        F32, F16 or BF16; bfloat16 is widened to float32 when it is read.
    """

    def __init__(self, stored: Mapping[str, StoredTensor]) -> None:
        self.stored = stored
        self.dtypes: dict[str, np.dtype[Any]] = {
            name: np.dtype(np.float16 if tensor.dtype == "F16" else np.float32)
            for name, tensor in stored.items()
        }
        self._last: StoredTensor | None = None

    def __getitem__(self, name: str) -> Array:
        """Return a tensor, float32 or float16."""
        tensor = self.stored[name]
        assert tensor.data is not None
        if self._last is not None and self._last is not tensor:
            self._last.release()
        self._last = tensor
        return widen_bfloat16(tensor.data) if tensor.dtype == "BF16" else tensor.data

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.stored)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.stored)


def read_tensors(path: Path, config: CodecConfig) -> SourceTensors:
    """Map a checkpoint's tensors and check each against the configuration.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, read without torch, or a ``.pt`` state dict, read by
        torch's weights-only loading.
    config : CodecConfig
        The checkpoint's configuration.

    Returns
    -------
    SourceTensors
        float32 or float16, by published name.

    Raises
    ------
    CheckpointError
        A tensor is missing, unexpected, of a wrong shape or dtype, or not finite.
    """
    try:
        stored = _from_torch(path) if path.suffix == ".pt" else map_tensors(path)[1]
        found = list(expected(path, config, stored))
    except ModelFileError as error:
        raise CheckpointError(str(error)) from error
    for name, shape, tensor in found:
        _check(path, name, shape, tensor)
    return SourceTensors({name: tensor for name, _, tensor in found})


def _check(path: Path, name: str, shape: tuple[int, ...], tensor: StoredTensor) -> None:
    if tensor.shape != shape:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {shown(list(tensor.shape), 80)}, but the "
            f"configuration requires {list(shape)}"
        )
    if tensor.data is None or tensor.dtype not in ("F32", "F16", "BF16"):
        raise CheckpointError(
            f"{path}: tensor {name} is {tensor.dtype}; F32, F16 and BF16 are supported"
        )
    if not usable(tensor):
        raise CheckpointError(f"{path}: tensor {name} has {UNUSABLE}")
    tensor.release()


def widen_bfloat16(bits: Array) -> Array:
    """Return the float32 values of bfloat16 bits in uint16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _from_torch(path: Path) -> dict[str, StoredTensor]:
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path}: reading .pt needs torch: pip install torch; a model.safetensors needs nothing"
        ) from None
    with parsing(path, CheckpointError, "not a readable state dict"):
        with path.open("rb") as file:
            if what := stand_in(file.read(HEAD_BYTES), "weights"):
                raise CheckpointError(f"{path}: {what}")
        # Torch warns about archives of other kinds.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
                raise CheckpointError(
                    f"{path}: damaged, or not a plain state dict of weights, which is all that "
                    "is read"
                ) from error
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: not a state dict")
        return {str(name): _stored(path, str(name), value) for name, value in state.items()}


def _stored(path: Path, name: str, value: Any) -> StoredTensor:
    import torch

    if not isinstance(value, torch.Tensor):
        raise CheckpointError(f"{path}: {shown(name, 80)} is not a tensor")
    shape = tuple(value.shape)
    dtype = str(value.dtype).removeprefix("torch.")
    kinds = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    if dtype not in kinds:
        return StoredTensor(dtype, shape, None)
    # A view may repeat few numbers many times.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path}: tensor {shown(name, 80)} is larger than its storage")
    value = value.detach().contiguous()
    if dtype == "bfloat16":
        return StoredTensor("BF16", shape, value.view(torch.int16).numpy().view(np.uint16))
    return StoredTensor(kinds[dtype], shape, value.numpy())
