"""All test vectors of the `.fcs` bitstream, in the order of their page."""

from __future__ import annotations

from dataclasses import replace

from vector_base import Events
from vector_damage import DAMAGE, SALVAGE
from vector_hostile import HOSTILE
from vector_protection import PROTECTION
from vector_starts import REFUSED, STARTS
from vector_whole import ANSWERS, WHOLE

KINDS = {
    "Streams that are whole": WHOLE,
    "Answers to open questions": ANSWERS,
    "Damage": DAMAGE,
    "Starts that are missing or damaged": STARTS,
    "Records that are wrong although their CRC holds": HOSTILE,
    "Refused": REFUSED,
    "Damaged blocks that play": SALVAGE,
    "Protected files": PROTECTION,
}


def _merged(events: Events) -> Events:
    """Return events with adjacent ones of tokens joined."""
    merged: Events = []
    for kind, *values in events:
        if kind == "tokens" and merged and merged[-1][0] == kind:
            merged[-1] = [kind, merged[-1][1] + values[0]]
        else:
            merged.append([kind, *values])
    return merged


VECTORS = [replace(v, events=_merged(v.events)) for group in KINDS.values() for v in group]
