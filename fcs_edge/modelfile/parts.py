"""The two halves of a model: what makes tokens, and what makes sound of them."""

from __future__ import annotations

from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.tensor_layout import Shape, tensor_shapes

PARTS = {
    "encoder": ("encoder.", "compressor.", "search."),
    "decoder": ("decompressor.", "decoder."),
}
"""How the names of each half's tensors start."""


def belongs(name: str, part: str) -> bool:
    """Return whether a tensor belongs to a half, by its name."""
    return name.startswith(PARTS[part])


def part_shapes(config: CodecConfig, part: str | None) -> dict[str, Shape]:
    """Return the shapes of a half's tensors by published name; of all where `part` is None."""
    shapes = tensor_shapes(config)
    if part is None:
        return shapes
    return {name: shape for name, shape in shapes.items() if belongs(name, part)}
