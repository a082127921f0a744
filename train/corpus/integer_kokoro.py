"""Turn Kokoro's integer convolutions into integer matrix products, which run several times faster.

ONNX Runtime's ConvInteger multiplies 8-bit numbers as 16-bit ones; its MatMulInteger of unsigned by
signed bytes uses the processor's dot products of bytes. The results are the same to the bit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def with_matrix_products(quantised: Path, folder: Path) -> Path:
    """Write the model with its stride-1 convolutions as matrix products into a folder, once.

    Parameters
    ----------
    quantised : Path
        An ONNX model of one-dimensional ConvInteger nodes.
    folder : Path

    Returns
    -------
    Path
        The rewritten model.
    """
    path = folder / f"{quantised.stem}.matmul.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(str(quantised))
    _rewrite(model.graph)
    unfinished = path.with_suffix(".part")
    onnx.save(model, str(unfinished))
    os.replace(unfinished, path)
    return path


def _rewrite(graph: onnx.GraphProto) -> None:
    values = {value.name: value for value in graph.initializer}
    producer = {output: node for node in graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "ConvInteger" and _is_plain(node):
            nodes += _as_product(node, values, producer, graph)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _attributes(node: onnx.NodeProto) -> dict[str, list[int]]:
    return {a.name: list(a.ints) for a in node.attribute if a.ints}


def _is_plain(node: onnx.NodeProto) -> bool:
    """Return whether a convolution is along one axis, in steps of one, in one group."""
    attributes = _attributes(node)
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return group == 1 and attributes["strides"] == [1]


def _as_product(
    node: onnx.NodeProto,
    values: dict[str, onnx.TensorProto],
    producer: dict[str, onnx.NodeProto],
    graph: onnx.GraphProto,
) -> list[onnx.NodeProto]:
    """Build QuantizeLinear to signed bytes, Pad, a Slice for each tap, Concat, MatMulInteger."""
    sound, weight_name, sound_zero, weight_zero = node.input
    weight = numpy_helper.to_array(values[weight_name]).astype(np.int16)
    zero = numpy_helper.to_array(values[weight_zero]).astype(np.int16)
    if values[weight_name].data_type == onnx.TensorProto.INT8:
        weight, zero = weight + 128, zero + 128
    outputs, inputs, taps = weight.shape
    table = weight.transpose(0, 2, 1).reshape(outputs, taps * inputs)
    attributes = _attributes(node)
    dilation = attributes["dilations"][0]
    before, after = attributes["pads"]
    nodes: list[onnx.NodeProto] = []

    def constant(tag: str, value: NDArray[Any]) -> str:
        name = f"{node.name}.{tag}"
        graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def add(operator: str, names: list[str], tag: str, **more: Any) -> str:
        name = f"{node.name}.{tag}"
        nodes.append(helper.make_node(operator, names, [name], name, **more))
        return name

    quantiser = producer[sound]
    wide = add("Cast", [sound_zero], "wide", to=onnx.TensorProto.INT32)
    moved = add("Sub", [wide, constant("128", np.array(128, np.int32))], "moved")
    signed_zero = add("Cast", [moved], "signed_zero", to=onnx.TensorProto.INT8)
    signed = add("QuantizeLinear", [quantiser.input[0], quantiser.output[1], signed_zero], "signed")
    if before or after:
        pads = constant("pads", np.array([0, 0, before, 0, 0, after], np.int64))
        signed = add("Pad", [signed, pads, signed_zero], "padded")
    if taps > 1:
        axis = constant("axis", np.array([2], np.int64))
        shifted = []
        for tap in range(taps):
            first = constant(f"first{tap}", np.array([tap * dilation], np.int64))
            rest = (tap - taps + 1) * dilation
            last = constant(f"last{tap}", np.array([rest or np.iinfo(np.int64).max], np.int64))
            shifted.append(add("Slice", [signed, first, last, axis], f"tap{tap}"))
        signed = add("Concat", shifted, "columns", axis=1)
    operands = [
        constant("table", table.astype(np.uint8)),
        signed,
        constant("zero", zero.astype(np.uint8)),
        signed_zero,
    ]
    nodes.append(helper.make_node("MatMulInteger", operands, node.output, node.name))
    return nodes
