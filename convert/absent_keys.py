"""Completes a checkpoint's JSON: keys whose defaults differ between version 0.0.1 and 0.0.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcs_edge.modelfile.tensor_layout import Shape

_FIRST: dict[str, dict[str, Any]] = {
    "compressor_config": {"focal_window": 7, "focal_factor": 2},
    "decompressor_config": {"focal_window": 7, "focal_factor": 2},
}
"""Defaults of version 0.0.1 that the shapes of few layers do not show."""
_MOST_LAYERS = 64
_MOST_BITS = 52
_HOP, _N_FFT, _LEVELS = 480, 1024, 2
"""Defaults of both versions: hop_length of WaveNeXt, n_fft of Vocos, and focal_level."""


def complete(raw: dict[str, Any], shapes: Mapping[str, Shape], is_first: bool) -> dict[str, Any]:
    """Return a configuration in which no key is absent whose defaults differ.

    Shapes decide. They agree with the defaults of the version that wrote the file, and a file whose
    shapes differ from those needs them.

    Parameters
    ----------
    raw : dict
        The parsed JSON, of any contents. Keys that are there stay as they are, but for the
        decoder's ``kernel_size``, which version 0.0.1 ignores.
    shapes : mapping of str to tuple of int
        Of the tensors, by the names of version 0.0.2.
    is_first : bool
        Whether the checkpoint has the layout of version 0.0.1.
    """
    out = dict(raw)
    found = _decoder_name(raw, shapes, is_first)
    if found is not None:
        out.setdefault("decoder_name", found)
    for part, read in (("compressor", _compressor), ("decompressor", _decompressor)):
        key = f"{part}_config"
        stated = _section(raw, key)
        if stated is not None:
            defaults = _FIRST[key] if is_first else {}
            out[key] = {**defaults, **read(shapes, stated), **stated}
    stated = _section(raw, "quantizer_config")
    bits = _size(shapes, "compressor.out_proj.weight", 0)
    if stated is not None and bits is not None and bits <= _MOST_BITS:
        out["quantizer_config"] = {"codebook_size": 1 << bits, **stated}
    stated = _section(raw, "decoder_config")
    kernel = _size(shapes, "decoder.backbone.embedding.weight", 2)
    if is_first and stated is not None and kernel is not None:
        out["decoder_config"] = {**stated, "kernel_size": kernel}
    return out


def _section(raw: dict[str, Any], key: str) -> dict[str, Any] | None:
    """Return a part's configuration; None where it is no object, which is refused later."""
    stated = raw.get(key)
    stated = {} if stated is None else stated
    return stated if isinstance(stated, dict) else None


def _size(shapes: Mapping[str, Shape], name: str, axis: int) -> int | None:
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) and shape[axis] > 0 else None


def _sizes(shapes: Mapping[str, Shape], name: str, axis: int) -> list[int]:
    """Return a size of each layer; `name` has a place for the layer's number."""
    found = []
    for i in range(_MOST_LAYERS):
        size = _size(shapes, name.format(i), axis)
        if size is None:
            break
        found.append(size)
    return found


def _compressor(shapes: Mapping[str, Shape], stated: dict[str, Any]) -> dict[str, Any]:
    name = "compressor.layers.{}.downscale.downscale.weight"
    return {
        **_one("output_dim", _size(shapes, "compressor.out_proj.weight", 0)),
        **_some("hidden_dims", _sizes(shapes, name, 0)),
        **_some("downscale_factors", _sizes(shapes, name, 2)),
        **_focal(shapes, "compressor", stated),
    }


def _decompressor(shapes: Mapping[str, Shape], stated: dict[str, Any]) -> dict[str, Any]:
    name = "decompressor.layers.{}.upscale.upscale.weight"
    return {
        **_one("input_dim", _size(shapes, "decompressor.in_proj.weight", 1)),
        **_some("hidden_dims", _sizes(shapes, name, 0)),
        **_some("upscale_factors", _sizes(shapes, name, 2)),
        **_focal(shapes, "decompressor", stated),
    }


def _focal(shapes: Mapping[str, Shape], part: str, stated: dict[str, Any]) -> dict[str, Any]:
    """Return the kernels of the first layer's local levels, as far as it has some."""
    levels = stated.get("focal_level", _LEVELS)
    n_local = min(levels, 2) if isinstance(levels, int) else 0
    name = f"{part}.layers.0.focal_block.modulation.layers.{{}}.0.weight"
    kernels = _sizes(shapes, name, 2)[: max(n_local, 0)]
    out = _one("focal_window", kernels[0] if kernels else None)
    return out | _one("focal_factor", kernels[1] - kernels[0] if len(kernels) == 2 else None)


def _one(key: str, value: int | None) -> dict[str, Any]:
    return {} if value is None else {key: value}


def _some(key: str, values: list[int]) -> dict[str, Any]:
    return {key: values} if values else {}


def _decoder_name(raw: dict[str, Any], shapes: Mapping[str, Shape], is_first: bool) -> str | None:
    """Return the decoder of a configuration that names none."""
    if is_first:
        return "Vocos"
    stated = _section(raw, "decoder_config") or {}
    rows = _size(shapes, "decoder.head.proj.weight", 0)
    n_fft, hop = stated.get("n_fft", _N_FFT), stated.get("hop_length", _HOP)
    window = stated.get("win_length", hop)
    is_vocos = isinstance(n_fft, int) and rows == n_fft + 2 and rows not in (hop, window)
    return "Vocos" if is_vocos else None
