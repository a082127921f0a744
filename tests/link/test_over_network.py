"""`send` and `receive` as processes; between them a network that loses, repeats and reorders."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge.link.packets import Packet, PacketFormat, write_packet
from fcs_edge.model.layers import F32
from helpers import COMMAND

CHUNK = 0.08


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Network(threading.Thread):
    """Relays packets from one port to another, with seeded random faults."""

    def __init__(self, to: int, loss: float, doubled: float, jitter: float) -> None:
        super().__init__(daemon=True)
        self.port = free_port()
        self._to, self._loss, self._doubled, self._jitter = to, loss, doubled, jitter
        self._random = np.random.default_rng(1)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", self.port))
        self._waiting: list[tuple[float, int, bytes]] = []
        self.n_lost = self.n_packets = 0
        self.first: bytes | None = None
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.is_set():
            ready, _, _ = select.select([self._socket], [], [], 0.005)
            if ready:
                self._take(self._socket.recv(2000))
            now = time.monotonic()
            for item in [item for item in self._waiting if item[0] <= now]:
                self._waiting.remove(item)
                self._socket.sendto(item[2], ("127.0.0.1", self._to))

    def _take(self, packet: bytes) -> None:
        self.n_packets += 1
        self.first = self.first or packet
        if self._random.random() < self._loss:
            self.n_lost += 1
            return
        for _ in range(1 + (self._random.random() < self._doubled)):
            due = time.monotonic() + self._jitter * self._random.random()
            self._waiting.append((due, self.n_packets, packet))

    def inject(self, packet: bytes) -> None:
        self._socket.sendto(packet, ("127.0.0.1", self._to))

    def close(self) -> None:
        self._stopped.set()
        self.join()
        self._socket.close()


@pytest.fixture
def network() -> Iterator[Callable[..., Network]]:
    networks: list[Network] = []

    def make(to: int, loss: float = 0, doubled: float = 0, jitter: float = 0) -> Network:
        networks.append(Network(to, loss, doubled, jitter))
        return networks[-1]

    yield make
    for each in networks:
        each.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def run(*arguments: object) -> subprocess.Popen[bytes]:
        command = [*COMMAND, *map(str, arguments)]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def listen(start: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Start `receive`, and wait until it listens."""

    def run(port: int, *options: object) -> subprocess.Popen[bytes]:
        record = ("--record-output", tmp_path / "received.wav", "--force")
        process = start("receive", port, "--monitor", "off", *record, *options)
        while b"listening at" not in process.stderr.readline():
            assert process.poll() is None
        return process

    return run


def ended(process: subprocess.Popen[bytes]) -> str:
    """Press Ctrl-C and return the last line."""
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    return output.splitlines()[-1]


def count(line: str, what: str) -> int:
    found = re.search(rf"(\d+) {what}", line)
    assert found, line
    return int(found[1])


@pytest.fixture
def voice(tmp_path: Path, speech: F32) -> Path:
    path = tmp_path / "voice.wav"
    soundfile.write(path, speech[: 8 * 16000], 16000)
    return path


def received(tmp_path: Path) -> F32:
    sound, rate = soundfile.read(tmp_path / "received.wav", dtype="float32")
    assert rate == 24000
    return sound


def sent(voice: Path) -> F32:
    codec = fcs_edge.load()
    signal_in, _ = soundfile.read(voice, dtype="float32")
    return codec.decode(codec.encode(signal_in))


def place(part: F32, sound: F32) -> int:
    """Return where the first chunk of speech lies; it is exact up to 16-bit rounding."""
    product = np.correlate(sound, part, "valid")
    energy = np.convolve(sound**2, np.ones(part.size), "valid")
    return int((product / np.sqrt(energy + 1e-9)).argmax())


@pytest.mark.parametrize("sealed", [False, True])
def test_a_good_network_brings_all_of_it(
    sealed: bool, start: Callable[..., Any], listen: Callable[..., Any], voice: Path, tmp_path: Path
) -> None:
    key: tuple[object, ...] = ()
    peer: tuple[object, ...] = ()
    if sealed:
        key, peer = ("--key", tmp_path / "voice.key"), ("--key", tmp_path / "voice.peer.key")
        assert start("key", tmp_path / "voice.key").wait() == 0
    port = free_port()
    receiver = listen(port, *key)
    sender = start("send", "--from", voice, *peer, f"127.0.0.1:{port}")
    output = sender.communicate(timeout=60)[1].decode()
    assert sender.returncode == 0, output
    assert ("the link is open" in output) != sealed
    time.sleep(0.5)
    line = ended(receiver)
    assert count(line, "packets") == 100
    assert count(line, "chunks played") == 100
    assert count(line, "lost") == 0
    expected, sound = sent(voice), received(tmp_path)
    at = place(expected[24000:28800], sound[: 24000 * 12]) - 24000
    assert np.abs(sound[at : at + expected.size] - expected).max() < 2e-4


@pytest.mark.parametrize("packet_ms", [80, 240])
def test_a_bad_network_costs_what_it_loses(
    packet_ms: int,
    start: Callable[..., Any],
    listen: Callable[..., Any],
    network: Callable[..., Network],
    voice: Path,
    tmp_path: Path,
) -> None:
    port = free_port()
    receiver = listen(port, "--buffer-ms", 240)
    between = network(port, loss=0.1, doubled=0.2, jitter=0.15)
    sender = start("send", "--from", voice, "--packet-ms", packet_ms, f"127.0.0.1:{between.port}")
    sender.communicate(timeout=60)
    time.sleep(0.6)
    line = ended(receiver)
    chunks = packet_ms // 80
    assert between.n_packets == -(-100 // chunks)
    assert between.n_lost > 0
    lost, late = count(line, "lost"), count(line, "late")
    # The receiver does not count a packet lost at the end.
    assert (between.n_lost - 2) * chunks <= lost <= between.n_lost * chunks + late
    assert count(line, "chunks played") + lost <= 100
    assert late <= 5
    assert count(line, "twice") > 0
    if chunks == 1:
        assert count(line, "packets out of order") > 0
    assert np.isfinite(received(tmp_path)).all()


def test_strange_packets_change_nothing(
    start: Callable[..., Any],
    listen: Callable[..., Any],
    network: Callable[..., Network],
    voice: Path,
    tmp_path: Path,
) -> None:
    key = tmp_path / "voice.key"
    assert start("key", key).wait() == 0
    port = free_port()
    receiver = listen(port, "--key", key)
    between = network(port)
    random = np.random.default_rng(1)
    codec = fcs_edge.load()
    open_one = write_packet(PacketFormat.of(codec), Packet(1, 0, np.zeros(4, np.uint16)))
    peer = tmp_path / "voice.peer.key"
    sender = start("send", "--from", voice, "--key", peer, f"127.0.0.1:{between.port}")
    while sender.poll() is None:
        for _ in range(20):
            between.inject(random.bytes(int(random.integers(0, 1500))))
        between.inject(open_one)
        if between.first is not None:
            between.inject(between.first)
            flipped = bytearray(between.first)
            flipped[int(random.integers(0, len(flipped)))] ^= 1 << int(random.integers(0, 8))
            between.inject(bytes(flipped))
        time.sleep(0.02)
    sender.communicate()
    time.sleep(0.5)
    line = ended(receiver)
    assert count(line, "chunks played") == 100
    assert count(line, "lost") == 0
    for reason in ("size", "format", "authentication"):
        assert f"({reason})" in line
    expected, sound = sent(voice), received(tmp_path)
    at = place(expected[24000:28800], sound[: 24000 * 12]) - 24000
    assert np.abs(sound[at : at + expected.size] - expected).max() < 2e-4


def test_a_recorded_stream_is_not_taken_again(
    start: Callable[..., Any], listen: Callable[..., Any], network: Callable[..., Network],
    tmp_path: Path, speech: F32,
) -> None:  # fmt: skip
    key, voice = tmp_path / "voice.key", tmp_path / "short.wav"
    soundfile.write(voice, speech[:32000], 16000)
    assert start("key", key).wait() == 0
    port = free_port()
    receiver = listen(port, "--key", key)
    between = network(port)
    peer = tmp_path / "voice.peer.key"
    start("send", "--from", voice, "--key", peer, f"127.0.0.1:{between.port}").communicate()
    time.sleep(0.3)
    ended(receiver)
    assert between.first is not None
    receiver = listen(port, "--key", key)
    for _ in range(10):
        between.inject(between.first)
    time.sleep(0.5)
    line = ended(receiver)
    assert count(line, "chunks played") == 0
    assert "10 (replay)" in line


def test_a_stopped_receiver_catches_up(
    start: Callable[..., Any], listen: Callable[..., Any], voice: Path, tmp_path: Path
) -> None:
    port = free_port()
    receiver = listen(port)
    sender = start("send", "--from", voice, f"127.0.0.1:{port}")
    time.sleep(4)
    receiver.send_signal(signal.SIGSTOP)
    time.sleep(2)
    receiver.send_signal(signal.SIGCONT)
    sender.communicate(timeout=60)
    time.sleep(0.5)
    line = ended(receiver)
    # The packets of the stop are skipped, except those that may wait.
    assert count(line, "skipped") > 5
    assert count(line, "chunks played") + count(line, "skipped") + count(line, "lost") == 100


def test_an_error_is_one_line(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.key").write_text("nonsense")
    for arguments, message in (
        (("send", "nowhere"), "is no address"),
        (("send", "--from", "x.wav", "127.0.0.1:99999"), "port of 1 to 65535"),
        (("send", "--from", "x.wav", "127.0.0.1:5004"), "no such file"),
        (("receive", "x:y"), "is no address"),
        (("receive", "--monitor", "off", "192.0.2.1:5004"), "cannot listen"),
        (("send", "--from", "x.wav", "--key", tmp_path / "no.key", "127.0.0.1:5004"), "no.key"),
        (("send", "--from", "x.wav", "--key", tmp_path / "bad.key", "127.0.0.1:5004"), "bad.key"),
        (("key", tmp_path / "bad.key"), "not overwritten"),
        (("send", "--packet-ms", "100", "--from", "x.wav", "127.0.0.1:5004"), "multiple"),
    ):
        process = start(*arguments)
        output = process.communicate(timeout=60)[1].decode()
        assert process.returncode in (1, 2), output
        assert message in output
        assert "Traceback" not in output
        assert "internal error" not in output
