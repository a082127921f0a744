"""What a GPU computes differently equals what a CPU computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fcs_edge.kernels.ops import code_search as kernels  # noqa: E402
from fcs_edge.modelfile import config_json  # noqa: E402
from train.data.batches import Batch  # noqa: E402
from train.engine.cuda_graphs import CudaGraphs  # noqa: E402
from train.engine.muon import BatchedMuon  # noqa: E402
from train.model.encoder import Transformer  # noqa: E402

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "train" / "recipes" / "edge-65k-search.json"


def test_matrices_move_together_as_alone() -> None:
    torch.manual_seed(1)
    shapes = [(64, 32), (64, 32), (32, 64), (48, 48)]
    alone = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    together = deepcopy(alone)
    settings = {"lr": 1e-2, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    muon, other = torch.optim.Muon(alone, **settings), BatchedMuon(together, **settings)
    for _ in range(3):
        for p, q in zip(alone, together, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        # What another worker moves is left alone.
        alone[1].grad = together[1].grad = None
        muon.step()
        other.step()
    for p, q in zip(alone, together, strict=True):
        assert torch.allclose(p, q, atol=1e-3)
    state = other.state_dict()["state"]
    assert sorted(state) == [0, 2, 3]
    for p, q in zip(muon.state_dict()["state"].values(), state.values(), strict=True):
        assert torch.allclose(p["momentum_buffer"], q["momentum_buffer"], atol=1e-5)


def test_positions_are_a_product_or_looked_up() -> None:
    config = config_json.from_dict(json.loads(CONFIG.read_text())).encoder
    torch.manual_seed(2)
    transformer = Transformer(config)
    x = torch.randn(2, 24, config.dim)
    looked_up = transformer(x)
    bucket, mask = transformer.tables(24, x.device)
    chosen = torch.nn.functional.one_hot(bucket, config.num_buckets).float()
    transformer._tables[24, x.device] = chosen, mask
    assert torch.allclose(transformer(x), looked_up, atol=1e-5)
    with torch.no_grad():
        transformer.relative_embedding.weight.add_(torch.randn(config.num_buckets, 1))
    assert not torch.allclose(transformer(x), looked_up, atol=1e-2)


CHOOSE = """
import sys, numpy, torch
from train.model.code_search_kernel import search_codes
with numpy.load(sys.argv[1]) as file:
    arrays = [torch.from_numpy(file[name]).to(sys.argv[2]) for name in file.files]
numpy.save(sys.argv[3], search_codes(*arrays, 2.0, int(sys.argv[4])).cpu().numpy())
"""


@pytest.mark.parametrize("passes", [1, 3])
def test_codes_are_chosen_as_by_the_kernel(passes: int, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    random = np.random.default_rng(passes)
    crops, rows, bits, history, inner, columns = 2, 12, 16, 3, 32, 10
    shapes = [(history, bits, inner), (inner,), (inner, columns), (columns,)]
    weights = [random.standard_normal(shape, dtype=np.float32) for shape in shapes]
    latents = random.standard_normal((crops, rows, bits), dtype=np.float32)
    target = 8 * random.standard_normal((crops, rows, columns), dtype=np.float32)
    signs = np.empty_like(latents)
    for i in range(crops):
        past = np.zeros((history, bits), np.float32)
        settings = kernels.Settings(np.float32(2), passes, bits, 1, 1)
        search = kernels.CodeSearch(kernels.Predictor(*weights), settings)
        search(latents[i], target[i], past, search.workspace(), signs[i])
    np.savez(tmp_path / "in.npz", latents, target, *weights)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Where there is no GPU, Triton can play one: it reads this as it is imported.
    env = os.environ | ({"TRITON_INTERPRET": "1"} if device == "cpu" else {})
    paths = [str(tmp_path / "in.npz"), device, str(tmp_path / "out.npy"), str(passes)]
    subprocess.run([sys.executable, "-c", CHOOSE, *paths], check=True, env=env, cwd=ROOT)
    result = np.load(tmp_path / "out.npy")
    assert 0.03 < (signs != np.sign(latents)).mean() < 0.5
    # Matrix units round to 10 bits: what is nearly a tie may go the other way.
    assert (result != signs).mean() <= (0.05 if device == "cuda" else 0.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_graphs_give_the_gradients_that_they_captured() -> None:
    torch.manual_seed(3)
    layer = torch.nn.Linear(320, 480).cuda()
    idle = torch.nn.Parameter(torch.zeros(1).cuda())

    def gradients_of(batch: Batch, number: int) -> dict[str, torch.Tensor]:
        layer.zero_grad(set_to_none=True)
        loss = (layer(batch.input) - batch.target).square().mean() * (number + 1)
        loss.backward()
        return {"loss": loss.detach()}

    def drawn() -> Batch:
        sizes = ((4, 320), (4, 480), (4, 1), (4,), (4,))
        return Batch(*(torch.randn(size).cuda() for size in sizes))

    graphs = CudaGraphs(gradients_of, [*layer.parameters(), idle], n=2)
    for step in range(5):
        batch = drawn()
        result = {name: loss.clone() for name, loss in graphs(batch, step).items()}
        gradients = [p.grad.clone() for p in layer.parameters()]
        assert idle.grad is None
        assert torch.allclose(gradients_of(batch, step % 2)["loss"], result["loss"])
        for p, gradient in zip(layer.parameters(), gradients, strict=True):
            assert torch.allclose(p.grad, gradient, atol=1e-5)
