"""The jitter buffer on a virtual clock: each rule, then links with every fault."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcs_edge.link.jitter import JitterBuffer, Missing
from fcs_edge.link.packets import Packet

CHUNK = 0.08
TOP = (1 << 32) - 1
FIXED = settings(max_examples=150, derandomize=True, deadline=None, database=None)
MODES = pytest.mark.parametrize("authenticated", [False, True], ids=["open", "sealed"])


def packet_of(sequence, chunks=1, stream=1):
    """Give each chunk its sequence and stream as tokens."""
    rows = [[s & 0xFFFF, s >> 16, stream & 0xFFFF, 7] for s in range(sequence, sequence + chunks)]
    return Packet(stream, sequence, np.array(rows, np.uint16).reshape(-1))


def sequence_of(tokens):
    assert tokens.shape == (4,)
    assert tokens.dtype == np.uint16
    assert tokens[3] == 7
    return int(tokens[0]) | int(tokens[1]) << 16


class Link:
    """A buffer whose outputs are recorded: a chunk's sequence, "lost", or "wait"."""

    def __init__(self, **options):
        self.buffer = JitterBuffer(4, CHUNK, **options)
        self.now = 0.0
        self.out = []

    def put(self, *sequences, chunks=1, stream=1):
        for sequence in sequences:
            self.buffer.put(packet_of(sequence, chunks, stream), self.now)
            check(self.buffer)
        return self

    def take(self, times=1):
        """Take chunks, one after each chunk's time; return them."""
        for _ in range(times):
            got = self.buffer.take(self.now)
            self.out.append(got.value if isinstance(got, Missing) else sequence_of(got))
            self.now += CHUNK
            check(self.buffer)
        return self.out[-times:]

    @property
    def counts(self):
        return {name: value for name, value in asdict(self.buffer.counts).items() if value}


def waiting_in(buffer):
    """Count the chunks that wait, one by one."""
    span = range(buffer._position, buffer._highest + 1)
    return sum(int(buffer._sequences[s % buffer._capacity]) == s for s in span)


def check(buffer):
    counts = buffer.counts
    assert min(asdict(counts).values()) >= 0
    stored = counts.chunks + counts.repaired - counts.late - counts.duplicate
    assert stored == counts.played + counts.skipped + waiting_in(buffer)
    assert 0 <= buffer.level <= buffer._most + buffer._batch - 1


class TestStart:
    def test_nothing(self):
        link = Link()
        assert link.take(3) == ["wait"] * 3
        assert link.counts == {}
        assert link.buffer.stream is None
        assert not link.buffer.alive(0)

    def test_target(self):
        link = Link(target=3)
        assert link.put(10).take() == ["wait"]
        assert link.put(11).take() == ["wait"]
        assert link.put(12).take(3) == [10, 11, 12]
        assert link.buffer.stream == 1

    def test_time_for_the_target_passed(self):
        assert Link(target=3).put(10).take(4) == ["wait"] * 2 + [10, "lost"]

    def test_reordered_start(self):
        link = Link(target=3).put(12, 10, 11)
        assert link.take(3) == [10, 11, 12]
        assert link.counts == {"received": 3, "chunks": 3, "played": 3, "reordered": 2}

    def test_longer_packets_need_more(self):
        link = Link(target=2)
        assert link.put(0, chunks=3).take() == ["wait"]
        assert link.buffer.goal == 4
        assert link.put(3, chunks=3).take(6) == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize("options", [{"target": 0}, {"target": 3, "most": 3}, {"most": 1001}])
    def test_wrong_options(self, options):
        with pytest.raises(ValueError, match="target and most"):
            JitterBuffer(4, CHUNK, **options)


class TestPlaying:
    @staticmethod
    def started(**options):
        link = Link(target=2, **options).put(0, 1)
        link.take()
        return link

    def test_reordered(self):
        link = self.started()
        assert link.put(3, 2).take(3) == [1, 2, 3]
        assert link.counts["reordered"] == 1

    def test_duplicate(self):
        link = self.started()
        assert link.put(1, 0, 2, 2).take(2) == [1, 2]
        assert link.counts["duplicate"] == 3
        assert "reordered" not in link.counts

    def test_lost_and_late(self):
        link = self.started()
        assert link.put(3).take(3) == [1, "lost", 3]
        link.put(2)
        assert (link.counts["lost"], link.counts["late"]) == (1, 1)
        assert "starved" not in link.counts

    def test_packet_half_too_late(self):
        link = self.started()
        assert link.put(4).take(3) == [1, "lost", "lost"]
        assert link.put(3, chunks=3).take(2) == [4, 5]
        assert (link.counts["late"], link.counts["duplicate"]) == (1, 1)

    def test_starved_by_loss_keeps_the_delay(self):
        link = self.started()
        assert link.take(3) == [1, "lost", "lost"]
        assert link.counts["starved"] == 2
        assert link.put(4, 5).take(2) == [4, 5]
        assert link.counts["lost"] == 2
        assert "starved" not in link.counts

    def test_starved_by_delay_loses_nothing(self):
        link = self.started()
        assert link.take(3) == [1, "lost", "lost"]
        assert link.put(2, 3).take(2) == [2, 3]
        assert link.counts["starved"] == 2
        assert "lost" not in link.counts

    def test_starved_for_long(self):
        link = self.started()
        assert link.take(8) == [1] + ["lost"] * 5 + ["wait"] * 2
        assert link.put(2).take() == ["wait"]
        assert link.put(3).take(2) == [2, 3]
        assert link.counts == {"received": 4, "chunks": 4, "played": 4, "starved": 5}

    def test_gap_over_a_wait_is_lost(self):
        link = self.started()
        link.take(8)
        assert link.put(9, 10).take(2) == [9, 10]
        assert link.counts["lost"] == 7
        assert "starved" not in link.counts

    def test_overfull(self):
        link = self.started(most=5)
        link.put(2, 3, 4, 5)
        assert link.buffer.level == 5
        link.put(6)
        assert link.buffer.level == 2
        assert link.take(2) == [5, 6]
        assert link.counts["skipped"] == 4

    def test_jump_within_reach(self):
        link = self.started(most=5)
        assert link.put(25).take(2) == ["lost", 25]
        assert link.counts == {
            "received": 3,
            "chunks": 3,
            "played": 2,
            "skipped": 1,
            "lost": 23,
        }


class TestJumps:
    @pytest.mark.parametrize("place", [10_000, TOP - 1])
    def test_forward_sealed(self, place):
        link = Link(authenticated=True).put(500, 501)
        link.take()
        assert link.put(place, place + 1).take(2) == [place, place + 1]
        assert (link.counts["resyncs"], link.counts["skipped"]) == (1, 1)
        assert "lost" not in link.counts

    def test_never_back_sealed(self):
        link = Link(authenticated=True).put(500, 501)
        link.take(60)
        link.put(*range(300, 500))
        assert link.take() == ["wait"]
        assert link.counts["played"] == 2
        assert link.counts["strays"] + link.counts["late"] == 200

    @pytest.mark.parametrize("place", [0, 10_000, TOP - 2])
    def test_open(self, place):
        link = Link().put(500, 501)
        link.take()
        link.put(place, place + 1, place + 2)
        assert link.counts["strays"] == 3
        link.take(30)
        assert link.put(place).take() == ["wait"]
        assert link.put(place + 1).put(place + 2).take(2) == [place + 1, place + 2]
        assert link.counts["resyncs"] == 1

    @MODES
    def test_other_stream(self, authenticated):
        link = Link(authenticated=authenticated).put(500, 501)
        link.take()
        link.put(0, 1, stream=2)
        assert link.take() == [0 if authenticated else 501]
        assert link.counts.get("foreign", 0) == (0 if authenticated else 2)
        link.take(30)
        link.put(2, 3, stream=2)
        assert link.buffer.stream == 2
        assert link.take(2) == [2, 3]

    def test_smaller_stream_never_sealed(self):
        link = Link(authenticated=True).put(0, 1, stream=9)
        link.take(100)
        assert link.put(0, 1, 2, 3, stream=8).take() == ["wait"]
        assert link.counts["foreign"] == 4

    @MODES
    def test_largest_numbers(self, authenticated):
        link = Link(authenticated=authenticated).put(TOP - 5, TOP - 4, stream=(1 << 64) - 2)
        link.take(40)
        link.put(TOP - 2, TOP - 1, TOP, stream=(1 << 64) - 1)
        assert link.take(2) == [TOP - 1 - authenticated, TOP - authenticated]


def test_jitter_estimate():
    """RFC 3550, section 6.4.1, written out."""
    rng = np.random.default_rng(0)
    buffer = JitterBuffer(4, CHUNK)
    transit = rng.uniform(0.1, 0.16, 200)
    expected = 0.0
    for i in range(200):
        buffer.put(packet_of(i), i * CHUNK + transit[i])
        if i:
            expected += (abs(transit[i] - transit[i - 1]) - expected) / 16
    assert buffer.jitter == pytest.approx(expected * 1000)
    assert 15 < buffer.jitter < 25
    buffer.put(packet_of(200), 400.0)
    assert buffer.jitter == pytest.approx(expected * 1000)


@dataclass
class Faults:
    """What a link does to packets; times in seconds."""

    seconds: float = 120.0
    chunks: int = 1
    loss: float = 0.0
    burst: float = 0.0
    double: float = 0.0
    jitter: float = 0.0
    stalls: float = 0.0
    drift: float = 0.0
    sender_pause: float = 0.0
    sender_restart: bool = False
    receiver_stall: float = 0.0
    options: dict = field(default_factory=dict)


def arrivals(faults, seed):
    """Return (time, stream, sequence) of every arrival, in order of time."""
    rng = np.random.default_rng(seed)
    out = []
    step = CHUNK * faults.chunks
    count = int(faults.seconds / step)
    restart = count // 2 if faults.sender_restart else count
    bad = False
    stalled_to = 0.0
    for i in range(count):
        sent = i * step * (1 + faults.drift)
        sent += faults.sender_pause if i > count // 3 else 0.0
        stream, place = (1, 1000 + i) if i < restart else (2, i - restart)
        bad = rng.random() < (0.6 if bad else faults.burst)
        if rng.random() < faults.stalls:
            stalled_to = sent + rng.uniform(0.1, 0.6)
        for _ in range(1 + (rng.random() < faults.double)):
            time = max(sent, stalled_to) + 0.05 + rng.uniform(0, faults.jitter)
            if not bad and rng.random() >= faults.loss:
                out.append((time, stream, place * faults.chunks))
    return sorted(out)


def run(faults, seed):
    """Run a link; return it, with (time, stream, sequence or None) of every take in ``out``."""
    buffer = JitterBuffer(4, CHUNK, **faults.options)
    came = {}
    out = []
    coming = arrivals(faults, seed)
    at = 0
    now = 0.0123
    stall_at = faults.seconds / 4 if faults.receiver_stall else np.inf
    while now < faults.seconds + faults.sender_pause + 2:
        if now > stall_at:
            now += faults.receiver_stall
            stall_at = np.inf
        while at < len(coming) and coming[at][0] <= now:
            time, stream, sequence = coming[at]
            # The receiver reads packets of a stall late.
            buffer.put(packet_of(sequence, faults.chunks, stream), max(time, now - CHUNK))
            for i in range(sequence, sequence + faults.chunks):
                came.setdefault((stream, i), max(time, now - CHUNK))
            check(buffer)
            at += 1
        got = buffer.take(now)
        check(buffer)
        if isinstance(got, Missing):
            out.append((now, got.value, None))
        else:
            out.append((now, int(got[2]), sequence_of(got)))
        now += CHUNK
    return buffer, came, out


LINKS = {
    "clean": Faults(),
    "loss": Faults(loss=0.1),
    "bursts": Faults(burst=0.05),
    "reordered": Faults(jitter=0.3, options={"target": 5, "most": 10}),
    "too much jitter": Faults(jitter=0.5),
    "doubled": Faults(double=0.5, jitter=0.1),
    "stalls": Faults(stalls=0.02),
    "stalls, tight": Faults(stalls=0.02, options={"target": 1, "most": 2}),
    "fast sender": Faults(seconds=1200, drift=-1e-4, options={"target": 1, "most": 2}),
    "slow sender": Faults(seconds=1200, drift=1e-4, options={"target": 1, "most": 2}),
    "pause": Faults(sender_pause=7.0),
    "restart": Faults(sender_restart=True),
    "restart, sealed": Faults(sender_restart=True, options={"authenticated": True}),
    "receiver stall": Faults(receiver_stall=9.0),
    "long packets": Faults(chunks=3, loss=0.05, jitter=0.1),
    "longest packets": Faults(chunks=12, loss=0.05, jitter=0.1),
    "all": Faults(240, 2, 0.05, 0.02, 0.05, 0.2, 0.01, 1e-4, 5.0, True, 4.0),
    "all, sealed": Faults(
        240, 2, 0.05, 0.02, 0.05, 0.2, 0.01, -1e-4, 5.0, True, 4.0, {"authenticated": True}
    ),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", LINKS)
def test_link(name, seed):
    faults = LINKS[name]
    buffer, came, out = run(faults, seed)
    counts = buffer.counts
    played = [(stream, sequence) for _, stream, sequence in out if sequence is not None]
    # In order, each once, only received chunks.
    assert all(one < other for one, other in pairwise(played))
    assert all(chunk in came for chunk in played)
    # Every chunk is accounted for.
    assert counts.played == len(played)
    assert waiting_in(buffer) == 0
    fates = counts.played + counts.skipped + counts.late + counts.duplicate
    assert fates == counts.chunks
    concealed = sum(kind == "lost" for _, kind, _ in out)
    if counts.resyncs == 0:
        reached = counts.played + counts.lost + counts.skipped
        assert reached == buffer._position - played[0][1]
        assert concealed <= counts.lost + counts.starved
    # A received chunk that was not played was late or skipped. Of a new stream, the packets of
    # the first 2 s are not played.
    unplayed = len(came) - len(played)
    waste = counts.late + counts.skipped
    foreign = (counts.foreign + counts.strays) * faults.chunks
    assert unplayed <= waste + foreign
    # The delay from arrival to playback stays within its bound.
    most = (buffer._most + faults.chunks) * CHUNK
    longest = max(most, 2 * buffer.goal * CHUNK)
    for now, stream, sequence in out:
        if sequence is not None:
            assert now - came[stream, sequence] <= longest + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_chunks_in_time_are_played_and_no_others(seed):
    """With a large delay, the arrivals alone determine what is played when."""
    faults = Faults(60, loss=0.1, double=0.1, jitter=0.35, options={"target": 7, "most": 16})
    _, came, out = run(faults, seed)
    first = next(i for i, (_, _, sequence) in enumerate(out) if sequence is not None)
    start = out[first][2]
    stop = max(sequence for _, sequence in came)
    expected = []
    for now, _, _ in out[first : first + stop - start + 1]:
        sequence = start + len(expected)
        in_time = came.get((1, sequence), np.inf) <= now
        expected.append(sequence if in_time else None)
    assert [sequence for _, _, sequence in out[first:]][: len(expected)] == expected
    assert expected.count(None) < len(expected) / 5


class TestOutcomes:
    """The losses of the links above: a regression fails."""

    @staticmethod
    def counts(name):
        buffer, _, out = run(LINKS[name], 0)
        return buffer.counts, sum(kind == "lost" for _, kind, _ in out)

    def test_clean(self):
        counts, concealed = self.counts("clean")
        assert counts.played == counts.chunks == counts.received == 1500
        assert (counts.starved, concealed) == (5, 5)

    def test_loss_is_concealed_and_nothing_else(self):
        counts, concealed = self.counts("loss")
        assert counts.played == counts.chunks
        assert concealed == counts.lost + 5

    @pytest.mark.parametrize("name", ["fast sender", "slow sender"])
    def test_drift(self, name):
        """0.12 s in 1200 s: one or two chunks too many or too few, and the end of the stream."""
        counts, _ = self.counts(name)
        assert counts.lost == counts.late == 0
        assert 1 <= counts.skipped + counts.starved - 5 <= 4
        assert counts.played >= counts.chunks - 5

    def test_pause(self):
        counts, _ = self.counts("pause")
        assert counts.played == counts.chunks
        assert counts.starved == 10
        assert counts.resyncs == 0

    def test_restart(self):
        sealed, _ = self.counts("restart, sealed")
        assert sealed.foreign == 0
        assert sealed.played >= 1497
        opened, _ = self.counts("restart")
        assert opened.resyncs == sealed.resyncs == 1
        assert 24 <= opened.foreign <= 27
        assert opened.played == 1500 - opened.foreign

    def test_receiver_stall(self):
        counts, _ = self.counts("receiver stall")
        assert 100 <= counts.skipped <= 116
        assert counts.played == counts.chunks - counts.skipped


class TestHostile:
    """Strangers who flood an open link, or repeat what they received on a sealed one."""

    @pytest.mark.parametrize("known", [False, True], ids=["stream unknown", "stream known"])
    @pytest.mark.parametrize("rate", [1, 100])
    def test_flood(self, known, rate):
        """Random packets hold the link for 2 s at most; then the sender has it."""
        rng = np.random.default_rng(0)
        for first in (False, True):
            link = Link(target=2)
            received = []
            for i in range(60):
                junk = [
                    (int(rng.integers(TOP)), int(rng.integers(1, 1 << 63))) for _ in range(rate)
                ]
                for sequence, stream in junk if first or i else []:
                    link.put(sequence, stream=5 if known else stream)
                link.put(1000 + i, stream=5)
                received += [i] if link.take()[0] == 1000 + i - 1 else []
            assert received[0] == 1 if not first else received[0] <= 29
            assert received == list(range(received[0], 60))

    def test_flood_takes_no_memory(self):
        rng = np.random.default_rng(0)
        buffer = JitterBuffer(4, CHUNK)
        numbers = rng.integers(0, TOP - 12, 3000).tolist()
        packets = [packet_of(number, 12, stream=number % 3) for number in numbers]
        for packet in packets[:100]:
            buffer.put(packet, 0.0)
        tracemalloc.start()
        try:
            for i, packet in enumerate(packets):
                buffer.put(packet, i * 0.01)
                buffer.take(i * 0.01)
            assert tracemalloc.get_traced_memory()[1] < 20_000
        finally:
            tracemalloc.stop()

    def test_two_packets_in_a_row_do_not_take_a_live_link(self):
        link = Link(target=2)
        for i in range(100):
            link.put(1000 + i).put(50_000 + i).put(i, stream=2)
            link.take()
        assert link.out[1:] == list(range(1000, 1099))
        assert "resyncs" not in link.counts

    def test_repeated_packets_on_a_sealed_link(self):
        """Earlier packets arrive again at any time; none is played again."""
        rng = np.random.default_rng(0)
        link = Link(target=2, authenticated=True)
        sent = []
        for i in range(400):
            stream, sequence = (1, i) if i < 200 else (2, i - 200)
            for old in rng.integers(len(sent), size=5) if sent else []:
                link.put(sent[old][1], stream=sent[old][0])
            if rng.random() < 0.8:
                link.put(sequence, stream=stream)
                sent.append((stream, sequence))
            link.take()
        played = [out for out in link.out if isinstance(out, int)]
        resets = sum(one >= other for one, other in pairwise(played))
        assert resets == 1
        assert len(played) > 0.7 * 400


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(
            st.just("put"),
            st.one_of(
                st.integers(0, 60), st.integers(TOP - 60, TOP - 12), st.integers(0, TOP - 12)
            ),
            st.integers(1, 12),
            st.integers(0, 3),
        ),
        st.tuples(st.just("near"), st.integers(-12, 40), st.integers(1, 12)),
    ),
    max_size=60,
)


@MODES
@FIXED
@given(steps=steps, target=st.integers(1, 4), more=st.integers(1, 6))
def test_any_order(authenticated, steps, target, more):
    """For any input, `check` verifies order, bounds and sums after each step."""
    link = Link(target=target, most=target + more, authenticated=authenticated)
    buffer = link.buffer
    last = None
    for kind, number, *rest in steps:
        if kind == "put":
            link.put(number, chunks=rest[0], stream=rest[1])
        elif kind == "near":
            place = min(max(buffer._position + number, 0), TOP - 12)
            link.put(place, chunks=rest[0], stream=buffer.stream or 0)
        else:
            for _ in range(number):
                resyncs, stream = buffer.counts.resyncs, buffer.stream
                (got,) = link.take()
                if not isinstance(got, int):
                    continue
                here = (stream, got) if authenticated else (resyncs, got)
                assert last is None or here > last
                last = here
    assert buffer.counts.received >= buffer.counts.foreign + buffer.counts.strays


@pytest.mark.parametrize("authenticated", [False, True])
def test_an_outage_is_counted_whatever_its_length(authenticated: bool) -> None:
    for outage in (1, 5, 20, 30, 40, 500):
        buffer = JitterBuffer(4, 0.08, authenticated=authenticated)
        now, taken = 0.0, 0
        for sequence in range(100 + outage):
            now = sequence * 0.08
            if not 50 <= sequence < 50 + outage:
                buffer.put(Packet(7, sequence, np.zeros(4, np.uint16)), now)
            taken += isinstance(buffer.take(now + 0.04), np.ndarray)
        for _ in range(5):
            now += 0.08
            taken += isinstance(buffer.take(now), np.ndarray)
        counts = buffer.counts
        assert counts.played == taken
        # An open link ignores the first packet at another position.
        strays = counts.strays
        assert strays <= (0 if authenticated else 1)
        assert counts.lost == outage + strays
        assert counts.played + counts.skipped + strays == 100
        assert 0 <= counts.starved <= 5
