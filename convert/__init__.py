"""Converts checkpoints of FocalCodec to model files and back; only this package imports torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fcs_edge.convert import checkpoint
from fcs_edge.convert.checkpoint import SourceTensors
from fcs_edge.convert.layer_errors import LayerErrors
from fcs_edge.convert.reference_layout import Target, write_checkpoint, write_model_file
from fcs_edge.convert.schemes import default, layout, store
from fcs_edge.convert.source import Source, locate
from fcs_edge.convert.weights_file import Report, Silent
from fcs_edge.errors import CheckpointError, CheckpointWarning
from fcs_edge.kernels.gemm.quantized_weights import GROUP
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensors import check_values

__all__ = [
    "LayerErrors",
    "Source",
    "convert",
    "convert_files",
    "float_model",
    "locate",
    "to_checkpoint",
    "write_model",
    "write_reference",
]


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str | None = None,
    weights: str | None = None,
    part: str | None = None,
) -> ModelFile:
    """Convert a checkpoint to a model file.

    It checks the name, shape, dtype and values of every tensor before it writes anything. It holds
    one tensor in memory at a time, but for a pickle, such as ``.pt``, which torch reads whole.

    Parameters
    ----------
    source : str or path
        A folder with config.json and model.safetensors or model.pt; the path of x.json, x, or
        x.safetensors, where the other of the two is beside it; a hub repository, such as
        lucadellalib/focalcodec_50hz_4k_causal, or a JSON file in one; or a model file.
    out : str or path
        The model file to write; it appears complete or not at all.
    name : str, optional
        The model's name. Absent: the name of the file, folder or repository.
    weights : str, optional
        "f32", "f16", "int8" or "int4" (docs/explanation/quantisation.md). Absent: large models
        become int8; small ones retain float32 and float16, and bfloat16 becomes float32. Of a model
        file of integers only a part can be written, as it is stored.
    part : str, optional
        "encoder" or "decoder": write that half alone, with the fingerprint of the whole model.

    Returns
    -------
    ModelFile
        The file, checked and mapped.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be found, read or converted; one line says why.

    Warns
    -----
    fcs_edge.errors.CheckpointWarning
        Something in the checkpoint is ignored.
    """
    return convert_files(
        locate(str(source)), Path(out), name, weights, part=part, report=_Warnings()
    )


def to_checkpoint(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write a model as a checkpoint that the reference reads.

    Parameters
    ----------
    source : str or path
        A model file, or any other source of `convert`.
    out : str or path
        x.json, beside which x.safetensors is written: the reference's ``from_pretrained`` reads
        the two. Or a folder, which need not exist, for the config.json and model.safetensors of a
        hub repository.
    force : bool
        Whether files that exist are overwritten.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be found or read, or is half a model; a file exists.

    Warns
    -----
    fcs_edge.errors.CheckpointWarning
        The checkpoint lacks something, or its weights are not the original ones.
    """
    write_reference(locate(str(source)), Target.of(Path(out)), _Warnings(), overwrite=force)


class _Warnings(Silent):
    """Passes problems on as warnings of Python."""

    def warn(self, text: str, /) -> None:
        """Issue a warning for the caller of `convert`."""
        warnings.warn(text, CheckpointWarning, stacklevel=2)


def convert_files(
    source: Source | ModelFile,
    out: Path,
    name: str | None = None,
    weights: str | None = None,
    errors: LayerErrors | None = None,
    overwrite: bool = True,
    part: str | None = None,
    report: Report | None = None,
) -> ModelFile:
    """Convert the result of `locate`, a checkpoint or a model file; see `convert`.

    Parameters
    ----------
    source : Source or ModelFile
        The checkpoint, or a model file.
    out, name, weights, part
        As for `convert`.
    errors : LayerErrors, optional
        Collects how far the stored weights are from those of the source.
    overwrite : bool
        Whether a file that exists is replaced. If not, one that appears meanwhile stays.
    report : Report, optional
        Takes what is ignored, dropped or changed in the checkpoint.
    """
    if isinstance(source, ModelFile):
        part = part or source.part
        if part is not None:
            source.require(part)
        is_integer = source.scheme in ("int8", "int4")
        if part is not None and is_integer and weights in (None, source.scheme):
            _check_all(source)
            model_file.write_part(out, source, part, name, overwrite=overwrite)
            return model_file.read(out)
    config, tensors, origin = _open(source, report)
    return write_model(
        *(out, config, tensors, name or source.name, origin, weights, errors, overwrite),
        source=source if isinstance(source, ModelFile) else None,
        part=part,
    )


def write_reference(
    source: Source | ModelFile, target: Target, report: Report, *, overwrite: bool
) -> None:
    """Write the result of `locate` in the layout of the reference; see `to_checkpoint`."""
    if isinstance(source, ModelFile):
        write_model_file(target, source, report, overwrite=overwrite)
    else:
        config, tensors, _ = _open(source, report)
        write_checkpoint(target, config, tensors, tensors.dtypes, report, overwrite=overwrite)


def float_model(source: Source | ModelFile) -> ModelFile:
    """Return the weights of the result of `locate` as they are, without a model file."""
    config, tensors, origin = _open(source)
    stored = {name: tensors.stored(name) for name in tensors}
    path = source.path if isinstance(source, ModelFile) else source.weights
    identity = model_file.fingerprint(config, tensors)
    return ModelFile(path, source.name, origin, config, stored, "f32", GROUP, "", identity)


def _open(
    source: Source | ModelFile, report: Report | None = None
) -> tuple[CodecConfig, SourceTensors, str]:
    """Return a source's configuration, float tensors and origin."""
    if not isinstance(source, ModelFile):
        config, tensors = checkpoint.read(source, report or Silent())
        return config, tensors, source.origin
    if source.scheme in ("int8", "int4"):
        raise CheckpointError(
            f"{source.path}: has {source.scheme} weights; convert from the checkpoint, or "
            "from a model file of f32 or f16"
        )
    _check_all(source)
    pieces = {name: (tensor,) for name, tensor in source.stored.items()}
    return source.config, SourceTensors(pieces), source.source


def _check_all(source: ModelFile) -> None:
    for name, tensor in source.stored.items():
        check_values(source.path, name, tensor)
        tensor.release()


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
    part: str | None = None,
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
        The model file of the same model: its fingerprint, its priors and the models that it
        accepts go along.
    part : str, optional
        The half of the model to write; absent: all of it. `tensors` are those of the whole model,
        unless there is a `source`, which gives the fingerprint.
    """
    scheme = weights or default(config)
    if isinstance(tensors, SourceTensors):
        dtypes = tensors.dtypes
    else:
        dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    identity = source.fingerprint if source else model_file.fingerprint(config, tensors)
    facts = {"name": name, "source": origin, "fingerprint": identity.hex()}
    if scheme in ("int8", "int4"):
        facts |= {"weights": scheme, "group": str(GROUP)}
    facts |= model_file.further_facts(source.accepts if source else (), part)
    specs = layout(config, dtypes, scheme, part)
    stored = store(config, tensors, scheme, errors, part)
    model_file.write_tensors(
        *(out, config, specs, stored, facts),
        priors=source.priors if source else (),
        overwrite=overwrite,
    )
    return model_file.read(out)
