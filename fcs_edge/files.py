"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` if the block ends without an exception.

    After any exception, interrupts included, the temporary file is removed and `path` is unchanged.

    Parameters
    ----------
    path : Path
        The file to replace or create.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix and a hidden name.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        with temporary.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # Some writers recreate the file with access for its owner only.
        temporary.chmod(mode & 0o777)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_regular(file: BinaryIO) -> bool:
    """Return whether a file is on disk, not a pipe, terminal or device."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:
        return False
