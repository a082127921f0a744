"""Replace the part of a page between two marks: what scripts write into docs."""

from __future__ import annotations


def with_part(page: str, content: str, begin: str, end: str) -> str:
    """Return a page with other lines between two marks, which stay.

    Raises
    ------
    SystemExit
        The page lacks a mark.
    """
    before, first, rest = page.partition(f"{begin}\n")
    _, last, after = rest.partition(end)
    if not (first and last):
        raise SystemExit(f"a page lacks the marks {begin} and {end}")
    return f"{before}{begin}\n{content.rstrip()}\n{end}{after}"
