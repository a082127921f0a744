"""Items to shards: where they are cut, and what changes their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest

from fcs_edge.corpus.items import Item, item_of, values_of
from fcs_edge.corpus.job import Recipe
from fcs_edge.corpus.sharding import Plan, PlannedShard, cut_shards, estimated_seconds, plan
from fcs_edge.errors import CorpusError

RECIPE = Recipe(
    model="edge",
    model_sha256="0" * 64,
    fingerprint="0" * 16,
    settings={"resampler": "soxr VHQ", "token_rules": 2},
    out="/out",
)
N = 100_000
FEW = 10_000


def sound(n: int, seconds: float = 1.0) -> Item:
    return Item(f"{n // 50:05}/{n:06}.wav", f"/in/{n:06}.wav", size=round(seconds * 32000))


def names(items: list[Item], rows: int = 1000, hours: float = 2.0) -> set[str]:
    return {shard.name for shard in plan(items, RECIPE, rows=rows, hours=hours).shards}


@pytest.fixture(scope="module")
def lengths() -> Any:
    """Seconds as in corpora of speech: 0.5 to 40, the mean 8."""
    return np.random.default_rng(0).lognormal(math.log(6), 0.75, N + 10).clip(0.5, 40)


CHANGES: dict[str, Callable[[list[Item]], list[Item]]] = {
    "in front": lambda items: [Item("!.wav", "/in/!.wav", size=5), *items],
    "in the middle": lambda items: [*items[:5123], sound(N + 1), *items[5123:]],
    "at the end": lambda items: [*items, sound(N + 1)],
    "five in a row": lambda items: [*items[:777], *map(sound, range(N, N + 5)), *items[777:]],
    "removed": lambda items: [*items[:3333], *items[3334:]],
    "first removed": lambda items: items[1:],
    "renamed": lambda items: [*items[:999], replace(items[999], id="0/x.wav"), *items[1000:]],
    "changed": lambda items: [*items[:999], replace(items[999], size=77777), *items[1000:]],
    "touched": lambda items: [*items[:999], replace(items[999], mtime_ns=8), *items[1000:]],
}


def test_a_file_in_front_of_100_000_renames_one_or_two_shards(lengths: Any) -> None:
    """Hours and rows both end shards here."""
    items = [sound(n, lengths[n]) for n in range(N)]
    before = names(items)
    assert 90 < len(before) < 150
    for what in ("in front", "in the middle"):
        after = names(CHANGES[what](items))
        assert 1 <= len(after - before) <= 2, what
        assert 1 <= len(before - after) <= 2, what


@pytest.mark.parametrize(("rows", "hours"), [(100, 1e9), (10**9, 0.2)])
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_one_file_renames_one_or_two_shards(
    what: str, rows: int, hours: float, lengths: Any
) -> None:
    items = [sound(n, lengths[n]) for n in range(FEW)]
    before, after = names(items, rows, hours), names(CHANGES[what](items), rows, hours)
    assert len(before) > 80
    assert 1 <= len(after - before) <= 2
    assert 1 <= len(before - after) <= 2


def test_a_change_anywhere_renames_few_shards(lengths: Any) -> None:
    items = [sound(n, lengths[n]) for n in range(4000)]
    before = names(items, rows=40, hours=0.08)
    lost = []
    for place in range(100, 4000, 150):
        without = names([*items[:place], *items[place + 1 :]], rows=40, hours=0.08)
        lost.append(len(before - without))
    assert len(before) > 90
    assert max(lost) <= 3
    assert sum(lost) <= 1.5 * len(lost)


@pytest.mark.parametrize(("rows", "hours"), [(1, 2), (2, 2), (7, 2), (100, 2), (10**6, 0.05)])
def test_shards_hold_all_items_in_order_and_about_as_many_as_requested(
    rows: int, hours: float, lengths: Any
) -> None:
    items = [sound(n, lengths[n]) for n in range(2000)]
    shards = list(cut_shards(items, rows=rows, hours=hours))
    assert list(chain.from_iterable(shards)) == items
    for shard in shards[:-1]:
        seconds = sum(map(estimated_seconds, shard))
        fill = max(len(shard) / rows, seconds / 3600 / hours)
        assert 0.5 <= fill <= 1.5
    mean = np.mean([len(shard) for shard in shards[:-1]])
    assert rows > 10 or 0.6 * rows <= mean <= 1.3 * rows


def test_an_item_above_the_shard_s_size_is_alone() -> None:
    items = [sound(n, 7200.0 if n % 10 == 5 else 1.0) for n in range(100)]
    shards = list(cut_shards(items, rows=50, hours=2))
    alone = [shard for shard in shards if estimated_seconds(shard[0]) == 7200]
    assert [len(shard) for shard in alone] == [1] * 10
    others = [shard for shard in shards if shard not in alone]
    assert [item for shard in others for item in shard] == [i for i in items if i.size == 32000]
    assert len(others) <= 4, "they do not end the shards of the others"


def test_no_items_are_no_shards() -> None:
    assert plan([], RECIPE).shards == []
    assert (plan([], RECIPE).n_items, plan([], RECIPE).seconds) == (0, 0.0)


@pytest.mark.parametrize(("rows", "hours"), [(0, 2.0), (-1, 2.0), (1, 0.0), (1, math.nan)])
def test_shards_of_nothing_are_refused(rows: int, hours: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        plan([sound(0)], RECIPE, rows=rows, hours=hours)


def only(item: Item, recipe: Recipe = RECIPE) -> PlannedShard:
    (shard,) = plan([item], recipe).shards
    return shard


ITEM = Item("a.wav", "/in/a.wav", size=7, mtime_ns=9)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "b.wav"},
        {"path": "/in/b.wav"},
        {"member": "m.wav"},
        {"start": 512},
        {"size": 8},
        {"mtime_ns": 10},
        {"offset": 0.0},
        {"duration": 1.0},
        {"channel": 2},
        {"error": "no such file"},
        {"columns": {"text": "x"}},
    ],
)
def test_what_changes_a_row_changes_the_shard_s_name(change: dict[str, Any]) -> None:
    assert only(replace(ITEM, **change)).name != only(ITEM).name


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"model_sha256": "1" * 64}, True),
        ({"settings": {**RECIPE.settings, "token_rules": 3}}, True),
        ({"settings": {**RECIPE.settings, "resampler": "torchaudio"}}, True),
        ({"channel": 1}, True),
        ({"strict": True}, True),
        ({"exact": True}, True),
        ({"window": 10.0}, True),
        ({"overlap": 1.0}, True),
        ({"activations": 8}, True),
        ({"out": "/elsewhere"}, False),
        ({"model": "/other/place"}, False),
        ({"also": ("npz",)}, False),
        ({"file_timeout": 9.0}, False),
        ({"settings": dict(reversed(RECIPE.settings.items()))}, False),
    ],
)
def test_what_changes_all_rows_changes_all_names(change: dict[str, Any], changes: bool) -> None:
    assert (only(ITEM, replace(RECIPE, **change)).name != only(ITEM).name) is changes


def test_a_name_is_16_hexadecimal_digits_and_stays() -> None:
    """A release that changes this name encodes every corpus again: so change it on purpose."""
    assert only(ITEM).name == "1b28ab311195fe49"


def test_a_length_that_is_only_estimated_changes_no_name() -> None:
    assert only(replace(ITEM, seconds=3.0)).name == only(ITEM).name


def test_text_columns_are_those_of_all_manifests() -> None:
    items = [
        replace(ITEM, columns={"text": "x", "speaker": "y"}),
        replace(ITEM, id="b.wav", columns={"lang": "z"}),
    ]
    assert plan(items, RECIPE).recipe.text_columns == ("lang", "speaker", "text")
    first = plan(items[:1], RECIPE, rows=1).shards[0].name
    assert plan(items, RECIPE, rows=1).shards[0].name != first, "its columns are others"


def test_manifests_of_endless_columns_are_refused() -> None:
    items = (replace(sound(n), columns={f"c{n}": ""}) for n in range(3000))
    with pytest.raises(CorpusError, match="over 1000 columns"):
        plan(items, RECIPE)


def test_a_job_has_the_shard_s_items() -> None:
    items = [
        Item("\\xff.wav", "/in/\udcff\n.wav", size=1),
        Item("b.tar/ü.wav", "/in/b.tar", "ü.wav", 512, 9, 10, 1.5, 2.25, None, {"t": "ä"}, 2, 3.5),
        Item("c", "c |", error="is a command, which is not run"),
    ]
    (shard,) = plan(items, RECIPE).shards
    assert shard.job().items == tuple(items)
    assert shard.job().name == shard.name
    assert (shard.n_items, shard.size) == (3, 10)
    assert [item_of(values_of(item)) for item in items] == items


def planned(*items: Item) -> Plan:
    return plan([*map(sound, range(500)), *items, *map(sound, range(500, 900))], RECIPE, rows=50)


def test_equal_ids_are_refused_and_both_paths_named() -> None:
    with pytest.raises(CorpusError) as caught:
        planned(Item("x.wav", "/a/x.wav"), sound(1000), Item("x.wav", "/b/\n.wav"))
    assert str(caught.value) == (
        "two inputs have the id x.wav: /a/x.wav and /b/\\x0a.wav; "
        "give --root, a folder that holds both"
    )


def test_members_of_equal_names_are_refused() -> None:
    twice = Item("s.tar/x.wav", "/s.tar", "x.wav", 512)
    with pytest.raises(CorpusError, match=r"^/s\.tar: holds two members called x\.wav$"):
        planned(twice, replace(twice, start=2048))
    with pytest.raises(CorpusError, match=r"^/x\.wav: is given twice, with the id x\.wav$"):
        planned(Item("x.wav", "/x.wav"), Item("x.wav", "/x.wav"))


def test_progress_counts_items() -> None:
    counts: list[int] = []
    plan(map(sound, range(2500)), RECIPE, on_progress=counts.append)
    assert counts == [1000, 2000, 2500]


@pytest.mark.parametrize(
    ("item", "seconds"),
    [
        (Item("a", "a.wav", size=64000), 2.0),
        (Item("a", "a.FLAC", size=36000), 2.0),
        (Item("a", "a.mp3", size=16000), 2.0),
        (Item("a", "a.opus", size=8000), 2.0),
        (Item("a", "a", size=64000), 2.0),
        (Item("a", "x.tar", "a.flac", size=36000), 2.0),
        (Item("a", "a.wav", size=64000, seconds=3.0), 3.0),
        (Item("a", "a.wav", size=64000, offset=1.5), 0.5),
        (Item("a", "a.wav", size=64000, offset=9.0), 0.0),
        (Item("a", "a.wav", size=64000, offset=9.0, duration=4.0), 4.0),
        (Item("a", "a.wav", size=64000, error="no such file"), 0.0),
    ],
)
def test_seconds_are_estimated_from_bytes(item: Item, seconds: float) -> None:
    assert estimated_seconds(item) == seconds
