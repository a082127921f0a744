"""Files, durations and sizes, as a person says them."""

from __future__ import annotations


def counted_files(number: int) -> str:
    """Return a number of files with its noun."""
    return f"{number:,} {'file' if number == 1 else 'files'}"


def hours_text(hours: float) -> str:
    """Return hours as a person says them: "12.4 h", "7.5 min", "3.2 s"."""
    if hours >= 1:
        return f"{hours:,.1f} h" if hours < 1000 else f"{hours:,.0f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


def length(seconds: float) -> str:
    """Return how much sound there is: hours, where there is one."""
    return clock_time(seconds) if seconds < 3600 else f"{seconds / 3600:,.2f} h"


def clock_time(seconds: float) -> str:
    """Return a duration as a person says it: "12 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size_text(n_bytes: float) -> str:
    """Return a size in the unit that fits it: "12 bytes", "3.46 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
