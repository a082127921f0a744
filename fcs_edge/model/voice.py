"""Voices: features of a speaker, and the files that hold them.

docs/reference/voice-file.md describes the format.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.errors import FcsError, ModelFileError, VoiceError, parsing, shown
from fcs_edge.files import creating
from fcs_edge.kernels._types import F16, F32, I8
from fcs_edge.kernels.gemm.quantized_weights import frozen
from fcs_edge.model.voice_rows import Scales, VoiceRows, as_float32, quantized
from fcs_edge.modelfile.tensor_file import TensorFileWriter, TensorSpec
from fcs_edge.modelfile.tensors import ForeignFileError, StoredTensor, map_tensors

FORMAT = "fcs-edge voice"
FORMAT_VERSION = 1

KINDS = {"f16": np.float16, "int8": np.int8, "f32": np.float32}
"""How rows may be stored."""

_STORED = {"F16": np.float16, "F32": np.float32, "I8": np.int8}

SOURCES = ("encoder", "decompressor")
"""Stages whose features a voice may hold."""

MAX_ROWS = 1 << 18
"""Most rows of a voice: 87 minutes at 50 rows a second."""

MAX_WIDTH = 1 << 14

LARGEST = 2.0**40
"""Largest magnitude of a row's value: the squares of a row have a sum."""

LEAST = 2.0**-49
"""A row whose values are not above this magnitude may count as zeros in the search."""

_UNUSABLE = "NaN or infinity, or a number beyond 2 ** 40"
_BLOCK = 1024
"""Rows that are looked at once."""
_NAME_CHARACTERS = 200
_DAMAGED = "damaged metadata"


@dataclass(frozen=True, eq=False)
class Voice:
    """Feature rows of one speaker, which decoding can take in place of its own.

    `load_voice` reads one from a file, and ``fcs-edge voice make`` writes that.

    Parameters
    ----------
    rows : numpy.ndarray
        (n, width) float32, float16, or int8 from -127 to 127; finite. They are searched as they
        are. Rows of zeros are never nearest.
    fingerprint : bytes
        Eight bytes: the model that made the features.
    model : str
        That model's name.
    source : str
        The stage that made them: "encoder" or "decompressor".
    seconds : float
        Duration of the sound that was used.
    scales : Scales, optional
        What makes floats of rows of int8; `to_int8` returns both. Others have none.

    Raises
    ------
    fcs_edge.VoiceError
        The rows are not usable: another type or shape, too many, not finite, or all zeros.
    """

    rows: F32 | F16 | I8
    fingerprint: bytes
    model: str = ""
    source: str = "encoder"
    seconds: float = 0.0
    scales: Scales | None = None

    def __post_init__(self) -> None:
        """Check the rows."""
        _check_rows(self.rows, self.scales)
        # Views: the caller's arrays stay as they are.
        object.__setattr__(self, "rows", frozen(self.rows))
        if self.scales is not None:
            object.__setattr__(self, "scales", Scales(*map(frozen, self.scales)))
        if self.source not in SOURCES or len(self.fingerprint) != 8:
            raise VoiceError("a voice states encoder or decompressor, and a fingerprint of 8 bytes")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Name the model and the number of rows."""
        return (
            f"<Voice {len(self)} rows of {self.width} {self.kind}, {self.source} of {self.model}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields; the index is prepared again where it is loaded."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def width(self) -> int:
        """Values of a row."""
        return int(self.rows.shape[1])

    @property
    def kind(self) -> str:
        """How the rows are stored: ``f16``, ``int8`` or ``f32``."""
        return next(kind for kind, dtype in KINDS.items() if self.rows.dtype == dtype)

    @cached_property
    def index(self) -> VoiceRows:
        """The rows, ready to be searched: prepared at the first use, then shared."""
        return VoiceRows(self.rows, self.scales)

    def float32(self) -> F32:
        """Return the rows as float32, (n, width)."""
        return as_float32(self.rows, self.scales)

    def to_int8(self) -> Voice:
        """Return the same voice with rows of int8, half as large as those of float16."""
        rows, scales = quantized(self.float32())
        return dataclasses.replace(self, rows=rows, scales=scales)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write a ``.voice`` file; it appears complete or not at all.

        Parameters
        ----------
        path : str or path
            The file to write.
        force : bool
            Whether an existing file is overwritten.

        Raises
        ------
        fcs_edge.FcsError
            The file exists.
        OSError
            It cannot be written.
        """
        target = Path(path)
        if target.exists() and not force:
            raise FcsError(f"{target}: exists already; force=True overwrites it")
        write(target, self, overwrite=force)


def _check_rows(rows: Any, scales: Scales | None) -> None:
    """Raise VoiceError where rows cannot be searched."""
    if not isinstance(rows, np.ndarray) or rows.dtype not in KINDS.values() or rows.ndim != 2:
        raise VoiceError("rows of a voice are a matrix of float16, float32 or int8")
    n, width = rows.shape
    if not (0 < n <= MAX_ROWS and 0 < width <= MAX_WIDTH):
        raise VoiceError(
            f"a voice has 1 to {MAX_ROWS:,} rows of at most {MAX_WIDTH:,} values, not {n:,} of "
            f"{width:,}"
        )
    if not rows.flags.c_contiguous:
        raise VoiceError("rows of a voice are contiguous")
    if (scales is not None) != (rows.dtype == np.int8):
        raise VoiceError("rows of int8 have scales, and others none")
    if scales is not None:
        _check_scales(rows, scales)
    elif not all(_is_usable(part) for part in _blocks(rows)):
        raise VoiceError(f"a row has {_UNUSABLE}")
    parts = (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))
    used = (as_float32(rows[p], None if scales is None else scales.of(p)) for p in parts)
    if not any((np.abs(part) > LEAST).any() for part in used):
        raise VoiceError("all rows are zeros: the recordings have no sound")


def _check_scales(rows: I8, scales: Scales) -> None:
    """Raise VoiceError where scales do not fit rows of int8."""
    n, width = rows.shape
    for array, shape in zip(scales, ((n,), (2, width)), strict=True):
        if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
            raise VoiceError(f"scales of {n:,} rows are float32 of shapes {(n,)} and {(2, width)}")
        if not _is_usable(array):
            raise VoiceError(f"a scale is {_UNUSABLE}")
    if np.abs(scales.scale).max() * np.abs(scales.columns[1]).max() > LARGEST / 256:
        raise VoiceError("the scales of rows and columns are too large together")
    if rows.min() < -127:
        raise VoiceError("a row has -128; its integers are -127 to 127")


def _blocks(rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Return views of some rows at a time."""
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]


def _is_usable(values: NDArray[Any]) -> bool:
    """Return whether all values are finite and at most `LARGEST`; a comparison with NaN is not."""
    return bool((np.abs(values) <= np.float32(LARGEST)).all())


def load_voice(path: str | os.PathLike[str]) -> Voice:
    """Read a voice from a ``.voice`` file.

    Parameters
    ----------
    path : str or path
        A file that ``fcs-edge voice make`` or `Voice.save` wrote.

    Returns
    -------
    Voice
        The rows, in memory, and what the file states of them.

    Raises
    ------
    fcs_edge.VoiceError
        The file is missing, damaged, no voice, or of a newer format.
    """
    path = Path(path)
    try:
        metadata, stored = map_tensors(path)
    except ForeignFileError:
        metadata, stored = {}, {}
    except ModelFileError as error:
        raise VoiceError(str(error)) from error
    if metadata.get("format") != FORMAT:
        name = path.with_suffix(".voice").name
        raise VoiceError(f"{path}: no voice; make one with 'fcs-edge voice make SOUND {name}'")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        version = shown(metadata.get("format_version"), 20)
        raise VoiceError(
            f"{path}: voice format {version} is not known to this release; update fcs-edge"
        )
    facts = _facts(path, metadata)
    rows, scales = _tensors(path, stored)
    try:
        return Voice(rows, scales=scales, **facts)
    except VoiceError as error:
        raise VoiceError(f"{path}: {error}") from None


def _facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return fingerprint, model, source and seconds from a file's metadata."""
    with parsing(path, VoiceError, _DAMAGED):
        for key in ("fingerprint", "model", "source", "seconds"):
            if key not in metadata:
                raise ValueError(f"no {key}")
        fingerprint, seconds = bytes.fromhex(metadata["fingerprint"]), float(metadata["seconds"])
        if len(fingerprint) != 8 or metadata["source"] not in SOURCES:
            raise ValueError("a fingerprint that is not 8 bytes, or an unknown source")
        if not 0 <= seconds < 1e9 or len(metadata["model"]) > _NAME_CHARACTERS:
            raise ValueError("seconds or the model's name")
    return {
        "fingerprint": fingerprint,
        "model": metadata["model"],
        "source": metadata["source"],
        "seconds": seconds,
    }


def _tensors(path: Path, stored: Mapping[str, StoredTensor]) -> tuple[Any, Scales | None]:
    """Return rows and scales in memory of their own: a search never waits for the file."""
    rows = stored.get("rows")
    if rows is None or rows.dtype not in _STORED or rows.data is None or len(rows.shape) != 2:
        raise VoiceError(f"{path}: no tensor rows of F16, F32 or I8 with two axes")
    expected = {"rows", *Scales._fields} if rows.dtype == "I8" else {"rows"}
    if stored.keys() != expected:
        other = shown(sorted(stored.keys() ^ expected)[0], 80)
        raise VoiceError(f"{path}: tensor {other} is missing or unexpected")
    n, width = rows.shape
    if n > MAX_ROWS or width > MAX_WIDTH:
        raise VoiceError(
            f"{path}: a voice has at most {MAX_ROWS:,} rows of {MAX_WIDTH:,} values, not "
            f"{shown(rows.shape, 80)}"
        )
    values = np.array(rows.data, _STORED[rows.dtype])
    rows.release()
    if rows.dtype != "I8":
        return values, None
    found = []
    for name, shape in zip(Scales._fields, ((n,), (2, width)), strict=True):
        tensor = stored[name]
        if tensor.dtype != "F32" or tensor.data is None or tensor.shape != shape:
            raise VoiceError(f"{path}: tensor {name} is not F32 of shape {shape}")
        found.append(np.array(tensor.data, np.float32))
    return values, Scales(*found)


def write(path: Path, voice: Voice, *, overwrite: bool = True) -> None:
    """Write a voice; the file appears complete or not at all."""
    tensors: dict[str, NDArray[Any]] = {"rows": voice.rows}
    if voice.scales is not None:
        tensors |= voice.scales._asdict()
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "fingerprint": voice.fingerprint.hex(),
        "model": voice.model[:_NAME_CHARACTERS],
        "source": voice.source,
        "seconds": f"{voice.seconds:.2f}",
    }
    with creating(path, overwrite=overwrite) as file:
        specs = {name: TensorSpec(array.dtype, array.shape) for name, array in tensors.items()}
        writer = TensorFileWriter(file, specs, metadata)
        for name, array in tensors.items():
            writer.write(name, array)


def fit(voice: Voice, fingerprint: bytes, width: int, any_voice: bool) -> None:
    """Raise VoiceError where a voice does not fit a model.

    Parameters
    ----------
    voice : Voice
        The voice.
    fingerprint : bytes
        The model that decodes.
    width : int
        Values of a row of its features.
    any_voice : bool
        Whether another model's features are accepted.
    """
    if voice.width != width:
        raise VoiceError(
            f"the voice has rows of {voice.width} values, and the model's have {width}: make the "
            "voice with this model"
        )
    if voice.fingerprint != fingerprint and not any_voice:
        name = shown(voice.model, 60) or "another model"
        raise VoiceError(
            f"the voice is of {name} ({voice.fingerprint.hex()}), not of this model: make it with "
            "this one, or use --any-voice (any_voice=True)"
        )
