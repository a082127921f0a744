"""The tensor names of version 0.0.1, and those of version 0.0.2 that they become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fcs_edge.errors import CheckpointError, shown
from fcs_edge.modelfile.tensors import StoredTensor

Pieces = tuple[StoredTensor, ...]
"""A tensor in pieces that follow one another along its first axis."""

_PROJECTION = re.compile(r"(.+)\.([qkv])_proj\.(weight|bias)")
_LAYER = re.compile(r"((?:de)?compressor)\.layers\.(\d+)\.([01])\.(.+)")
_SECTIONS = {
    ("compressor", "0"): "downscale",
    ("compressor", "1"): "focal_block",
    ("decompressor", "0"): "focal_block",
    ("decompressor", "1"): "upscale",
}
_UNUSED = re.compile(r"encoder\.encoder\.norm\.(weight|bias)|quantizer\.mask")
"""A norm that no feature passes, and powers of two that are computed."""


def applies(names: Iterable[str]) -> bool:
    """Return whether tensors have the names of version 0.0.1."""
    return any(f".{letter}_proj" in name for name in names for letter in "qkv")


def renamed(path: Path, tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, Pieces], list[str]]:
    """Return tensors by the names of version 0.0.2, and the names of those that are dropped.

    The projections of queries, keys and values become the three pieces of one.

    Parameters
    ----------
    path : Path
        The file, for messages.
    tensors : mapping of str to StoredTensor
        By the names of version 0.0.1.

    Raises
    ------
    CheckpointError
        A projection is missing or of another shape than its neighbours, or two tensors get one
        name.
    """
    found: dict[str, Pieces] = {}
    dropped = []
    for name, tensor in tensors.items():
        if _UNUSED.fullmatch(name):
            dropped.append(name)
            continue
        new, pieces = _new_name(name), _whole(tensor)
        if projection := _PROJECTION.fullmatch(name):
            if projection[2] != "q" and _query(projection) in tensors:
                continue
            new = f"{projection[1]}.qkv_proj.{projection[3]}"
            pieces = _joined(path, projection, tensors)
        if new in found:
            raise CheckpointError(f"{path}: tensor {shown(new, 80)} is there twice")
        found[new] = pieces
    return found, dropped


def _whole(tensor: StoredTensor) -> Pieces:
    return (tensor,)


def _query(projection: re.Match[str]) -> str:
    return f"{projection[1]}.q_proj.{projection[3]}"


def _joined(path: Path, projection: re.Match[str], tensors: Mapping[str, StoredTensor]) -> Pieces:
    """Return the projections of queries, keys and values."""
    names = [f"{projection[1]}.{letter}_proj.{projection[3]}" for letter in "qkv"]
    for name in names:
        if name not in tensors:
            raise CheckpointError(f"{path}: tensor {shown(name, 80)} is missing")
    pieces = tuple(tensors[name] for name in names)
    for name, piece in zip(names, pieces, strict=True):
        if piece.shape != pieces[0].shape:
            raise CheckpointError(
                f"{path}: tensor {shown(name, 80)} has shape {shown(list(piece.shape), 80)}, and "
                f"that of the queries {shown(list(pieces[0].shape), 80)}"
            )
    return pieces


def _new_name(name: str) -> str:
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return name
    part, number, section, rest = layer.groups()
    return f"{part}.layers.{number}.{_SECTIONS[part, section]}.{rest}"


def shape_of(pieces: Pieces) -> tuple[int, ...]:
    """Return the shape of a tensor in pieces."""
    first = pieces[0].shape
    if len(pieces) == 1 or not first:
        return first
    return sum(piece.shape[0] for piece in pieces), *first[1:]
