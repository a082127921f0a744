"""What a link takes on the wire, in bytes a second."""

from __future__ import annotations

from dataclasses import dataclass

from fcs_edge.link.packets import (
    FINGERPRINT_BYTES,
    MAX_CHUNKS,
    MAX_PACKET,
    PacketFormat,
)
from fcs_edge.link.seal import CHECK_BYTES

IPV4_BYTES, IPV6_BYTES = 28, 48
"""Bytes of the IP and UDP headers of a packet."""
IDENTIFIED_SECONDS = 1.0
"""Longest time between two packets that carry the model's fingerprint, on an open link."""
LONGEST_SECONDS = 1.0
"""Longest sound in a packet."""
# A model's chunk may be any number of samples, and its duration is not exact.
_MARGIN = 1e-6


@dataclass(frozen=True)
class Framing:
    """How a sender makes packets.

    Attributes
    ----------
    form : PacketFormat
        The model.
    chunk_seconds : float
        Duration of a chunk.
    chunks : int
        Chunks a packet.
    sealed, coded, redundant : bool
        Whether packets are sealed, coded, and carry the packet before as well.
    """

    form: PacketFormat
    chunk_seconds: float
    chunks: int
    sealed: bool
    coded: bool = False
    redundant: bool = False

    @property
    def size(self) -> int:
        """Bytes of a packet without fingerprint, IP and UDP headers, of tokens as they are."""
        before = self.chunks if self.redundant else None
        return self.form.packet_size(self.chunks, sealed=self.sealed, before=before)

    def wire_rate(self, ip_bytes: int = IPV4_BYTES, size: float | None = None) -> float:
        """Return the bytes a second on the wire, at most: coded packets may be shorter.

        Parameters
        ----------
        ip_bytes : int, optional
            Bytes of the IP and UDP headers of a packet.
        size : float, optional
            Mean bytes of a packet, in place of `size`.
        """
        seconds = self.chunks * self.chunk_seconds
        rate = (ip_bytes + (self.size if size is None else size)) / seconds
        if self.sealed:
            return rate
        name = FINGERPRINT_BYTES + (CHECK_BYTES if self.coded else 0)
        return rate + name / max(seconds, identify_every(self.chunk_seconds) * self.chunk_seconds)


def identify_every(chunk_seconds: float) -> int:
    """Return the chunks from one naming of the model to the next: what a second holds."""
    return max(1, int(IDENTIFIED_SECONDS / chunk_seconds + _MARGIN))


def longest_packet(form: PacketFormat, chunk_seconds: float, redundant: bool) -> int:
    """Return the most chunks that a packet may have: 12, a second of them, or what fits."""
    most = min(MAX_CHUNKS, max(1, int(LONGEST_SECONDS / chunk_seconds + _MARGIN)))
    for chunks in range(most, 1, -1):
        size = form.packet_size(chunks, sealed=True, before=chunks if redundant else None)
        if size <= MAX_PACKET:
            return chunks
    return 1
