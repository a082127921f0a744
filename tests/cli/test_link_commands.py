"""`send`, `receive` and `key` in this process: what they say, and how they end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from fcs_edge.audio.reader import open_input
from fcs_edge.cli import receive as receive_module
from fcs_edge.cli import send as send_module
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.link import receiver as receiver_module
from fcs_edge.link import records
from fcs_edge.link.datagrams import Datagrams
from fcs_edge.link.keys import new_key
from fcs_edge.link.packets import MAX_PACKET, PacketFormat
from fcs_edge.link.rates import longest_packet
from fcs_edge.link.receiver import Timer
from fcs_edge.link.sender import Sender
from fcs_edge.link.sockets import ListeningSocket, PacketSocket, address_text, parse
from fcs_edge.live.devices import DeviceLostError
from fcs_edge.live.gaps import GapMeter
from fcs_edge.model.layers import F32

Run = Callable[..., Any]
VERSION_1 = bytes.fromhex("fc0101 01234567 880ed4b1c2a6f317 e8030000 003ffe000050")


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    new_key(tmp_path / "link.key")
    return tmp_path / "link.key"


@pytest.fixture
def short(tmp_path: Path, speech: F32) -> Path:
    path = tmp_path / "short.wav"
    soundfile.write(path, speech[:8000], 16000)
    return path


class FakeSpeaker:
    """A speaker that loses something, and then itself."""

    suspended, seconds_skipped, seconds_silent, n_underruns = False, 0.0, 0.25, 2

    def __init__(self, codec: Any, lost: bool) -> None:
        self._lost, self.device = lost, None
        self.playout: Any = Timer(codec.sample_rate_out, codec.latency)
        self.playout.finish = lambda: None
        self.gaps = GapMeter(codec.sample_rate_out)

    def add_losses(self, before: FakeSpeaker) -> None:
        self.n_underruns += before.n_underruns + 1
        self.seconds_silent += before.seconds_silent

    def check(self) -> None:
        if self._lost:
            raise DeviceLostError("speaker: gone")

    def drain(self, seconds: float) -> None:
        """Play nothing more."""

    def close(self) -> None:
        """Close nothing."""


def receive(run: Run, port: int, *options: object, seconds: float = 0.2) -> Any:
    return run("receive", port, "--monitor", "off", "--duration", seconds, *options)


def warnings(result: Any) -> list[str]:
    return [line for line in result.err.splitlines() if line.startswith("fcs-edge: warning")]


def test_key(run: Run, tmp_path: Path) -> None:
    result = run("key", tmp_path / "voice.key")
    assert result.code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"voice.key", "voice.peer.key"}
    assert "voice.peer.key: the other end's half" in result.err
    assert "exists" in run("key", tmp_path / "voice.key").failed()


def test_receive_without_a_packet(run: Run, port: int) -> None:
    result = receive(run, port)
    assert result.code == 0
    assert "0 packets" in result.err
    assert "; no chunk yet" in result.err
    assert "nan" not in result.err
    assert "dropped" not in result.err


def test_duration_counts_sound(run: Run, port: int, tmp_path: Path) -> None:
    assert receive(run, port, "--record-output", tmp_path / "a.wav", seconds=0.24).code == 0
    assert soundfile.info(tmp_path / "a.wav").frames == round(0.24 * 24000)


def test_new_record_is_mentioned_once(run: Run, port: int, key: Path) -> None:
    first, second = (receive(run, port, "--key", key) for _ in range(2))
    assert ".seen is new" in first.err
    assert ".seen is new" not in second.err
    assert not warnings(first) + warnings(second)


def test_record_that_cannot_be_written_shows_before_listening(
    run: Run, port: int, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(records, "replacing", denied)
    result = receive(run, port, "--key", key)
    assert result.code == 0
    assert result.err.index("cannot write") < result.err.index("listening at")
    assert len(warnings(result)) == 1


def test_max_age_needs_a_key(run: Run, port: int) -> None:
    assert "--max-age needs --key" in run("receive", port, "--max-age", 5).failed(2)


@pytest.mark.parametrize("option", ["--max-age", "--duration"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
def test_seconds_are_a_number(run: Run, port: int, key: Path, option: str, seconds: str) -> None:
    """A limit of nan would let everything through: no comparison with it holds."""
    assert option in run("receive", port, "--key", key, option, seconds).failed(2)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "\udcff", "none.invalid"])
def test_a_host_that_cannot_be(run: Run, short: Path, host: str) -> None:
    assert "host" in run("send", "--from", short, f"{host}:5004").failed()


def test_a_host_with_both_kinds_of_addresses(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv4 is first: `receive 5004` listens there, and localhost is often both."""
    found = [(socket.AF_INET6, 2, 17, "", ("::1", port, 0, 0))]
    found += [(socket.AF_INET, 2, 17, "", ("127.0.0.1", port))]  # type: ignore[list-item]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sender, listener = PacketSocket("localhost", port), ListeningSocket("localhost", port)
    sender.send(b"x")
    assert listener.receive()[0] == b"x"
    sender.close()
    listener.close()


def test_a_host_with_an_address_without_a_route(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 2, 17, "", (host, port)) for host in ("240.0.0.1", "127.0.0.1")]
    connect = socket.socket.connect

    def routed(self: socket.socket, address: Any) -> None:
        if address[0] == "240.0.0.1":
            raise OSError(101, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", routed)
    sender = PacketSocket("example", port)
    sender.send(b"x")
    assert not sender.errors
    sender.close()


def test_addresses_are_written_as_they_are_read() -> None:
    for text in ("[::1]:5004", "127.0.0.1:5004", "pi.local:1"):
        assert address_text(*parse(text)) == text


@pytest.mark.parametrize("seal", [False, True])
def test_version_1_is_one_warning(run: Run, port: int, key: Path, seal: bool) -> None:
    done = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not done.wait(0.02):
                sock.sendto(VERSION_1, ("127.0.0.1", port))

    thread = threading.Thread(target=send)
    thread.start()
    result = receive(run, port, *(["--key", key] if seal else []), seconds=0.4)
    done.set()
    thread.join()
    assert len(warnings(result)) == 1
    assert "not of version 2: use the same fcs-edge at both ends" in warnings(result)[0]
    assert "(version)" in result.err.splitlines()[-1]


def test_the_losses_of_all_speakers_are_in_the_line(
    run: Run, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is lost; its underruns still count at the end."""
    opened: list[Any] = []
    monkeypatch.setattr(receive_module.devices, "find", lambda *_: None)
    monkeypatch.setattr(receive_module.devices, "refresh", lambda: None)

    def open_speaker(codec: Any, *_: object) -> Any:
        opened.append(FakeSpeaker(codec, lost=not opened))
        return opened[-1]

    monkeypatch.setattr(receive_module, "Speaker", FakeSpeaker)
    monkeypatch.setattr(receive_module, "open_speaker", open_speaker)
    result = run("receive", port, "--reconnect", "--duration", 0.2)
    assert result.code == 0
    last = result.err.splitlines()[-1]
    assert "; 5 underruns of the speaker (0.50 s silent); 1 time without a device" in last


def test_a_second_signal_says_that_recordings_remain(
    run: Run, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(receiver: receiver_module.Receiver, *_: object) -> None:
        receiver._sink(np.zeros(480, np.float32))
        os.kill(os.getpid(), signal.SIGINT)
        assert receiver._stop.wait(60)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(receiver_module.Receiver, "play", twice)
    error = receive(run, port, "--record-output", tmp_path / "a.wav").failed()
    assert error == "fcs-edge: error: interrupted; recordings hold what came before"
    assert soundfile.info(tmp_path / "a.wav").frames == 480


def test_a_listener_that_fails_ends_the_command(
    run: Run, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ListeningSocket) -> Datagrams:
        raise OSError(5, "Input/output error", "the socket")

    monkeypatch.setattr(ListeningSocket, "receive", broken)
    start = time.monotonic()
    assert "Input/output error" in receive(run, port, seconds=3600).failed()
    assert time.monotonic() - start < 600


def test_a_thread_that_fails_to_keep_the_record_ends_the_command(
    run: Run, port: int, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: records.ReplayGuard) -> None:
        raise OSError(5, "Input/output error", "the record")

    monkeypatch.setattr(receiver_module, "SAVE_SECONDS", 0.01)
    monkeypatch.setattr(records.ReplayGuard, "save", broken)
    result = receive(run, port, "--key", key, seconds=3600)
    assert "the record: Input/output error" in result.failed()


def test_send_to_nobody_warns_once_and_goes_on(run: Run, port: int, short: Path) -> None:
    result = run("send", "--from", short, f"127.0.0.1:{port}")
    assert result.code == 0
    assert len(warnings(result)) == 1
    assert f"nobody listens at 127.0.0.1:{port} yet; sending goes on" in warnings(result)[0]
    # Each packet is sent, in case that somebody listens now.
    assert "0.6 s sent: 7 packets" in result.err
    assert "nobody listened for " in result.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "on the wire: 658 bytes/s, 5.27 kbit/s with IP and UDP headers; a packet each 80 ms"),
        (("--packet-ms", 240), "on the wire: 292 bytes/s, 2.33 kbit/s"),
        (("--packet-ms", 960), "on the wire: 154 bytes/s, 1.23 kbit/s"),
        (("--coded", "--packet-ms", 240), "on the wire: at most 296 bytes/s, 2.37 kbit/s"),
        (("--redundancy",), "on the wire: 771 bytes/s, 6.17 kbit/s"),
    ],
)
def test_the_rate_is_printed_first(
    run: Run, port: int, short: Path, options: tuple[object, ...], text: str
) -> None:
    result = run("send", "--from", short, "--duration", 0.1, *options, f"127.0.0.1:{port}")
    assert result.code == 0
    first = next(line for line in result.err.splitlines() if "the link is open" not in line)
    assert first.startswith(text)


def test_the_rate_with_key_and_ipv6(run: Run, port: int, short: Path, key: Path) -> None:
    """16 + 8 + 16 bytes and 28 or 48 each 80 ms."""
    for host, rate in (("127.0.0.1", 850), ("[::1]", 1100)):
        options = ("--from", short, "--duration", 0.4, "--key", key)
        result = run("send", *options, f"{host}:{port}")
        assert f"on the wire: {rate} bytes/s" in result.err
        assert f", {rate} bytes/s with IP headers" in result.err


@pytest.mark.parametrize("length", [0, 100, 1040])
def test_the_length_of_a_packet(run: Run, port: int, short: Path, length: int) -> None:
    result = run("send", "--from", short, "--packet-ms", length, f"127.0.0.1:{port}")
    assert "--packet-ms" in result.failed(2)


def test_the_longest_packet() -> None:
    """A second of sound, 12 chunks, or what fits into 1200 bytes."""
    for chunk_tokens, seconds, redundant, most in (
        (4, 0.08, False, 12),
        (4, 0.08, True, 12),
        (1, 0.02, False, 12),
        (4, 0.3, False, 3),
        (48, 0.96, True, 1),
        (48, 0.04, True, 6),
        (48, 2.0, False, 1),
    ):
        form = PacketFormat(bytes(8), 16, chunk_tokens)
        assert longest_packet(form, seconds, redundant) == most
        size = form.packet_size(most, sealed=True, before=most if redundant else None)
        assert size <= MAX_PACKET


def test_send_for_a_duration(run: Run, port: int, short: Path) -> None:
    result = run("send", "--from", short, "--duration", 0.2, f"127.0.0.1:{port}")
    assert result.code == 0
    assert "0.2 s sent: " in result.err


def test_a_file_is_sent_at_its_pace_after_a_stop(
    short: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a burst, of which a receiver skips most."""
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    def step(samples: F32) -> None:
        steps.append(clock.now)
        clock.now += 60 if len(steps) == 3 else 0

    steps: list[float] = []
    monkeypatch.setattr(
        send_module, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep)
    )
    lines = SimpleNamespace(show=lambda: None)
    loop = SimpleNamespace(stopped=False, step=step)
    with open_input(str(short), None, 1, 1) as sound:
        assert send_module._send_file(sound, loop, tiny, lines, Messages())  # type: ignore[arg-type]
    between = [0.08] * 6
    between[2] = 60
    assert np.diff(steps) == pytest.approx(between)


def test_send_without_a_route_warns_once(
    run: Run, port: int, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    result = run("send", "--from", short, f"127.0.0.1:{port}")
    assert result.code == 0
    assert [line.count("Network is unreachable") for line in warnings(result)] == [1]
    assert "0 packets, 0 bytes" in result.err


def test_record_of_the_sender_that_cannot_be_written(
    run: Run, port: int, key: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(records, "replacing", denied)
    result = run("send", "--from", short, "--key", key, f"127.0.0.1:{port}")
    assert result.code == 0
    assert [line for line in warnings(result) if "cannot write" in line] == warnings(result)[:1]


class TestStreams:
    """When a sender begins a new stream, and which packets name the model."""

    @pytest.fixture
    def packet_socket(self, port: int) -> Iterator[PacketSocket]:
        opened = PacketSocket("127.0.0.1", port)
        yield opened
        opened.close()

    @pytest.fixture
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
        packets: list[bytes] = []
        monkeypatch.setattr(PacketSocket, "send", lambda self, packet: packets.append(packet))
        return packets

    @pytest.mark.parametrize("chunks", [1, 3, 5, 12])
    def test_the_model_is_named_each_second(
        self, chunks: int, tiny: Any, packet_socket: PacketSocket, sent: list[bytes]
    ) -> None:
        sender = Sender(packet_socket, tiny, chunks, None)
        for _ in range(60):
            sender.send(np.zeros(tiny.chunk_tokens, np.uint16))
        named = [i * chunks for i, packet in enumerate(sent) if packet[1] & 0x40]
        first_due = [i // chunks * chunks for i in range(0, 60, 12)]
        assert named == sorted(set(first_due))

    def test_a_new_stream_where_sound_is_behind_the_clock(
        self,
        tiny: Any,
        packet_socket: PacketSocket,
        key: Path,
        sent: list[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        now = 1_800_000_000.0
        monkeypatch.setattr(time, "time", lambda: now)
        monkeypatch.setattr(time, "time_ns", lambda: int(now * 1e9))
        sender = Sender(packet_socket, tiny, 1, key)
        places = []
        for pause in (0, 0, 4.9, 0, 5.1, 0, -1000, 0, 10**6):
            now += pause + 0.08
            sender.send(np.zeros(tiny.chunk_tokens, np.uint16))
            places.append((sent[-1][6:16], int.from_bytes(sent[-1][2:6], "big")))
        assert [sequence for _, sequence in places] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
        numbers = list(dict.fromkeys(stream for stream, _ in places))
        assert numbers == sorted(numbers)
        assert len(numbers) == 3
        assert sender.n_chunks == 9

    def test_a_copy_of_the_process_has_a_stream_of_its_own(
        self,
        tiny: Any,
        packet_socket: PacketSocket,
        key: Path,
        sent: list[bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As after a fork. With one nonce for two packets, both would lie open."""
        sender = Sender(packet_socket, tiny, 1, key)
        tokens = np.zeros(tiny.chunk_tokens, np.uint16)
        sender.send(tokens)
        copy = os.getpid() + 1
        monkeypatch.setattr(os, "getpid", lambda: copy)
        sender.send(tokens)
        sender.send(tokens)
        assert sent[0][6:16] < sent[1][6:16] == sent[2][6:16]
        assert [int.from_bytes(packet[2:6], "big") for packet in sent] == [0, 0, 1]

    def test_a_new_stream_after_the_last_sequence(
        self, tiny: Any, packet_socket: PacketSocket, key: Path, sent: list[bytes]
    ) -> None:
        sender = Sender(packet_socket, tiny, 2, key)
        sender._sequence = (1 << 32) - 3
        for _ in range(6):
            sender.send(np.zeros(tiny.chunk_tokens, np.uint16))
        assert [int.from_bytes(packet[2:6], "big") for packet in sent] == [(1 << 32) - 3, 0, 2]
        assert sent[0][6:16] < sent[1][6:16] == sent[2][6:16]
