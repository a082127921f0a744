"""The PyTorch model computes what the reference does, and what is folded away is not missed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

import fcs_edge  # noqa: E402
from fcs_edge.convert.schemes import store  # noqa: E402
from fcs_edge.modelfile import config_json, model_file  # noqa: E402
from fcs_edge.modelfile.tensor_layout import tensor_shapes  # noqa: E402
from train.model import FocalCodecStream  # noqa: E402
from train.model.layers import CausalConv, Depthwise  # noqa: E402
from train.model.quantizer import codes, quantize, tokens  # noqa: E402
from train.model.whitening import Whitening  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_golden_tokens(name: str, golden: Callable[[str], Any]) -> None:
    case = golden(name)
    model = FocalCodecStream(config_json.from_dict(case.case["config"])).eval()
    model.load_state_dict(load_file(case.checkpoint / "model.safetensors"))
    expected = case.expected
    with torch.no_grad():
        coded = model.encode(torch.from_numpy(case.signal)[None])
        sound = model.decode(coded.codes)[0].clamp(-1, 1).numpy()
    np.testing.assert_array_equal(tokens(coded.latents)[0].numpy(), expected["toks"])
    np.testing.assert_allclose(coded.latents[0].numpy(), expected["lats"], atol=1e-5)
    np.testing.assert_allclose(sound, expected["sig"], atol=1e-5)


def test_published_names() -> None:
    for path in sorted((ROOT / "train/recipes").glob("*.json")):
        config = config_json.from_dict(json.loads(path.read_text()))
        state = FocalCodecStream(config, whiten=True).folded()
        assert {name: tuple(x.shape) for name, x in state.items()} == tensor_shapes(config)


@pytest.mark.parametrize("scheme", ["f32", "int8"])
def test_searched_tokens_are_the_runtimes(
    scheme: str, golden: Callable[[str], Any], tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    """A model that searches for codes gives the same ones in both, streamed in any pieces."""
    raw = golden("tiny").case["config"] | {
        "search_config": {
            "history": 3,
            "inner": 20,
            "bands": 12,
            "orders": 3,
            "prior": 4.0,
            "passes": 3,
        }
    }
    config = config_json.from_dict(raw)
    torch.manual_seed(0)
    model = FocalCodecStream(config).eval()
    weights = load_file(golden("tiny").checkpoint / "model.safetensors")
    assert model.load_state_dict(weights, strict=False).unexpected_keys == []
    assert model.search is not None
    for part in (model.search.prediction_out, model.search.target_out):
        torch.nn.init.normal_(part.weight)
    stored = {name: x.numpy() for name, x in model.folded().items()}
    path = tmp_path / "searched.safetensors"
    model_file.write(
        path, config, dict(store(config, stored, scheme)), "searched", "drawn", scheme=scheme
    )
    runtime = fcs_edge.load(path)
    encoder = runtime.stream_encoder()
    signal = speech[: 25 * runtime.chunk_size]
    pieces = [encoder.push(part) for part in np.array_split(signal, 7)]
    result = np.concatenate([*pieces, encoder.flush()])
    np.testing.assert_array_equal(result, runtime.encode(signal))
    with torch.no_grad():
        coded = model.encode(torch.from_numpy(signal)[None])
    if scheme == "f32":
        np.testing.assert_array_equal(result, tokens(coded.codes)[0].numpy())
    assert (result != tokens(coded.latents)[0].numpy()).mean() > 0.3


@pytest.mark.parametrize("taps", [1, 2, 7])
def test_depthwise_gradients(taps: int) -> None:
    x = torch.randn(2, 5 + taps - 1, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(taps, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Depthwise.apply, (x, weight, bias))


@pytest.mark.parametrize(
    ("width_in", "taps", "stride", "groups"),
    [(1, 10, 5, 1), (6, 3, 2, 1), (6, 2, 2, 1), (6, 1, 1, 1), (6, 5, 1, 2), (6, 5, 1, 6)],
)
def test_convolutions_are_torchs_own(width_in: int, taps: int, stride: int, groups: int) -> None:
    conv = CausalConv(width_in, 6, taps, stride, groups)
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 20, width_in)
    past = x[:, :1].expand(-1, taps - 1, -1)
    expected = torch.nn.functional.conv1d(
        torch.cat([past, x], 1).transpose(1, 2), conv.weight, conv.bias, stride, groups=groups
    ).transpose(1, 2)
    torch.testing.assert_close(conv(x), expected[:, : 20 // stride], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bits", [1, 11, 16])
def test_tokens_and_codes(bits: int) -> None:
    latents = torch.nn.functional.normalize(torch.randn(3, 50, bits), dim=-1).requires_grad_()
    code = quantize(latents)
    torch.testing.assert_close(code, codes(tokens(latents), bits))
    code.sum().backward()
    torch.testing.assert_close(latents.grad, torch.ones_like(latents))


def test_whitening_is_folded() -> None:
    torch.manual_seed(0)
    linear, whitening = torch.nn.Linear(20, 6), Whitening(6, momentum=1.0)
    x = torch.randn(4, 200, 20) @ torch.randn(20, 20)
    white = whitening(linear(x)).flatten(0, 1)
    torch.testing.assert_close(white.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.t() @ white / len(white), torch.eye(6), atol=0.05, rtol=0)
    whitening.eval()
    weight, bias = whitening.folded(linear.weight, linear.bias)
    expected = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(whitening(linear(x)), expected, atol=1e-4, rtol=1e-3)
