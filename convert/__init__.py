"""Converts checkpoints of FocalCodec-Stream to model files; only this package imports torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fcs_edge.convert.checkpoint import SourceTensors, read_config, read_tensors
from fcs_edge.convert.layer_errors import LayerErrors
from fcs_edge.convert.schemes import default, layout, store
from fcs_edge.convert.source import Source, locate
from fcs_edge.errors import CheckpointError
from fcs_edge.kernels.gemm.quantized_weights import GROUP
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensors import StoredTensor, check_values

__all__ = [
    "LayerErrors",
    "Source",
    "convert",
    "convert_files",
    "float_model",
    "locate",
    "write_model",
]


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str | None = None,
    weights: str | None = None,
) -> ModelFile:
    """Convert a checkpoint to a model file.

    It checks the name, shape, dtype and values of every tensor before it writes anything. It holds
    one tensor in memory at a time, but for a ``.pt`` file, which torch reads whole.

    Parameters
    ----------
    source : str or path
        A folder with config.json and model.safetensors or model.pt; the path of a
        config.json; a hub repository, such as lucadellalib/focalcodec_50hz_4k_causal; or a
        model file of float weights.
    out : str or path
        The model file to write; it appears complete or not at all.
    name : str, optional
        The model's name. Absent: the name of the folder or repository.
    weights : str, optional
        "f32", "f16", "int8" or "int4" (docs/explanation/quantisation.md). Absent: large models
        become int8; small ones retain float32 and float16, and bfloat16 becomes float32.

    Returns
    -------
    ModelFile
        The file, checked and mapped.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be found, read or converted; one line says why.
    """
    return convert_files(locate(str(source)), Path(out), name, weights)


def convert_files(
    source: Source | ModelFile,
    out: Path,
    name: str | None = None,
    weights: str | None = None,
    errors: LayerErrors | None = None,
    overwrite: bool = True,
) -> ModelFile:
    """Convert the result of `locate`, a checkpoint or a model file; see `convert`.

    Parameters
    ----------
    source : Source or ModelFile
        The checkpoint, or a model file of float weights.
    out, name, weights
        As for `convert`.
    errors : LayerErrors, optional
        Collects how far the stored weights are from those of the source.
    overwrite : bool
        Whether a file that exists is replaced. If not, one that appears meanwhile stays.
    """
    config, tensors, origin = _open(source)
    return write_model(
        *(out, config, tensors, name or source.name, origin, weights, errors, overwrite),
        source=source if isinstance(source, ModelFile) else None,
    )


def float_model(source: Source | ModelFile) -> ModelFile:
    """Return the weights of the result of `locate` as they are, without a model file."""
    config, tensors, origin = _open(source)
    stored = {name: _as_float(tensors, name) for name in tensors}
    path = source.path if isinstance(source, ModelFile) else source.weights
    identity = model_file.fingerprint(config, tensors)
    return ModelFile(path, source.name, origin, config, stored, "f32", GROUP, "", identity)


def _as_float(tensors: SourceTensors, name: str) -> StoredTensor:
    tensor = tensors.stored[name]
    if tensor.dtype != "BF16":
        return tensor
    return StoredTensor("F32", tensor.shape, tensors[name])


def _open(source: Source | ModelFile) -> tuple[CodecConfig, SourceTensors, str]:
    """Return a source's configuration, float tensors and origin."""
    if not isinstance(source, ModelFile):
        config = read_config(source.config)
        return config, read_tensors(source.weights, config), source.origin
    if source.scheme in ("int8", "int4"):
        raise CheckpointError(
            f"{source.path}: has {source.scheme} weights; convert from the checkpoint, or "
            "from a model file of f32 or f16"
        )
    for name, tensor in source.stored.items():
        check_values(source.path, name, tensor)
    return source.config, SourceTensors(source.stored), source.source


def write_model(
    out: Path,
    config: CodecConfig,
    tensors: Mapping[str, NDArray[Any]],
    name: str,
    origin: str,
    weights: str | None = None,
    errors: LayerErrors | None = None,
    overwrite: bool = True,
    source: ModelFile | None = None,
) -> ModelFile:
    """Write a model file of float tensors in their published shapes; see `convert_files`.

    Parameters
    ----------
    out : Path
        The model file to write.
    config : CodecConfig
        The configuration.
    tensors : mapping of str to numpy.ndarray
        float32 or float16, by published name.
    name, origin : str
        The model's name, and what it is converted from.
    weights, errors, overwrite
        As for `convert_files`.
    source : ModelFile, optional
        The model file of the same model: its priors and the models that it accepts go along.
    """
    scheme = weights or default(config)
    if isinstance(tensors, SourceTensors):
        dtypes = tensors.dtypes
    else:
        dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    identity = model_file.fingerprint(config, tensors)
    facts = {"name": name, "source": origin, "fingerprint": identity.hex()}
    if scheme in ("int8", "int4"):
        facts |= {"weights": scheme, "group": str(GROUP)}
    facts |= model_file.accepted_facts(source.accepts if source else ())
    specs, stored = layout(config, dtypes, scheme), store(config, tensors, scheme, errors)
    model_file.write_tensors(
        *(out, config, specs, stored, facts),
        priors=source.priors if source else (),
        overwrite=overwrite,
    )
    return model_file.read(out)
