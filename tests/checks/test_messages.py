"""Every message is reviewed: a changed one shows in the diff of a list."""

from __future__ import annotations

from pathlib import Path

import check_prose

LIST = Path(__file__).parents[1] / "data" / "messages.txt"


def test_every_message_is_in_the_list() -> None:
    listed, found = LIST.read_text().splitlines(), check_prose.messages()
    assert len(found) > 300
    update = (
        "review them, then: python3 scripts/check_prose.py --messages > tests/data/messages.txt"
    )
    assert sorted(set(found) - set(listed)) == [], f"new messages: {update}"
    assert sorted(set(listed) - set(found)) == [], f"messages that are gone: {update}"
