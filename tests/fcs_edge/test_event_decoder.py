"""Events to sound: gaps, and ends."""

from __future__ import annotations

import numpy as np
import pytest

import fcs_edge
from fcs_edge.bitstream.events import Damage, End, HeaderRead, Tokens
from fcs_edge.tokens.event_decoder import EventDecoder
from fcs_edge.tokens.fcs import header_of

HOP = 480


def decoded(codec: fcs_edge.Codec, events: list, **options: object) -> np.ndarray:
    decoder = EventDecoder(codec, pytest.fail, **options)
    header = HeaderRead(header_of(codec))
    parts = [*decoder.decode([header, *events]), *decoder.close()]
    return np.concatenate(parts)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("before", [8, 6])
@pytest.mark.parametrize("gap", [1, 99, 100, 103, 104, 107, 108, 9000])
@pytest.mark.parametrize("name", ["tiny", "noisy"])
def test_the_decoder_rests_in_a_long_gap(
    name: str, gap: int, before: int, live: bool, request: pytest.FixtureRequest
) -> None:
    """It runs through 100 to 103 tokens of a gap, and what follows keeps its place.

    The noise of a row goes on from the one before the rest.
    """
    codec: fcs_edge.Codec = request.getfixturevalue(name)
    tokens = np.random.default_rng(1).integers(0, 1 << 11, before + 12, dtype=np.uint16)
    first, last = tokens[:before], tokens[before:]
    sound = decoded(codec, [Tokens(first), Damage(gap, ""), Tokens(last)], live=live)
    assert sound.size == (tokens.size + gap) * HOP
    run = gap if gap < 104 else 100 + gap % 4
    reference = codec.decode(np.concatenate([first, np.full(run, first[-1]), last]))
    np.testing.assert_array_equal(sound[: before * HOP], reference[: before * HOP])
    assert not sound[before * HOP : (before + gap) * HOP].any()
    np.testing.assert_array_equal(sound[(before + gap) * HOP :], reference[(before + run) * HOP :])


def test_a_gap_at_the_start_runs_on_with_token_0(tiny: fcs_edge.Codec) -> None:
    tokens = np.arange(1, 9, dtype=np.uint16)
    sound = decoded(tiny, [Damage(8, ""), Tokens(tokens), End(16 * 320)])
    reference = tiny.decode(np.concatenate([np.zeros(8, np.uint16), tokens]))
    assert not sound[: 8 * HOP].any()
    np.testing.assert_array_equal(sound[8 * HOP :], reference[8 * HOP :])


def test_a_long_gap_costs_no_work(tiny: fcs_edge.Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = EventDecoder(tiny, pytest.fail)
    pushed = []
    push = decoder._decoder.push
    monkeypatch.setattr(
        decoder._decoder, "push", lambda tokens: pushed.append(tokens.size) or push(tokens)
    )
    events = [HeaderRead(header_of(tiny)), Tokens(np.ones(4, np.uint16)), Damage(100_000, "")]
    size = sum(part.size for part in decoder.decode(events))
    assert size == 100_004 * HOP
    assert sum(pushed) == 104


def test_a_model_that_is_not_causal_may_have_samples_beyond_its_tokens(
    tiny: fcs_edge.Codec,
) -> None:
    """The sound has its exact length: silence fills the rest."""
    header = header_of(tiny, settings={"causal": False})
    decoder = EventDecoder(tiny, pytest.fail)
    events = [HeaderRead(header), Tokens(np.ones(1, np.uint16)), End(719)]
    sound = np.concatenate([*decoder.decode(events), *decoder.close()])
    assert sound.size == tiny.output_length(719)
    assert not sound[HOP:].any()
    problems: list[str] = []
    decoder = EventDecoder(tiny, problems.append)
    events[0] = HeaderRead(header_of(tiny))
    assert sum(part.size for part in decoder.decode(events)) == HOP
    assert problems == ["2 tokens of the last 3 are missing"]
