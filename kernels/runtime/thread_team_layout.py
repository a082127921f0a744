"""Where the words of a team lie in memory, and the names of its compiled functions.

A team is an array of int64. Words that several threads write are on cache lines of their own.
"""

_LINE = 16
"""Words of two cache lines: a CPU may fetch two at once."""

ARRIVED, STATUS, ENDED, MEMBERS = 0, _LINE, 2 * _LINE, 3 * _LINE
"""Arrivals at barriers so far; 0, or what failed; whether the team ends; and how many members there
are."""

MAX_SLEEPS, BASES = MEMBERS + 1, MEMBERS + 2
"""How often a wait at a barrier sleeps before it gives up; the address of the bases of a run."""

CORES = BASES + 1
"""A word for each member: the core that it ran on last, counted from 1. They change rarely."""

FIRST_MEMBER, MEMBER_WORDS = 4 * _LINE, _LINE
STATE, LIST, LENGTH, TARGET, SEMAPHORE = 0, 1, 2, 3, 4
"""Words of a member: its state, the address and the steps of its list, the arrivals that its last
barrier waited for, and a semaphore of the C library, which is four words long."""

AWAKE, POSTED, ASLEEP = 0, 1, 2
"""States of a member: it looks for a list, one is there, or it sleeps."""

GAVE_UP = -1
"""The status after a wait that took too long."""

OPEN, RUN, WORK, STOP = (f"fcs_edge_team_{name}" for name in ("open", "run", "work", "stop"))
