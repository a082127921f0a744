"""Why a receiver rejects a packet, and what the user can do about it."""

from __future__ import annotations

from typing import Literal, get_args

from fcs_edge.errors import FcsError

VERSION = 2
"""Of packets."""

Reason = Literal[
    "size",
    "format",
    "version",
    "open",
    "sealed",
    "direction",
    "authentication",
    "content",
    "fingerprint",
    "prior",
    "range",
    "unidentified",
    "age",
    "replay",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a receiver rejects a packet, in the order of the checks."""
STRANGE: tuple[Reason, ...] = ("size", "format", "range", "unidentified")
"""Reasons that accidents and strangers cause, so that nobody needs to act."""

TEXTS: dict[Reason, str] = {
    "size": "a packet has the wrong size: another program may send to this port",
    "format": "a packet is not from fcs-edge: another program may send to this port",
    "version": f"a packet is not of version {VERSION}: use the same fcs-edge at both ends",
    "open": "a packet is not sealed: start the sender with the key, or this end without one",
    "sealed": "a packet is sealed: start this end with --key and its half of the sender's key",
    "direction": "a packet comes from this end's half of the key: give the other end the other "
    "half, or someone returns this end's own packets",
    "authentication": "a packet has another key, model or prior, or was modified in transit",
    "content": "a packet holds what this version cannot read: install a newer fcs-edge here",
    "fingerprint": "a packet belongs to another model: start both ends with the same model",
    "prior": "a packet is coded with a prior that is not in this model's file: use the same model "
    "file at both ends, or send without --coded",
    "range": "a packet is damaged: a field is out of range",
    "unidentified": "a packet belongs to a stream whose model is not known yet",
    "age": "a packet's time is further from this machine's clock than --max-age: it is old, or "
    "the clock of one end is wrong",
    "replay": "a packet was received before, or is of an earlier stream: somebody repeats it, or "
    "the sender's clock is behind",
}


class PacketError(FcsError):
    """A rejected packet.

    Attributes
    ----------
    reason : str
        One of `REASONS`.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(TEXTS[reason])
        self.reason: Reason = reason
