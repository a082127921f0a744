"""What a receiver does with the packets of attackers: the rows of the document, one by one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fcs_edge import Codec
from fcs_edge.link import records
from fcs_edge.link.keys import new_key, peer_path, read_key
from fcs_edge.link.packets import HEADER_BYTES, Packet, PacketFormat, write_packet
from fcs_edge.link.receiver import Receiver
from fcs_edge.link.records import new_stream
from fcs_edge.link.seal import DirectionKey

DOC = Path(__file__).parents[2] / "docs" / "reference" / "link-protocol.md"
HOUR, DAY, YEAR = 3600, 86400, 365 * 86400
N = 20
"""Packets of a stream."""


@dataclass
class Link:
    """A sender with one half of a key, receivers with the other, and their records."""

    codec: Codec
    key: Path
    state: str
    max_age: float
    warnings: list[str] = field(default_factory=list)

    def stream(self, seconds_ago: float, key: DirectionKey | None = None) -> list[bytes]:
        """Return packets of a stream that began some time ago."""
        key = read_key(peer_path(self.key)).outgoing if key is None else key
        number, _ = new_stream(None, time.time_ns() - round(seconds_ago * 1e9))
        form, tokens = PacketFormat.of(self.codec), np.zeros(self.codec.chunk_tokens, np.uint16)
        return [write_packet(form, Packet(number, i, tokens), key) for i in range(N)]

    def receiver(self) -> Receiver:
        """Start a receiver."""
        aged = self.max_age, self.warnings.append
        return Receiver(self.codec, None, self.key, 3, lambda samples: None, *aged)  # type: ignore[arg-type]

    def lose_record(self) -> None:
        """Delete the record where there is to be none."""
        if self.state == "absent":
            self.key.with_name(self.key.name + ".seen").unlink()

    def received(self, packets: list[bytes]) -> None:
        """Let a receiver run once, with no limit of age."""
        receiver = self.receiver()
        receiver._reader._max_age = float("inf")
        assert verdict(receiver, packets) == "taken"
        receiver._guard.save()  # type: ignore[union-attr]


def verdict(receiver: Receiver, packets: list[bytes]) -> str:
    """Return what a receiver does with packets: one reason for all of them, or what it plays."""
    for packet in packets:
        receiver._accept(packet)
    counts = receiver.buffer.counts
    if not counts.received:
        (reason,) = receiver.refused
        assert receiver.refused[reason] == len(packets)
        return str(reason)
    assert not receiver.refused
    assert counts.received == len(packets)
    return "taken"


def replays_an_earlier_run(link: Link) -> str:
    recorded = link.stream(HOUR)
    link.received(recorded)
    link.lose_record()
    return verdict(link.receiver(), recorded)


def replays_this_run(link: Link) -> str:
    receiver, recorded = link.receiver(), link.stream(0)
    assert verdict(receiver, recorded) == "taken"
    played = [receiver.buffer.take(i * 0.08) for i in range(N)]
    assert verdict_of_more(receiver, recorded) == 0
    taken = sum(isinstance(chunk, np.ndarray) for chunk in played)
    assert taken == receiver.buffer.counts.played > 0
    again = [receiver.buffer.take(i * 0.08) for i in range(N, 2 * N)]
    assert not any(isinstance(chunk, np.ndarray) for chunk in again)
    return "not twice"


def verdict_of_more(receiver: Receiver, packets: list[bytes]) -> int:
    """Return how many more chunks a receiver has after packets came again."""
    before = receiver.buffer.level
    for packet in packets:
        receiver._accept(packet)
    return receiver.buffer.level - before


def delivers_an_old_stream(link: Link) -> str:
    old = link.stream(YEAR)
    link.received(link.stream(DAY))
    link.lose_record()
    return verdict(link.receiver(), old)


def holds_back_the_end(link: Link) -> str:
    stream = link.stream(HOUR)
    link.received(stream[: N // 2])
    link.lose_record()
    return verdict(link.receiver(), stream[N // 2 :])


def returns_own_packets(link: Link) -> str:
    return verdict(link.receiver(), link.stream(0, read_key(link.key).outgoing))


def puts_a_payload_under_another_header(link: Link) -> str:
    one, two = link.stream(0), link.stream(0)
    other_sequence = [a[:HEADER_BYTES] + b[HEADER_BYTES:] for a, b in pairwise(one)]
    other_stream = [a[:HEADER_BYTES] + b[HEADER_BYTES:] for a, b in zip(one, two, strict=True)]
    return verdict(link.receiver(), other_sequence + other_stream)


def sends_packets_of_another_key(link: Link) -> str:
    other = link.key.with_name("other.key")
    new_key(other)
    return verdict(link.receiver(), link.stream(0, read_key(peer_path(other)).outgoing))


def replays_to_a_second_receiver(link: Link) -> str:
    first, second, stream = link.receiver(), link.receiver(), link.stream(0)
    assert verdict(first, stream) == "taken"
    first._guard.save()  # type: ignore[union-attr]
    link.lose_record()
    return verdict(second, stream)


ATTACKS: dict[str, Callable[[Link], str]] = {
    "replays a stream of an earlier run": replays_an_earlier_run,
    "replays a stream of this run": replays_this_run,
    "delivers a year-old stream that never arrived": delivers_an_old_stream,
    "holds back the end of a stream for an hour": holds_back_the_end,
    "returns this end's own packets": returns_own_packets,
    "puts a payload under another header": puts_a_payload_under_another_header,
    "sends packets of another key": sends_packets_of_another_key,
    "replays to a second receiver with the same key file": replays_to_a_second_receiver,
}


def documented() -> dict[str, list[str]]:
    """Return the verdicts of the document, by attacker."""
    section = DOC.read_text().split("### Attackers", 1)[1].split("\n### ", 1)[0]
    rows = re.findall(r"^\| (\w.+?) \| (.+) \|$", section, re.MULTILINE)
    return {attack: verdicts.replace("`", "").split(" | ") for attack, verdicts in rows[1:]}


def test_the_document_has_each_attack() -> None:
    assert documented().keys() == ATTACKS.keys()


@pytest.mark.parametrize("column", range(4), ids=["kept", "absent", "read-only", "max-age"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(
    attack: str, column: int, tiny: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "link.key"
    new_key(key)
    state = ("kept", "absent", "read-only", "absent")[column]
    link = Link(tiny, key, state, 60 if column == 3 else float("inf"))
    if state == "read-only":

        def denied(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(records, "replacing", denied)
    assert ATTACKS[attack](link) == documented()[attack][column]
    if state == "read-only":
        assert "rejected in this run only" in link.warnings[0]


class TestAge:
    """Packets whose time differs from the clock by more than --max-age, either way."""

    @pytest.mark.parametrize("ago", [61, -61, YEAR, -YEAR])
    def test_refused(self, ago: float, tiny: Codec, tmp_path: Path) -> None:
        new_key(tmp_path / "link.key")
        link = Link(tiny, tmp_path / "link.key", "kept", 59)
        receiver = link.receiver()
        assert verdict(receiver, link.stream(ago)) == "age"
        assert receiver._guard.admit(1, 0)  # type: ignore[union-attr]
        assert [text for text in link.warnings if "--max-age" in text] == link.warnings[-1:]

    @pytest.mark.parametrize("ago", [0, 30, -30])
    def test_taken(self, ago: float, tiny: Codec, tmp_path: Path) -> None:
        new_key(tmp_path / "link.key")
        link = Link(tiny, tmp_path / "link.key", "kept", 60)
        assert verdict(link.receiver(), link.stream(ago)) == "taken"

    def test_a_limit_that_is_no_number_refuses_all(self, tiny: Codec, tmp_path: Path) -> None:
        new_key(tmp_path / "link.key")
        link = Link(tiny, tmp_path / "link.key", "kept", float("nan"))
        assert verdict(link.receiver(), link.stream(0)) == "age"
