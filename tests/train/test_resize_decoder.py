"""A decoder with noise and overlap: the runtime's samples, and a start from one without."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import fcs_edge  # noqa: E402
from fcs_edge.convert.schemes import store  # noqa: E402
from fcs_edge.modelfile import config_json, model_file  # noqa: E402
from fcs_edge.modelfile.config import CodecConfig  # noqa: E402
from train import config as stages  # noqa: E402
from train import resize_decoder  # noqa: E402
from train.model import FocalCodecStream  # noqa: E402
from train.model.decoder import noise, scaled_features  # noqa: E402
from train.model.quantizer import codes  # noqa: E402
from train.resize_decoder import overlapping_head, resized, statistics_of  # noqa: E402
from training_runs import run  # noqa: E402


def plain_noise(row: int, channels: int) -> list[float]:
    """The formula of docs, a number at a time."""
    values = []
    for channel in range(channels):
        h = (row * channels + channel + 0x9E3779B9) % 2**32
        h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
        h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
        h ^= h >> 16
        values.append((h >> 8) / 2**23 - 1)
    return values


@pytest.mark.parametrize("first", [0, 1, 77, 2**31 - 1, 2**32 - 2])
@pytest.mark.parametrize("channels", [1, 3, 16])
def test_noise_is_the_runtimes(first: int, channels: int) -> None:
    found = noise(torch.tensor([first, (first + 1) % 2**32]), channels).numpy()
    expected = [plain_noise(first, channels), plain_noise((first + 1) % 2**32, channels)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_noise_is_even_and_does_not_repeat() -> None:
    values = noise(torch.arange(20000), 8)
    assert values.mean().abs() < 0.01
    assert values.std().item() == pytest.approx(3**-0.5, rel=0.01)
    together = torch.corrcoef(torch.cat([values[1:], values[:-1]], 1).T)
    assert (together - torch.eye(16)).abs().max() < 0.03


def with_noise(config: CodecConfig, noise_channels: int, win_length: int) -> CodecConfig:
    decoder = dataclasses.replace(
        config.decoder, noise_channels=noise_channels, win_length=win_length
    )
    return dataclasses.replace(config, decoder=decoder)


@pytest.mark.parametrize("overlap", [1, 3])
def test_samples_are_the_runtimes(
    overlap: int, golden: Callable[[str], Any], tmp_path: Path
) -> None:
    config = config_json.from_dict(golden("tiny").case["config"])
    config = with_noise(config, 5, config.decoder.hop_length + overlap)
    torch.manual_seed(0)
    model = FocalCodecStream(config).eval()
    torch.nn.init.normal_(model.decoder.head.proj.weight, std=0.01)
    stored = {name: x.numpy() for name, x in model.folded().items()}
    path = tmp_path / "noisy.safetensors"
    model_file.write(path, config, dict(store(config, stored, "f32")), "noisy", "drawn")
    tokens = torch.randint(1 << config.bits_per_token, (6 * config.chunk_tokens,))
    with torch.no_grad():
        expected = model.decode(codes(tokens, config.bits_per_token)[None])[0].clamp(-1, 1)
    found = fcs_edge.load(path).decode(tokens.numpy().astype(np.uint16))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_training_draws_the_number_of_the_first_row(golden: Callable[[str], Any]) -> None:
    config = with_noise(config_json.from_dict(golden("tiny").case["config"]), 4, 0)
    decoder = FocalCodecStream(config).decoder
    features = torch.randn(2, 8, config.decoder.input_dim)
    with torch.no_grad():
        at_start, again = decoder.eval()(features), decoder(features)
        later = decoder(features, torch.tensor([0, 9]))
        decoder.train()
        drawn, other = decoder(features), decoder(features)
    assert torch.equal(at_start, again)
    assert torch.equal(at_start[0], later[0])
    assert not torch.equal(at_start[1], later[1])
    assert not torch.equal(drawn, other)


def test_resized_decoder_sounds_nearly_the_same(golden: Callable[[str], Any]) -> None:
    case = golden("tiny")
    config = config_json.from_dict(case.case["config"])
    former = FocalCodecStream(config).eval()
    former.load_state_dict(load_file(case.checkpoint / "model.safetensors"))
    crops = Inputs(torch.from_numpy(case.signal)[None])
    statistics = statistics_of(former, crops)  # type: ignore[arg-type]
    assert [len(x) for x in statistics.importance] == [config.decoder.ffn_dim] * (
        config.decoder.num_layers
    )
    new = FocalCodecStream(with_noise(config, 3, 2 * config.decoder.hop_length)).eval()
    tensors = resized(former.state_dict(), new, statistics)
    features = config.decoder.input_dim
    weight = tensors["decoder.backbone.embedding.weight"]
    added = noise(torch.arange(500), 3) * tensors["decoder.noise_scale"]
    windows = added.unfold(0, weight.shape[2], 1).flatten(1)
    share = (windows @ weight[:, features:].flatten(1).T).std() / statistics.embedded_size
    assert share.item() == pytest.approx(0.1, rel=0.2)
    weight[:, features:] = 0
    new.load_state_dict(tensors)
    tokens = torch.randint(1 << config.bits_per_token, (1, 4 * config.chunk_tokens))
    with torch.no_grad():
        a, b = (m.decode(codes(tokens, config.bits_per_token))[0] for m in (former, new))
    rows = (x.unflatten(0, (-1, config.decoder.hop_length)) for x in (a, b))
    a, b = (x[:, config.decoder.hop_length // 2 :] for x in rows)
    torch.testing.assert_close(a, b)


def test_a_row_continues_where_it_can_be_predicted() -> None:
    """Rows that follow from the one before overlap without a seam."""
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random)).Q
    row, rows = torch.randn(6, generator=random), []
    for _ in range(200):
        rows.append(row)
        row = turn @ row
    head = {
        "decoder.head.proj.weight": torch.randn(8, 6, generator=random),
        "decoder.head.proj.bias": torch.randn(8, generator=random),
    }
    wide = overlapping_head(head, torch.stack(rows)[None], 8)
    weight, bias = wide["decoder.head.proj.weight"], wide["decoder.head.proj.bias"]
    joined = torch.stack(rows) @ weight.T + bias
    found = joined[1:, :8] + joined[:-1, 8:]
    expected = torch.stack(rows)[1:] @ head["decoder.head.proj.weight"].T
    expected += head["decoder.head.proj.bias"]
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", ["tiny", "nolookahead"])
def test_features_take_the_scale_of_the_noise(name: str, golden: Callable[[str], Any]) -> None:
    """A checkpoint has no scale: what it decodes is equal but for rounding."""
    config = with_noise(config_json.from_dict(golden(name).case["config"]), 4, 0)
    model = FocalCodecStream(config).eval()
    model.decoder.noise_scale.fill_(64.0)
    other = FocalCodecStream(config).eval()
    tensors = scaled_features(model.state_dict())
    assert "decoder.noise_scale" not in tensors
    other.load_state_dict(tensors, strict=False)
    tokens = torch.randint(1 << config.bits_per_token, (2, 4 * config.chunk_tokens))
    with torch.no_grad():
        a, b = (m.decode(codes(tokens, config.bits_per_token)) for m in (model, other))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert scaled_features(tensors) is tensors


def test_a_stage_starts_from_a_resized_decoder(
    stage: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    path, start, out = (
        stage("decoder"),
        tmp_path / "start.safetensors",
        tmp_path / "out.safetensors",
    )
    former = FocalCodecStream(stages.read(path).model)
    save_file(former.state_dict(), start)
    file = next(path.parent.glob("*.json"))
    config = json.loads(file.read_text())
    decoder = config["decoder_config"]
    decoder |= {"ffn_dim": decoder["ffn_dim"] - 3, "noise_channels": 4}
    decoder["win_length"] = 2 * decoder["hop_length"]
    file.write_text(json.dumps(config))
    arguments = [str(start), str(path), str(out), "--corpus", str(corpus)]
    result = CliRunner().invoke(resize_decoder.main, arguments)
    assert result.exit_code == 0, result.output
    trainer = run(path, corpus, tmp_path / "run", 0, out)
    for name, tensor in load_file(out).items():
        torch.testing.assert_close(trainer.average.codec.state_dict()[name], tensor.float())
    again = CliRunner().invoke(resize_decoder.main, [str(out), *arguments[1:]])
    decoder["ffn_dim"] += 9
    file.write_text(json.dumps(config))
    more = CliRunner().invoke(resize_decoder.main, arguments)
    assert (again.exit_code, more.exit_code) == (1, 1)
    assert "does not fit the stage's model: decoder.backbone.embedding.weight" in again.output
    assert "hidden values" in more.output


class Inputs:
    """Crops that are all the same."""

    def __init__(self, samples: torch.Tensor) -> None:
        self.input = samples

    def at(self, _step: int) -> Inputs:
        return self
