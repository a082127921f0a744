"""Reads a checkpoint's configuration and tensors, and checks them."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fcs_edge.errors import CheckpointError, ConfigError, ModelFileError
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.model_file import expected
from fcs_edge.modelfile.tensors import Array, StoredTensor, map_tensors

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
    try:
        with path.open("rb") as file:
            text = file.read(_CONFIG_BYTES + 1)
        if len(text) > _CONFIG_BYTES:
            raise CheckpointError(f"{path}: too large for a config.json")
        raw = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable JSON file ({error})") from None
    try:
        return config_json.from_dict(raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_tensors(path: Path, config: CodecConfig) -> dict[str, Array]:
    """Read a checkpoint's tensors and check each against the configuration.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, read without torch, or a ``.pt`` state dict, read by
        torch's weights-only loading.
    config : CodecConfig
        The checkpoint's configuration.

    Returns
    -------
    dict of str to numpy.ndarray
        float32 or float16, by published name.

    Raises
    ------
    CheckpointError
        A tensor is missing, unexpected, of a wrong shape or dtype, or not finite.
    """
    try:
        stored = _from_torch(path) if path.suffix == ".pt" else map_tensors(path)[1]
        return {
            name: _checked(path, name, shape, tensor)
            for name, shape, tensor in expected(path, config, stored)
        }
    except ModelFileError as error:
        raise CheckpointError(str(error)) from None


def _checked(path: Path, name: str, shape: tuple[int, ...], tensor: StoredTensor) -> Array:
    if tensor.shape != shape:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {list(tensor.shape)}, but the configuration "
            f"requires {list(shape)}"
        )
    if tensor.data is None or tensor.dtype not in ("F32", "F16", "BF16"):
        raise CheckpointError(
            f"{path}: tensor {name} is {tensor.dtype}; F32, F16 and BF16 are supported"
        )
    values = widen_bfloat16(tensor.data) if tensor.dtype == "BF16" else tensor.data
    if not np.isfinite(values).all():
        raise CheckpointError(f"{path}: tensor {name} has NaN or infinity")
    return values


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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path}: not a readable state dict ({_line(error)})") from None
    except (pickle.UnpicklingError, zipfile.BadZipFile):
        raise CheckpointError(
            f"{path}: damaged, or not a plain state dict of weights, which is all that is read"
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a state dict")
    return {str(name): _stored(path, str(name), value) for name, value in state.items()}


def _stored(path: Path, name: str, value: Any) -> StoredTensor:
    import torch

    if not isinstance(value, torch.Tensor):
        raise CheckpointError(f"{path}: {name} is not a tensor")
    shape = tuple(value.shape)
    value = value.detach().contiguous()
    if value.dtype == torch.float32:
        return StoredTensor("F32", shape, value.numpy())
    if value.dtype == torch.float16:
        return StoredTensor("F16", shape, value.numpy())
    if value.dtype == torch.bfloat16:
        return StoredTensor("BF16", shape, value.view(torch.int16).numpy().view(np.uint16))
    return StoredTensor(str(value.dtype).removeprefix("torch."), shape, None)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
