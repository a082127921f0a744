"""What mkdocs runs while it builds the site: mkdocs.yml names this file."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import check_types

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_startup(**_: Any) -> None:
    """Lay the packages out as they are installed, for the API reference to read."""
    check_types.make_tree()


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links to files outside docs/ into text: the site does not hold those files.

    `tests/test_readme.py` checks that such a file exists.
    """
    folder = Path(page.file.abs_src_path).parent
    docs = check_types.ROOT / "docs"

    def text(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        outside = "://" not in match[2] and not target.is_relative_to(docs)
        return match[1] if outside and target.exists() else match[0]

    return _LINK.sub(text, markdown)
