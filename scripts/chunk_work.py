"""The work of one chunk, layer by layer: multiply-accumulates, and the bytes that are read.

Matrix products are those of `fcs_edge.bench.bench.products`. All else counts as float32
multiply-accumulates, by the formulas of the kernels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fcs_edge.bench.bench import Product, products, rows_of
from fcs_edge.convert.schemes import EIGHT, FLOAT
from fcs_edge.kernels.gemm.quantized_weights import GROUP
from fcs_edge.model.code_search import WINDOW, band_filters
from fcs_edge.modelfile.config import (
    SAMPLE_RATE_IN,
    SPECTRA_A_TOKEN,
    CodecConfig,
    EncoderConfig,
    SearchConfig,
)
from fcs_edge.modelfile.tensor_layout import tensor_shapes

BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "int4": 0.5 + 2 / GROUP}
"""Bytes per stored weight; groups of 4-bit weights share a float16 scale."""

NORM, GELU, TANH, SNAKE, EXP, LOG = 5, 30, 25, 25, 20, 20
"""float32 multiply-accumulates that an element costs, counted in the kernels' formulas."""
BUTTERFLY = 8
"""Operations of a butterfly of the Fourier transform: 4 of its product, 4 sums."""
POWER = 3
"""Operations for a bin of a band: its power, and the sum."""


class Scheme(NamedTuple):
    """How weights are stored, and how many bits the activations beside int8 weights have."""

    label: str
    kind: str
    bits: int = 12


SCHEMES = (
    Scheme("f32", "float32"),
    Scheme("f16", "float16"),
    Scheme("int8", "int8"),
    Scheme("int8, 8-bit activations", "int8", 8),
    # The codec takes 8 bits; 12 show what they gain.
    Scheme("int4", "int4", 8),
    Scheme("int4, 12-bit convolutions", "int4"),
)


@dataclass(frozen=True)
class Work:
    """The work of one layer for a chunk."""

    stage: str
    group: str
    macs: int
    rows: int = 0
    weights: int = 0
    """Of a matrix product, read as they are stored."""
    name: str = ""
    """Of the weights, as published."""
    taps: int = 0
    """Of depthwise convolutions: float16 in all schemes but f32."""
    past: int = 0
    """Numbers of past rows, float16 beside integer weights, else float32."""
    floats: int = 0
    """float32 numbers read in every scheme."""

    @property
    def cut(self) -> bool:
        """Whether several cores share it: outputs, heads, channels or rows. One core searches."""
        return self.group != "code search"

    def stored(self, scheme: Scheme) -> str:
        """Return the type of the weights in a model of this scheme."""
        if scheme.kind in ("int8", "int4") and FLOAT.search(self.name):
            return "float16"
        return "int8" if scheme.kind == "int4" and EIGHT.search(self.name) else scheme.kind

    def loop(self, scheme: Scheme) -> str:
        """Return the loop that multiplies weights or taps, as `loop_rates.json` names it."""
        if self.taps:
            return "depthwise float32" if scheme.kind == "float32" else "depthwise float16"
        stored = self.stored(scheme)
        return "int8 x 8 bits" if stored == "int8" and scheme.bits == 8 else stored

    def bytes(self, scheme: Scheme) -> float:
        """Return the bytes that are read."""
        tap = 4 if scheme.kind == "float32" else 2
        past = 2 if scheme.kind in ("int8", "int4") else 4
        others = self.taps * tap + self.past * past + self.floats * 4
        return self.weights * BYTES[self.stored(scheme)] + others


def works(config: CodecConfig) -> Iterator[Work]:
    """List the work of a chunk."""
    for product in products(config):
        yield from _product(product, config.encoder)
    for name, shape in tensor_shapes(config).items():
        stage, leaf = name.split(".", 1)[0], name.rsplit(".", 1)[-1]
        size = math.prod(shape)
        if leaf == "alpha" and size > 1:
            yield Work(stage, "elementwise", rows_of(config, name) * size * SNAKE)
        elif leaf != "weight":
            continue
        elif len(shape) == 1:
            yield Work(stage, "elementwise", rows_of(config, name) * size * NORM)
        elif ".modulation.layers." in name or ".dwconv." in name:
            rows = rows_of(config, name)
            # As many past rows as taps; those of the decoder are float32. A sum or scale follows.
            past, floats = (0, size) if stage == "decoder" else (size, 0)
            yield Work(stage, "depthwise", rows * size, rows, taps=size, past=past, floats=floats)
            yield Work(stage, "elementwise", rows * shape[0])
    if config.search is not None:
        yield from _search(config, config.search)


def _product(product: Product, encoder: EncoderConfig) -> Iterator[Work]:
    """List a matrix product and what stands beside it."""
    stage, name, rows, depth, outputs = product
    if name.startswith("search.told"):
        # The search multiplies in float32, by a loop of its own.
        yield Work("compressor", "code search", product.macs, floats=depth * outputs)
        return
    group = "products"
    if ".feature_extractor." in name or ".positional_embedding." in name:
        group = "convolutions"
    elif ".refiner." in name:
        group = "refiner"
    elif name.startswith("search."):
        group = "code search"
    yield Work(stage, group, product.macs, rows, depth * outputs, name)
    if re.search(r"focal_block\.(modulation|feed_forward)\.in_proj", name):
        yield Work(stage, "elementwise", rows * depth * TANH)
    if group == "convolutions" or re.search(r"(feed_forward|refiner)\.in_proj|pwconv1", name):
        yield Work(stage, "elementwise", rows * outputs * GELU)
    elif re.search(r"out_proj|pwconv2|context_proj", name):
        yield Work(stage, "elementwise", rows * outputs)
    if ".attention.out_proj." in name:
        keys = rows * encoder.window_size
        macs = 2 * keys * encoder.dim + keys * encoder.num_heads * EXP
        yield Work(stage, "attention", macs, past=2 * encoder.window_size * encoder.dim)


def _search(config: CodecConfig, search: SearchConfig) -> Iterator[Work]:
    """List the spectra and cepstra of the code search; its networks are products."""
    spectra = SPECTRA_A_TOKEN * config.chunk_tokens
    size = round(WINDOW * SAMPLE_RATE_IN)
    filters = band_filters(search.bands, size // 2 + 1, SAMPLE_RATE_IN / size)
    transform = size + size // 2 * (size.bit_length() - 1) * BUTTERFLY
    bands = int(np.count_nonzero(filters)) * POWER + search.bands * LOG
    yield Work("compressor", "code search", spectra * (transform + bands))
    macs = spectra * search.bands * search.orders
    yield Work("compressor", "code search", macs, floats=search.bands * search.orders)
