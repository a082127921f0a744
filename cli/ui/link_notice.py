"""The notice about the security of a link."""

from __future__ import annotations

from pathlib import Path

from fcs_edge.cli.ui.messages import Messages
from fcs_edge.link import keys


def report_security(key: Path | None, messages: Messages) -> None:
    """Note that a link without a key is open, or warn about the permissions of its key file."""
    if key is None:
        messages.note("the link is open: others can listen and send packets; --key seals it")
    elif warning := keys.key_warning(key):
        messages.warn(warning)
