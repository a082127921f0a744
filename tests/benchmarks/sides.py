"""What a kernel is timed beside: NumPy, and PyTorch and onnxruntime where they are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pytest

Arrays = Mapping[str, Any]
Side = Callable[[], Any]

SIDES = ("kernel", "numpy", "torch", "onnxruntime")

COLD_BYTES = 256 << 20
"""More than any cache holds: weights that are passed through once a chunk come from memory."""

_OPSET, _IR = 20, 9


class Case(NamedTuple):
    """A kernel, and the same done otherwise; all on one thread."""

    kernel: Side
    numpy: Side
    torch: Callable[[Any], Side] | None = None
    """Of the module torch."""
    onnx: Side | None = None
    """Returns what onnxruntime does."""
    tolerance: float = 1e-3
    """Of the largest number of the result."""


def normal(*shape: int) -> Any:
    """Return what is the same for the same shape, float32."""
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def side(case: Case, name: str) -> Side:
    """Return one side of a case, or skip the test."""
    if name == "torch":
        if case.torch is None:
            pytest.skip("PyTorch has nothing of the kind")
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        # Of what is to come, not of how it is used.
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            run = case.torch(torch)
        return lambda: _without_gradients(torch, run)
    if name == "onnxruntime":
        if case.onnx is None:
            pytest.skip("ONNX has nothing of the kind")
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        session: Side = case.onnx()
        return session
    return case.kernel if name == "kernel" else case.numpy


def _without_gradients(torch: Any, run: Side) -> Any:
    with torch.inference_mode():
        return run().numpy()


def tensors(torch: Any, *arrays: Any) -> list[Any]:
    """Return copies of arrays as PyTorch's tensors."""
    return [torch.from_numpy(np.array(a)) for a in arrays]


def graph(
    body: str, fed: Arrays, held: Iterable[Arrays] = ({},), result: type = np.float32
) -> Callable[[], Side]:
    """Return what makes onnxruntime run lines of ONNX's text that end in y.

    fed is passed in each call; of held, initialisers, there is a session each, used in turn.
    """

    def make() -> Side:
        import onnxruntime
        from onnx import helper, numpy_helper, parser

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        info = helper.make_tensor_value_info
        infos = [info(k, _kind(a.dtype), a.shape) for k, a in fed.items()]
        output = info("y", _kind(result), None)
        nodes = parser.parse_graph(f"g () => (float y) {{ {body} }}").node
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        runs = []
        for initialisers in held:
            stored = [numpy_helper.from_array(np.array(a), k) for k, a in initialisers.items()]
            model = helper.make_model(
                helper.make_graph(nodes, "g", infos, [output], stored),
                opset_imports=opsets,
                ir_version=_IR,
            )
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            runs.append(session.run)
        turns = cycle(runs)
        inputs = dict(fed)
        return lambda: next(turns)(None, inputs)[0]

    return make


def _kind(dtype: Any) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
