"""The model file: a safetensors container, checked and mapped (docs/reference/model-file.md)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fcs_edge.entropy.prior import Prior
from fcs_edge.errors import ConfigError, ModelFileError, parsing, shown
from fcs_edge.files import replacing
from fcs_edge.modelfile import config_json, strict_json
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.parts import PARTS, belongs, part_shapes
from fcs_edge.modelfile.prior_tensors import is_prior, prior_facts, prior_tensors, read_priors
from fcs_edge.modelfile.stream_memory import check_memory
from fcs_edge.modelfile.tensor_file import TensorFileWriter, TensorSpec
from fcs_edge.modelfile.tensor_layout import Shape, matrix_shape
from fcs_edge.modelfile.tensors import (
    SCALE,
    Array,
    ForeignFileError,
    StoredTensor,
    TensorReader,
    check_values,
    header,
    map_tensors,
)

FORMAT = "fcs-edge model"
FORMAT_VERSION = 4
"""The newest version: half models. Others state 3 where there are priors, 2, or 1 where weights are
floats alone, so that older releases read them."""

SCHEMES = ("f32", "f16", "int8", "int4")
"""How weights of matrix products are stored."""

ACTIVATION_BITS = {"f32": (32,), "f16": (32,), "int8": (12, 8), "int4": (8,)}
"""Bits of the activations that each kind of weights may multiply, the default first."""

ACCEPTS = "accepts"
"""Metadata: fingerprints of other models whose tokens this one decodes, between spaces."""

PART = "part"
"""Metadata of a half model: which half it is, one of `PARTS`."""

_DAMAGED = "damaged metadata"

GROUPS = (32, 64, 128, 256, 512, 1024)
"""Numbers of weights that may share a scale in int4."""


@dataclass(frozen=True)
class ModelFile:
    """A checked, mapped model."""

    path: Path
    name: str
    """A short name, such as ``focalcodec_50hz_4k_causal``."""
    source: str
    """The checkpoint it was converted from."""
    config: CodecConfig
    stored: Mapping[str, StoredTensor]
    """Mapped, read-only arrays by published name: floats, or integers and their scales."""
    scheme: str
    """How the weights are stored: one of `SCHEMES`."""
    group: int
    """Number of weights that share a scale in int4."""
    sha256: str
    """SHA-256 of the configuration and the stored tensors, hexadecimal, as the file states it."""
    fingerprint: bytes
    """Eight bytes that identify the model in bitstreams."""
    chosen_bits: int | None = None
    """Bits of activations, where they are not the default of `scheme`."""
    priors: tuple[Prior, ...] = ()
    """Priors of the tokens' entropy coders, the newest last."""
    accepts: tuple[bytes, ...] = ()
    """Fingerprints of other models whose tokens this one decodes."""
    part: str | None = None
    """Of a half model "encoder" or "decoder"; the fingerprint is that of the whole model."""

    @property
    def activation_bits(self) -> int:
        """Bits of the activations that kernels multiply by the weights."""
        return self.chosen_bits or ACTIVATION_BITS[self.scheme][0]

    def with_activations(self, bits: int) -> ModelFile:
        """Return the same model, whose weights multiply activations of another number of bits.

        Parameters
        ----------
        bits : int
            12 or 8 for ``int8`` weights, 8 for ``int4``, 32 for floats.

        Returns
        -------
        ModelFile
            It shares the tensors. The file and the fingerprint are the same.

        Raises
        ------
        ModelFileError
            Weights of this kind cannot multiply such activations.
        """
        check_activations(self.path, self.scheme, bits)
        return dataclasses.replace(self, chosen_bits=bits)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The published shape of each tensor by name."""
        return part_shapes(self.config, self.part)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def require(self, *parts: str) -> None:
        """Check that the file holds halves of the model.

        Parameters
        ----------
        *parts : str
            "encoder", "decoder", or both.

        Raises
        ------
        ModelFileError
            It is a half model, and lacks one of them.
        """
        missing = [part for part in parts if self.part not in (None, part)]
        if missing:
            raise ModelFileError(
                f"{self.path}: the {self.part} half of a model, and this needs the {missing[0]}; "
                f"use the whole model{_or_half(parts)}"
            )

    @property
    def tensors(self) -> dict[str, Array]:
        """The arrays as stored, by name."""
        return {name: t.data for name, t in self.stored.items() if t.data is not None}

    def reader(self, *parts: str) -> TensorReader:
        """Return the tensors in the form that layers read, where the halves `parts` are there."""
        self.require(*parts)
        return TensorReader(self.path, self.stored, self.shapes, self.group, self.activation_bits)

    def verify(self) -> None:
        """Read the file, compare it with the SHA-256 that it states, and check all values.

        Raises
        ------
        ModelFileError
            The contents differ from what was written, or a weight is NaN or infinite.
        """
        _, metadata, _ = header(self.path)
        for name, tensor in self.stored.items():
            check_values(self.path, name, tensor)
            tensor.release()
        stored = {**self.stored, **_unmapped(prior_tensors(self.priors))}
        if _stored_digest(metadata["config"], stored).hex() != self.sha256:
            raise ModelFileError(
                f"{self.path}: damaged: its SHA-256 does not match; convert or copy it again"
            )


def _or_half(parts: Sequence[str]) -> str:
    return f", or its {parts[0]} half" if len(parts) == 1 else ""


def check_activations(path: Path, scheme: str, bits: int) -> None:
    """Raise ModelFileError where weights of a scheme cannot multiply activations of `bits` bits."""
    allowed = ACTIVATION_BITS[scheme]
    if bits not in allowed:
        few = " or ".join(str(n) for n in sorted(allowed))
        raise ModelFileError(
            f"{path}: {scheme} weights multiply activations of {few} bits, not {bits}; "
            "the choice is for int8 weights"
        )


def read(path: Path) -> ModelFile:
    """Check a model file and map it; this takes milliseconds at any size.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ModelFile
        The model; its weights are read when a layer uses them.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, not a model file, or of a newer format.
    """
    try:
        metadata, stored = map_tensors(path)
    except ForeignFileError:
        metadata, stored = {}, {}
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: not a model file of fcs-edge; convert a checkpoint with "
            "'fcs-edge convert CHECKPOINT OUT'"
        )
    version = metadata.get("format_version")
    if version not in [str(v) for v in range(1, FORMAT_VERSION + 1)]:
        raise ModelFileError(
            f"{path}: model file format {shown(version, 20)} is not known to this release; "
            "update fcs-edge"
        )
    weights = {name: tensor for name, tensor in stored.items() if not is_prior(name)}
    part = _part(path, metadata)
    config, fingerprint, scheme, group = _facts(path, metadata, weights)
    _check(path, config, weights, group, part)
    priors = read_priors(path, metadata, stored, config.bits_per_token)
    name, source, sha256 = metadata["name"], metadata["source"], metadata["sha256"]
    return ModelFile(
        *(path, name, source, config, weights, scheme, group, sha256, fingerprint),
        priors=priors,
        accepts=_accepted(path, metadata),
        part=part,
    )


def _part(path: Path, metadata: Mapping[str, str]) -> str | None:
    """Return which half of a model a file holds; None of a whole one."""
    part = metadata.get(PART)
    if part is not None and part not in PARTS:
        raise ModelFileError(f"{path}: {_DAMAGED} (part {shown(part, 60)!r})")
    return part


def _facts(
    path: Path, metadata: Mapping[str, str], stored: Mapping[str, StoredTensor]
) -> tuple[CodecConfig, bytes, str, int]:
    """Return configuration, fingerprint, scheme and group from a model file's metadata."""
    with parsing(path, ModelFileError, _DAMAGED):
        for key in ("name", "source", "config", "sha256", "fingerprint"):
            if key not in metadata:
                raise ValueError(f"no {key}")
        fingerprint = bytes.fromhex(metadata["fingerprint"])
        if len(fingerprint) != 8 or len(bytes.fromhex(metadata["sha256"])) != 32:
            raise ValueError("the fingerprint is not 8 bytes, or the SHA-256 not 32")
        half = any(tensor.dtype == "F16" for tensor in stored.values())
        scheme = metadata.get("weights", "f16" if half else "f32")
        group = int(metadata.get("group", GROUPS[0]))
        if scheme not in SCHEMES or group not in GROUPS:
            raise ValueError(f"weights {shown(scheme, 60)}, group {group}")
        raw = strict_json.loads(metadata["config"])
    try:
        config = config_json.from_dict(raw)
        check_memory(config, metadata.get(PART))
    except ConfigError as error:
        raise ModelFileError(f"{path}: {_DAMAGED} ({error})") from None
    return config, fingerprint, scheme, group


def _accepted(path: Path, metadata: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the fingerprints of other models that a model file lists."""
    with parsing(path, ModelFileError, _DAMAGED):
        found = tuple(bytes.fromhex(text) for text in metadata.get(ACCEPTS, "").split())
        if any(len(fingerprint) != 8 for fingerprint in found):
            raise ValueError("an accepted fingerprint is not 8 bytes")
    return found


def _expected(
    path: Path, shapes: Mapping[str, Shape], stored: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, Shape, StoredTensor]]:
    """Yield the name, required shape and stored tensor of each tensor.

    Raises
    ------
    ModelFileError
        `stored` lacks a tensor, or has another one.
    """
    for name in stored:
        weight = stored.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
        if name not in shapes and (weight is None or weight.dtype not in ("I8", "U8")):
            raise ModelFileError(f"{path}: unexpected tensor {shown(name, 80)}")
    for name, shape in shapes.items():
        tensor = stored.get(name)
        if tensor is None:
            raise ModelFileError(f"{path}: tensor {name} is missing")
        yield name, shape, tensor


def _check(
    path: Path,
    config: CodecConfig,
    stored: Mapping[str, StoredTensor],
    group: int,
    part: str | None,
) -> None:
    for name, shape, tensor in _expected(path, part_shapes(config, part), stored):
        matrix = matrix_shape(name, shape)
        if matrix is not None and tensor.dtype in ("I8", "U8"):
            outputs, depth = matrix
            scales: Shape = (outputs,)
            if tensor.dtype == "I8":
                _check_tensor(path, name, tensor, (outputs, depth), "I8")
            else:
                _check_tensor(path, name, tensor, (outputs, -(-depth // 2)), "U8")
                scales = (outputs, -(-depth // group))
            if name + SCALE not in stored:
                raise ModelFileError(f"{path}: tensor {name}{SCALE} is missing")
            dtype = "F32" if tensor.dtype == "I8" else "F16"
            _check_tensor(path, name + SCALE, stored[name + SCALE], scales, dtype)
        else:
            _check_tensor(path, name, tensor, shape, "F32", "F16")


def _check_tensor(path: Path, name: str, tensor: StoredTensor, shape: Shape, *dtypes: str) -> None:
    if tensor.shape != shape:
        raise ModelFileError(f"{path}: tensor {name} is {shown(tensor.shape, 80)}, not {shape}")
    if tensor.data is None or tensor.dtype not in dtypes:
        raise ModelFileError(f"{path}: tensor {name} is {tensor.dtype}, not {' or '.join(dtypes)}")


def write(
    path: Path,
    config: CodecConfig,
    tensors: Mapping[str, Array],
    name: str,
    source: str,
    *,
    scheme: str | None = None,
    group: int = GROUPS[0],
    identity: bytes | None = None,
    priors: Sequence[Prior] = (),
) -> None:
    """Write a model file; it appears at `path` complete or not at all.

    Parameters
    ----------
    path : Path
        The file to write.
    config : CodecConfig
        The configuration.
    tensors : mapping of str to numpy.ndarray
        By published name: float32 or float16; or int8 matrices, or 4-bit ones packed in uint8
        (`fcs_edge.kernels.gemm.quantized_weights`), each with its scales beside it.
    name, source : str
        The model's name, and what it was converted from.
    scheme : str, optional
        One of `SCHEMES`, for quantised weights.
    group : int
        Weights that share a scale in int4.
    identity : bytes, optional
        The fingerprint. Absent: that of `tensors`. Quantised weights have the fingerprint of the
        floats that they were quantised from.
    priors : sequence of Prior
        Priors of the tokens' entropy coders, the newest last.
    """
    if identity is None:
        identity = fingerprint(config, tensors)
    specs = {key: TensorSpec(tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
    facts = {"name": name, "source": source, "fingerprint": identity.hex()}
    if scheme in ("int8", "int4"):
        facts |= {"weights": scheme, "group": str(group)}
    write_tensors(path, config, specs, tensors.items(), facts, priors=priors)


def write_with_priors(
    path: Path, model: ModelFile, priors: Sequence[Prior], *, overwrite: bool = True
) -> None:
    """Write a copy of a model file that holds these priors in place of its own.

    The tensors of the model, its name and its fingerprint are the same.

    Parameters
    ----------
    path : Path
        The file to write; it appears complete or not at all. It may be the model's own.
    model : ModelFile
        The model.
    priors : sequence of Prior
        All priors, the newest last. Files that name one of the model's need it: retain them.
    overwrite : bool
        Whether a file that appears meanwhile is replaced.

    Raises
    ------
    FcsError, OSError
        As for `write_tensors`.
    """
    _copy(path, model, model.name, model.part, priors, overwrite)


def write_part(
    path: Path, model: ModelFile, part: str, name: str | None = None, *, overwrite: bool = True
) -> None:
    """Write half of a model, its tensors as they are stored; see `PARTS`.

    The half has the fingerprint, the priors and the accepted models of the whole.

    Parameters
    ----------
    path : Path
        The file to write; it appears complete or not at all.
    model : ModelFile
        The whole model, or that half of it.
    part : str
        "encoder" or "decoder".
    name : str, optional
        The half's name. Absent: that of the model.
    overwrite : bool
        Whether a file that appears meanwhile is replaced.

    Raises
    ------
    FcsError, OSError
        As for `write_tensors`, or the model is the other half.
    """
    model.require(part)
    _copy(path, model, name or model.name, part, model.priors, overwrite)


def _copy(
    path: Path,
    model: ModelFile,
    name: str,
    part: str | None,
    priors: Sequence[Prior],
    overwrite: bool,
) -> None:
    """Write tensors of a model file as they are stored."""
    tensors = {key: t for key, t in model.tensors.items() if part is None or belongs(key, part)}
    specs = {key: TensorSpec(tensor.dtype, tensor.shape) for key, tensor in tensors.items()}
    facts = {"name": name, "source": model.source, "fingerprint": model.fingerprint.hex()}
    if model.scheme in ("int8", "int4"):
        facts |= {"weights": model.scheme, "group": str(model.group)}
    facts |= further_facts(model.accepts, part)
    write_tensors(
        path, model.config, specs, tensors.items(), facts, priors=priors, overwrite=overwrite
    )


def further_facts(accepts: Sequence[bytes], part: str | None) -> dict[str, str]:
    """Return the metadata of accepted fingerprints and of a half model; empty where none is."""
    facts = {ACCEPTS: " ".join(text.hex() for text in accepts)} if accepts else {}
    return facts if part is None else facts | {PART: part}


def write_tensors(
    path: Path,
    config: CodecConfig,
    specs: Mapping[str, TensorSpec],
    tensors: Iterable[tuple[str, Array]],
    facts: Mapping[str, str],
    *,
    priors: Sequence[Prior] = (),
    overwrite: bool = True,
) -> None:
    """Write a model file tensor by tensor: no more than one is in memory.

    Parameters
    ----------
    path : Path
        The file to write; it appears complete or not at all.
    config : CodecConfig
        The configuration.
    specs : mapping of str to TensorSpec
        All tensors, as `write` takes them.
    tensors : iterable of (str, numpy.ndarray)
        The same tensors, in any order.
    facts : mapping of str to str
        Metadata: ``name``, ``source`` and ``fingerprint``; of integers ``weights`` and ``group``;
        `further_facts`.
    priors : sequence of Prior
        Priors of the tokens' entropy coders, the newest last.
    overwrite : bool
        Whether a file that appears meanwhile is replaced.

    Raises
    ------
    FcsError
        A file appeared at `path` meanwhile. The message names where the model is.
    OSError
        The file cannot be written; its ``filename`` is `path`.
    """
    stated, added = _stated(config), prior_tensors(priors)
    all_specs = dict(specs)
    all_specs |= {key: TensorSpec(array.dtype, array.shape) for key, array in added.items()}
    metadata = {
        **facts,
        **prior_facts(priors),
        "format": FORMAT,
        "format_version": str(_version(facts, priors)),
        "config": stated,
        "sha256": "0" * 64,
    }
    try:
        with replacing(path, overwrite=overwrite) as temporary, temporary.open("r+b") as file:
            writer = TensorFileWriter(file, all_specs, metadata)
            for key, tensor in chain(tensors, added.items()):
                writer.write(key, tensor)
            file.flush()
            metadata["sha256"] = _stored_digest(stated, map_tensors(temporary)[1]).hex()
            writer.finish(metadata)
    except OSError as error:
        # A full disk has no file name of its own, and the temporary file's name says little.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _version(facts: Mapping[str, str], priors: Sequence[Prior]) -> int:
    """Return the oldest version of the format that a file needs."""
    if PART in facts:
        return FORMAT_VERSION
    return 3 if priors else 2 if "weights" in facts else 1


def _unmapped(tensors: Mapping[str, Array]) -> dict[str, StoredTensor]:
    """Return arrays in memory as a file would hold them."""
    return {name: StoredTensor(str(t.dtype), t.shape, t) for name, t in tensors.items()}


def _stored_digest(stated: str, stored: Mapping[str, StoredTensor]) -> bytes:
    """Return the digest of tensors as they are stored, each released once it is read."""

    def named() -> Iterator[tuple[str, Array]]:
        for name in sorted(stored):
            tensor = stored[name]
            assert tensor.data is not None
            yield name, tensor.data
            tensor.release()

    return _digest(stated, named())


def fingerprint(config: CodecConfig, tensors: Mapping[str, Array]) -> bytes:
    """Return the eight bytes that identify a model, however its weights are stored.

    They are the start of a SHA-256. It covers the configuration (JSON, keys sorted, every key
    written out) and each tensor's name, shape and float32 values, tensors sorted by name.
    """
    named = ((name, tensors[name]) for name in sorted(tensors))
    return _digest(_stated(config), named, "<f4")[:8]


def _stated(config: CodecConfig) -> str:
    return json.dumps(config_json.to_dict(config), sort_keys=True)


def _digest(stated: str, tensors: Iterable[tuple[str, Array]], dtype: str | None = None) -> bytes:
    """Return the SHA-256 of a configuration and each tensor's name, shape and bytes."""
    digest = hashlib.sha256(stated.encode())
    for name, tensor in tensors:
        values = np.ascontiguousarray(tensor, dtype)
        digest.update(f"{name}{list(values.shape)}".encode())
        digest.update(values.data)
    return digest.digest()
