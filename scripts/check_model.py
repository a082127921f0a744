"""Check the name, the size and the SHA-256 of the built-in model.

    python scripts/check_model.py

A release that replaces the model replaces these three facts too.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "fcs_edge" / "data"
NAME = "edge-65k.safetensors"
SIZE = 8_077_560
"""Bytes."""
SHA256 = "5e73b4486b6c9761e682b008103b80d75d21c141aa5523eb17d790cdf3b2731e"


def problem(folder: Path) -> str | None:
    """Return what is wrong with the model in a folder, None where nothing is."""
    models = sorted(path.name for path in folder.glob("*.safetensors"))
    if models != [NAME]:
        return f"{folder} holds {', '.join(models) or 'no model'}, not {NAME} alone"
    data = (folder / NAME).read_bytes()
    if len(data) != SIZE:
        return f"{NAME} has {len(data)} bytes, not {SIZE}"
    digest = hashlib.sha256(data).hexdigest()
    return None if digest == SHA256 else f"{NAME} has the SHA-256 {digest}, not {SHA256}"


if __name__ == "__main__":
    found = problem(FOLDER)
    if found:
        sys.exit(f"check_model: {found}")
    print(f"{NAME}: {SIZE} bytes, SHA-256 {SHA256}")
