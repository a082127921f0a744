"""Text from files, devices and packets, fit for a terminal."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Controls of terminals, line ends, marks of writing direction, and halves of surrogate pairs."""


def printable(text: object) -> str:
    r"""Return text on one line, with what could act on a terminal written as an escape.

    Parameters
    ----------
    text : object
        Text of any origin; other objects as `str` writes them.

    Returns
    -------
    str
        The text with controls, line ends and marks of writing direction as ``\x1b`` or ``\u202e``.
        A byte of a file name that is not UTF-8 appears as ``\xff``.
    """
    return _UNPRINTABLE.sub(_escape, str(text))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 gap of the speaker", "2 gaps of the speaker".

    The first word of `noun` takes an s where the number is not 1.
    """
    first, space, rest = noun.partition(" ")
    return f"{number} {first}{'' if number == 1 else 's'}{space}{rest}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        # Python holds a byte that is not UTF-8 in the lower half of a surrogate pair.
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
