"""A stub of torchaudio, for packages that import it but do not need it here."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec


@contextlib.contextmanager
def stub_torchaudio() -> Iterator[None]:
    """Put an empty module in torchaudio's place. A release for another torch may not load."""
    if "torchaudio" in sys.modules:
        yield
        return
    stub = types.ModuleType("torchaudio")
    stub.__spec__ = ModuleSpec("torchaudio", None)
    sys.modules["torchaudio"] = stub
    try:
        yield
    finally:
        del sys.modules["torchaudio"]
