"""Measure what a flood of foreign packets costs a receiver: lost chunks, and time of a core.

    python scripts/measure_flood.py
    python scripts/measure_flood.py --rate 200000 --buffer 212992

`fcs-edge receive` runs on core 0. A process on core 1 sends the flood for 10 s. This process sends
the stream, 12.5 packets a second. One line is printed for each kind of flood:

- junk: random bytes
- foreign: packets of random streams, open or sealed with random keys
- forged: packets of the stream itself with a wrong tag, each of a chunk that the receiver expects
  next; on a sealed link only
- replayed: the stream's own first packets

`--buffer` is the memory to ask for packets that wait. The default is what `receive` asks for. An
unprivileged user gets no more than `net.core.rmem_max`, often 212992.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fcs_edge
from fcs_edge.codec import Codec
from fcs_edge.link.datagrams import message_array
from fcs_edge.link.keys import new_key, read_key
from fcs_edge.link.packets import Packet, PacketFormat, write_packet
from fcs_edge.link.records import new_stream
from fcs_edge.link.seal import DirectionKey

CHUNKS = 1000
LINKS = ("open", "sealed")
KINDS = ("junk", "foreign", "forged", "replayed")
LEAD_CHUNKS = 13
EXPECTED_CHUNKS = 25
"""Chunks ahead of the stream whose packets a receiver reads, whatever their number."""
RECEIVE = (
    "import sys; from fcs_edge.link import sockets; sockets.BUFFER_BYTES = int(sys.argv[1]);"
    "from fcs_edge.cli.main import main; main(sys.argv[2:])"
)


@dataclass(frozen=True)
class Stream:
    """The stream that the receiver plays."""

    form: PacketFormat
    number: int
    key: DirectionKey | None

    def packet(self, sequence: int, number: int | None = None) -> bytes:
        """Return a packet of silence of this stream, or of another one."""
        tokens = np.zeros(self.form.chunk_tokens, np.uint16)
        stream = self.number if number is None else number
        identified = self.key is None and sequence % 12 == 0
        return write_packet(self.form, Packet(stream, sequence, tokens, identified), self.key)


def flood(kind: str, stream: Stream) -> list[bytes]:
    """Return the packets of a flood, which are sent again and again."""
    random = np.random.default_rng(1)
    if kind == "junk":
        return [random.bytes(40) for _ in range(CHUNKS)]
    if kind == "replayed":
        return [stream.packet(i) for i in range(LEAD_CHUNKS)] * (CHUNKS // LEAD_CHUNKS)
    if kind == "forged":
        own = [stream.packet(i) for i in range(CHUNKS)]
        return [packet[:-1] + bytes([packet[-1] ^ 1]) for packet in own]
    key = None if stream.key is None else DirectionKey(bytes(32), 0)
    other = Stream(stream.form, 0, key)
    later = [stream.number + (int(random.integers(1, 1 << 32)) << 40) for _ in range(CHUNKS)]
    return [other.packet(i, number) for i, number in enumerate(later)]


def ahead(begin: float, chunk: float) -> tuple[int, int]:
    """Return the first and the end of the packets that a stream has ahead, by its start."""
    first = int((time.monotonic() - begin) / chunk) + 1
    return first, first + EXPECTED_CHUNKS


def send_flood(
    port: int, rate: float, seconds: float, packets: list[bytes], follow: list[float] | None
) -> None:
    """Send packets at a rate, all or those ahead of a stream; print how many were sent."""
    buffers = [bytearray(packet) for packet in packets]
    messages = message_array(buffers)
    many_at_once = ctypes.CDLL(None).sendmmsg
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        start, sent, at = time.perf_counter(), 0, 0
        first, end = 0, len(packets)
        while (elapsed := time.perf_counter() - start) < seconds:
            if follow is not None:
                first, end = ahead(*follow)
            if not first <= at < end:
                at = first
            due = min(int(elapsed * rate) - sent, end - at)
            if due <= 0:
                time.sleep(0.0005)
                continue
            place = ctypes.byref(messages, at * ctypes.sizeof(messages[0]))
            done = max(0, many_at_once(sock.fileno(), place, due, 0))
            sent, at = sent + done, at + done
    print(sent)


def processor_seconds(process: int) -> float:
    """Return the time of a core that a process has used, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_receiver(port: int, folder: Path, key: Path | None, buffer: int) -> subprocess.Popen[str]:
    """Start `receive` on core 0, and wait until it listens."""
    record = ["--monitor", "off", "--force", "--record-output", str(folder / "received.wav")]
    options = [*record, *(() if key is None else ("--key", str(key)))]
    receiver = subprocess.Popen(
        [*pinned(0), "-c", RECEIVE, str(buffer), "receive", str(port), *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert receiver.stderr is not None
    while "listening at" not in receiver.stderr.readline():
        if receiver.poll() is not None:
            raise SystemExit("receive did not start")
    return receiver


def pinned(core: int) -> list[str]:
    """Return the start of a command that runs Python on one core."""
    return ["taskset", "-c", str(core), sys.executable]


def measure(codec: Codec, kind: str, sealed: bool, options: argparse.Namespace) -> str:
    """Return a line about one flood."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = (folder / "link.key", folder / "link.peer.key") if sealed else (None, None)
        if keys[0] is not None:
            new_key(keys[0])
        key = None if keys[1] is None else read_key(keys[1]).outgoing
        stream = Stream(PacketFormat.of(codec), new_stream(keys[1])[0], key)
        packets = flood(kind, stream)
        (folder / "flood").write_text("\n".join(packet.hex() for packet in packets))
        port = 20000 + os.getpid() % 10000
        receiver = start_receiver(port, folder, keys[0], options.buffer)
        attack = [*pinned(1), __file__, "--flood", str(folder / "flood"), str(port)]
        attack += ["--rate", str(options.rate), "--seconds", str(options.seconds)]
        return line(*run(stream, receiver, port, attack, options, codec.latency, kind))


def run(
    stream: Stream,
    receiver: subprocess.Popen[str],
    port: int,
    attack: list[str],
    options: argparse.Namespace,
    chunk: float,
    kind: str,
) -> tuple[int, int, float, float, str]:
    """Send the stream, and the flood during it; return what it cost."""
    n_flooded = round(options.seconds / chunk)
    used, start = 0.0, time.monotonic()
    attacker = None
    if kind == "forged":
        attack = [*attack, "--follow", str(start), str(chunk)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for i in range(LEAD_CHUNKS + n_flooded + LEAD_CHUNKS):
            time.sleep(max(0.0, start + i * chunk - time.monotonic()))
            if i == LEAD_CHUNKS:
                used, since = processor_seconds(receiver.pid), time.monotonic()
                attacker = subprocess.Popen(attack, stdout=subprocess.PIPE, text=True)
            if i == LEAD_CHUNKS + n_flooded:
                used = (processor_seconds(receiver.pid) - used) / (time.monotonic() - since)
            sock.sendto(stream.packet(i), ("127.0.0.1", port))
    time.sleep(0.5)
    assert attacker is not None
    sent = int(attacker.communicate()[0])
    receiver.send_signal(signal.SIGINT)
    last = receiver.communicate()[1].splitlines()[-1]
    total = 2 * LEAD_CHUNKS + n_flooded
    played = int(re.findall(r"(\d+) chunks? played", last)[0])
    return total, total - played, sent / options.seconds, used, last


def line(total: int, lost: int, rate: float, used: float, last: str) -> str:
    """Return the costs as text."""
    return f"{rate:8.0f}/s: {lost} of {total} chunks lost, {used:.2f} of a core\n    {last}"


def main() -> None:
    """Measure each kind of flood, or send one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100_000, help="packets a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--buffer", type=int, default=1 << 22, help="bytes of the socket's buffer")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument(
        "--links", nargs="+", choices=("open", "sealed"), default=("open", "sealed")
    )
    parser.add_argument("--flood", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--follow", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        packets = [bytes.fromhex(text) for text in Path(options.flood[0]).read_text().split()]
        port = int(options.flood[1])
        send_flood(port, options.rate, options.seconds, packets, options.follow)
        return
    codec = fcs_edge.load()
    for link in options.links:
        for kind in options.kinds:
            if (link, kind) == ("open", "forged"):
                continue
            text = measure(codec, kind, link == "sealed", options)
            print(f"{link:6} {kind:8} {text}", flush=True)


if __name__ == "__main__":
    main()
