"""WavLM from disk as a teacher, by a small one of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("ctranslate2")
pytest.importorskip("pyworld")
transformers = pytest.importorskip("transformers", exc_type=(ImportError, OSError))

from train.corpus import wavlm  # noqa: E402
from train.data import corpus  # noqa: E402

LAYERS = 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.WavLMConfig(
        hidden_size=16,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )
    folder = tmp_path_factory.mktemp("wavlm")
    transformers.WavLMModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def shard(path: Path, frames: int) -> np.ndarray[Any, Any]:
    """Write what a teacher and the reader ask of a shard; return its sound at 16 kHz."""
    path.parent.mkdir(exist_ok=True, parents=True)
    sound = np.random.default_rng(frames).integers(-3000, 3000, 320 * frames).astype(np.int16)
    np.save(f"{path}.16k.npy", sound)
    np.save(f"{path}.24k.npy", np.zeros(480 * frames, np.int16))
    facts = {"source": "noise", "band_hz": 8000, "real": False, "voices": ["a"]}
    Path(f"{path}.json").write_text(json.dumps(facts))
    return sound


@pytest.mark.parametrize("layer", [1, 2])
def test_a_layer_of_a_checkpoint_is_what_a_stage_learns_from(
    checkpoint: Path, tmp_path: Path, layer: int
) -> None:
    sound = shard(tmp_path / "one", 130)
    shard(tmp_path / "held_out/two", 70)
    arguments = [str(tmp_path), str(checkpoint), "--layer", str(layer)]
    done = CliRunner().invoke(wavlm.main, arguments)
    assert done.exit_code == 0, done.output
    assert "one.wavlm.npy" in done.output
    assert "two.wavlm.npy" in done.output
    (read,) = corpus.read(tmp_path, "wavlm")
    assert read.teacher.shape == (130, 16)
    assert read.teacher.dtype == np.float16
    (held,) = corpus.read(tmp_path / "held_out", "wavlm")
    assert held.teacher.shape == (70, 16)

    model = transformers.WavLMModel.from_pretrained(checkpoint).eval()
    scaled = (sound - sound.mean()) / sound.std()
    inputs = torch.from_numpy(np.pad(scaled, 40)[None].astype(np.float32))
    with torch.no_grad():
        expected = model(inputs, output_hidden_states=True).hidden_states[layer][0].numpy()
    np.testing.assert_allclose(read.teacher, expected, atol=2e-3, rtol=2e-3)

    written = (tmp_path / "one.wavlm.npy").stat().st_mtime_ns
    again = CliRunner().invoke(wavlm.main, arguments)
    assert again.exit_code == 0
    assert "wavlm.npy" not in again.output
    assert (tmp_path / "one.wavlm.npy").stat().st_mtime_ns == written


def test_long_sound_is_encoded_in_windows(checkpoint: Path, tmp_path: Path) -> None:
    sound = shard(tmp_path / "long", 1700)
    teacher = wavlm.WavLM(checkpoint, 2)
    rows = teacher.features(sound)
    assert rows.shape == (1700, 16)
    alone = teacher.features(sound[1300 * 320 :])
    np.testing.assert_array_equal(rows[1400:], alone[100:])


def test_what_is_no_such_teacher_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    call = CliRunner().invoke
    nothing = call(wavlm.main, [str(tmp_path), str(checkpoint)])
    assert nothing.exit_code == 1
    assert "no shards" in nothing.output
    shard(tmp_path / "one", 60)
    high = call(wavlm.main, [str(tmp_path), str(checkpoint), "--layer", str(LAYERS + 1)])
    assert high.exit_code == 1
    assert f"layers 1 to {LAYERS}" in high.output
    config = json.loads((checkpoint / "config.json").read_text())
    others = tmp_path / "others"
    shutil.copytree(checkpoint, others)
    (others / "config.json").write_text(json.dumps(config | {"model_type": "wav2vec2"}))
    kind = call(wavlm.main, [str(tmp_path), str(others)])
    assert kind.exit_code == 1
    assert "wav2vec2, not wavlm" in kind.output
    config["conv_stride"] = [5, 2, 2, 2, 2, 2, 4]
    (others / "config.json").write_text(json.dumps(config))
    slow = call(wavlm.main, [str(tmp_path), str(others), "--layer", "1"])
    assert slow.exit_code == 1
    assert "no 50 rows a second" in slow.output
    empty = tmp_path / "empty"
    empty.mkdir()
    other = call(wavlm.main, [str(tmp_path), str(empty)])
    assert other.exit_code == 1
    assert "empty" in other.output
    assert len(other.output.splitlines()) == 1
    assert not list(tmp_path.glob("*.wavlm.npy"))
