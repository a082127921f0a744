"""The notice about the security of a link."""

from __future__ import annotations

from pathlib import Path

from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.panel import times_text
from fcs_edge.link import keys
from fcs_edge.link.rates import Framing
from fcs_edge.live.statistics import ChunkTimes


def report_security(key: Path | None, messages: Messages) -> None:
    """Note that a link without a key is open, or warn about the permissions of its key file."""
    if key is None:
        messages.note("the link is open: others can listen and send packets; --key seals it")
    elif warning := keys.key_warning(key):
        messages.warn(warning)


def rate_text(framing: Framing, ip_bytes: int) -> str:
    """Return what a link takes on the wire, in one line."""
    rate, most = framing.wire_rate(ip_bytes), "at most " if framing.coded else ""
    return (
        f"on the wire: {most}{rate:.0f} bytes/s, {8e-3 * rate:.2f} kbit/s with IP and UDP headers; "
        f"a packet each {1e3 * framing.chunks * framing.chunk_seconds:.0f} ms"
    )


def chunk_text(times: ChunkTimes) -> str:
    """Return the compute times of a chunk as a part of a line, or that there are none yet."""
    return f"chunk {times_text(times)}" if times.n else times_text(times)
