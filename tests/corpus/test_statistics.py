"""What a dataset holds, in numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dataset_cases import error_row, sound_row, store
from fcs_edge import Codec, CorpusError, FcsError
from fcs_edge.corpus import stats
from fcs_edge.corpus.durations import Durations
from fcs_edge.corpus.error_groups import kind_of
from fcs_edge.corpus.pair_counts import PairCounts, entropy
from fcs_edge.corpus.silence import silence_tokens

pytest.importorskip("pyarrow")


def entropy_of(counts: Counter[Any]) -> float:
    share = np.array(list(counts.values())) / counts.total()
    return float(-(share * np.log2(share)).sum())


@pytest.fixture(scope="module")
def rows(
    tiny: Codec, speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sounds")
    signals = [speech[at : at + 16000 + at % 7000] for at in range(0, 120000, 20000)]
    signals.append(np.zeros(48000, np.float32))
    return [
        sound_row(
            tiny,
            folder / f"{n}.wav",
            f"{n}.{'flac' if n % 2 else 'wav'}",
            signal,
            sample_rate_in=44100 if n == 0 else 16000,
            channels=1 + n % 2,
            n_not_finite=5 if n == 1 else 0,
            warning="cut: 468970 of 937984 bytes" if n == 2 else None,
        )
        for n, signal in enumerate(signals)
    ]


@pytest.fixture(scope="module")
def dataset(
    tiny: Codec, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    errors = [error_row("e1", "cannot open '/a/b' (code 12)"), error_row("e2", "holds no sound")]
    errors.append(error_row("e3", "cannot open '/c/d' (code 7)"))
    shards = [[*rows[:3], errors[0]], [errors[1], *rows[3:], errors[2]]]
    return store(tiny, tmp_path_factory.mktemp("dataset") / "tokens", shards)


def test_sums_are_those_of_the_rows(dataset: Path, rows: list[dict[str, Any]], model: Path) -> None:
    facts = stats(dataset, model=model)
    samples = [row["n_samples"] for row in rows]
    assert (facts["files"], facts["errors"], facts["cut"], facts["shards"]) == (10, 3, 1, 2)
    assert facts["hours"] == pytest.approx(sum(samples) / 16000 / 3600)
    assert facts["tokens"] == sum(row["n_tokens"] for row in rows)
    assert facts["error_kinds"] == [
        {"kind": "cannot open N (code N)", "files": 2},
        {"kind": "holds no sound", "files": 1},
    ]
    assert facts["warning_kinds"] == [{"kind": "cut", "files": 1}]
    assert facts["not_finite"] == {"files": 1, "samples": 5}
    durations = np.array(samples) / 16000
    assert facts["durations"]["min"] == durations.min()
    assert facts["durations"]["max"] == durations.max()
    assert facts["durations"]["quantiles"]["0.5"] == pytest.approx(np.median(durations))
    assert sum(facts["durations"]["histogram"]["files"]) == 7


def test_sources_are_counted_by_rate_channels_and_suffix(
    dataset: Path, rows: list[dict[str, Any]], model: Path
) -> None:
    sources = stats(dataset, model=model)["sources"]
    files = {key: {p["value"]: p["files"] for p in parts} for key, parts in sources.items()}
    assert files == {
        "sample_rates": {"16000": 6, "44100": 1},
        "channels": {"1": 4, "2": 3},
        "suffixes": {".wav": 4, ".flac": 3},
    }
    hours = {p["value"]: p["hours"] for p in sources["sample_rates"]}
    assert hours["44100"] == pytest.approx(rows[0]["n_samples"] / 16000 / 3600)


def test_tokens_are_counted(dataset: Path, rows: list[dict[str, Any]], model: Path) -> None:
    facts = stats(dataset, model=model)
    tokens = [row["tokens"].tolist() for row in rows]
    single = Counter(token for row in tokens for token in row)
    pairs = Counter(pair for row in tokens for pair in pairwise(row))
    first = Counter(token for row in tokens for token in row[:-1])
    found = facts["entropy"]
    assert found["token_bits"] == pytest.approx(entropy_of(single))
    assert found["pair_bits"] == pytest.approx(entropy_of(pairs))
    assert found["token_bits_after_previous"] == pytest.approx(
        entropy_of(pairs) - entropy_of(first)
    )
    assert (found["pairs"], found["pairs_counted"]) == (pairs.total(), 1)
    once = sum(n == 1 for n in pairs.values())
    assert found["pair_coverage"] == pytest.approx(1 - once / pairs.total())
    codes = facts["codes"]
    assert (codes["used"], codes["of"]) == (len(single), 1 << facts["bits_per_token"])
    assert codes["perplexity"] == pytest.approx(2 ** entropy_of(single))
    (token, n), *_ = sorted(single.items(), key=lambda item: (-item[1], item[0]))
    assert codes["most_frequent"][0]["token"] == token
    assert codes["most_frequent"][0]["share"] == pytest.approx(n / single.total())
    assert codes["count_at_rank"][0] == n
    assert codes["share_up_to_rank"][-1] == pytest.approx(1)


def test_bits_are_counted(dataset: Path, rows: list[dict[str, Any]], model: Path) -> None:
    facts = stats(dataset, model=model)
    tokens = np.concatenate([row["tokens"] for row in rows])
    ones = [(tokens >> bit & 1).mean() for bit in range(facts["bits_per_token"])]
    assert facts["entropy"]["bit_ones"] == pytest.approx(ones)
    pairs = [Counter((tokens >> bit & 1).tolist()) for bit in range(facts["bits_per_token"])]
    assert facts["entropy"]["bit_entropy"] == pytest.approx([entropy_of(p) for p in pairs])


def test_bytes_are_those_of_the_files(dataset: Path, model: Path) -> None:
    facts = stats(dataset, model=model)
    size = sum(path.stat().st_size for path in (dataset / "data").iterdir())
    assert facts["sizes"]["shards_bytes"] == size
    assert facts["sizes"]["bytes_per_token"] == pytest.approx(size / facts["tokens"])
    assert 1 < facts["sizes"]["tokens_column_bytes_per_token"] < 4


def test_silence_is_that_of_the_model(
    dataset: Path, rows: list[dict[str, Any]], tiny: Codec, model: Path
) -> None:
    silence = stats(dataset, model=model)["silence"]
    assert silence["tokens"] == silence_tokens(tiny).tolist()
    tokens = np.concatenate([row["tokens"] for row in rows])
    assert silence["share"] == pytest.approx(np.isin(tokens, silence["tokens"]).mean())
    assert silence["silent_files"] >= 1


def test_silence_of_the_built_in_model_is_found_and_speech_is_not(
    speech: NDArray[np.float32],
) -> None:
    import fcs_edge

    codec = fcs_edge.load()
    silence = silence_tokens(codec)
    tokens = codec.encode(np.concatenate([speech, np.zeros(5 * 16000, np.float32)]))
    n = codec.n_tokens(speech.size)
    assert np.isin(tokens[n + 2 :], silence).mean() > 0.8
    assert np.isin(tokens[:n], silence).mean() < 0.05


def test_without_the_model_silence_is_not_known(dataset: Path) -> None:
    assert stats(dataset)["silence"] is None


def test_another_model_is_refused(dataset: Path, golden: Callable[[str], Any]) -> None:
    with pytest.raises(FcsError, match="another model"):
        stats(dataset, model=golden("options").model)


def test_a_dataset_without_tokens(tiny: Codec, tmp_path: Path) -> None:
    facts = stats(store(tiny, tmp_path / "tokens", [[error_row("bad.wav", "holds no sound")]]))
    assert (facts["files"], facts["tokens"], facts["hours"]) == (1, 0, 0)
    json.dumps(facts, allow_nan=False)


def test_all_numbers_are_json(dataset: Path, model: Path) -> None:
    assert json.loads(json.dumps(stats(dataset, model=model), allow_nan=False))


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_damaged_shard_is_one_line(
    keep: float, tiny: Codec, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = store(tiny, tmp_path / "tokens", [rows])
    (shard,) = (folder / "data").iterdir()
    data = shard.read_bytes()
    shard.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(CorpusError, match=shard.name) as caught:
        stats(folder)
    assert "\n" not in str(caught.value)


def draw(n: int, bits: int, seed: int = 0) -> NDArray[np.uint16]:
    """Return tokens of which one is a fifth, and others have a long tail."""
    rng = np.random.default_rng(seed)
    tokens = (rng.pareto(0.5, n) * 40).clip(0, (1 << bits) - 1).astype(np.uint16)
    tokens[rng.random(n) < 0.2] = 7
    return tokens


def test_pairs_are_exact_while_they_fit() -> None:
    tokens = draw(50_000, 9)
    counts = PairCounts()
    for part in range(0, tokens.size, 1000):
        counts.add(tokens[part : part + 1000][:-1], tokens[part : part + 1000][1:])
    expected: Counter[tuple[int, int]] = Counter()
    for part in range(0, tokens.size, 1000):
        expected.update(pairwise(tokens[part : part + 1000].tolist()))
    assert counts.level == 0
    assert counts.n == expected.total()
    assert counts.entropy() == pytest.approx(entropy_of(expected))


def test_more_pairs_than_fit_are_estimated_in_bounded_memory() -> None:
    tokens = draw(400_000, 16)
    expected = Counter(pairwise(tokens.tolist()))
    errors = []
    for most in (2000, 4000, 8000):
        counts = PairCounts(most)
        for part in range(0, tokens.size - 1, 50_000):
            counts.add(tokens[part : part + 50_001][:-1], tokens[part : part + 50_001][1:])
            counts.entropy()
            assert counts._keys.size <= most
        assert counts.level > 2
        assert len(expected) > 10 * most
        errors.append(abs(counts.entropy() - entropy_of(expected)))
    assert max(errors) < 0.25
    assert entropy_of(expected) > 10


def test_entropy_of_counts() -> None:
    assert entropy(np.array([4, 4, 4, 4])) == pytest.approx(2)
    assert entropy(np.array([9, 0, 0])) == 0
    assert entropy(np.zeros(3, np.int64)) == 0


def test_many_durations_are_drawn() -> None:
    values = np.random.default_rng(0).lognormal(1, 1, 20_000)
    exact, drawn = Durations(20_000), Durations(2000)
    for value in values.tolist():
        exact.add(value)
        drawn.add(value)
    found = exact.facts()
    assert found["quantiles"]["0.25"] == pytest.approx(np.quantile(values, 0.25))
    assert found["mean"] == pytest.approx(values.mean())
    assert drawn.facts()["quantiles"]["0.5"] == pytest.approx(np.median(values), rel=0.1)
    assert drawn.facts()["histogram"] == found["histogram"]
    assert sum(found["histogram"]["hours"]) == pytest.approx(values.sum() / 3600)


def test_messages_of_one_kind_are_one() -> None:
    assert kind_of("cut: 468970 of 937984 bytes") == kind_of("cut: 1 of 2 bytes") == "cut"
    assert kind_of("'a.wav': no such file") == kind_of("'b c.wav': no such file")
    assert kind_of("/a/b.wav: code 3") == kind_of("/c: code 4,000")
    assert kind_of("holds no sound") != kind_of("no such file")
    advice = "this is an MP4 file (M4A, AAC), which is not read; convert it: ffmpeg -i FILE x.wav"
    assert kind_of(advice).endswith("x.wav")
    assert kind_of("") == ""
