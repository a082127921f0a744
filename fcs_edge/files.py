"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path`, which takes its place when the block ends well.

    On any exception, an interrupt too, the temporary file is removed and `path` stays as it
    was.

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
        # Some writers make the file anew, readable by its owner alone.
        temporary.chmod(mode & 0o777)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
