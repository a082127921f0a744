"""An archive like that of Flight of the Amazon Queen."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile


def tone(hz: float) -> bytes:
    """Return a second of it as MP3, 11,025 Hz."""
    file = io.BytesIO()
    sound = 0.5 * np.sin(2 * np.pi * hz * np.arange(11025) / 11025)
    soundfile.write(file, sound, 11025, format="MP3")
    return file.getvalue()


def archive(files: dict[str, bytes], packed: int = 1) -> bytes:
    """Return files with the table that ScummVM gives them."""
    at = 15 + 21 * len(files)
    head = struct.pack(">4s6sBBBH", b"QTBL", b"CEM10", 0, 0, packed, len(files))
    for name, data in files.items():
        head += struct.pack(">12sBII", name.encode(), 1, at, len(data))
        at += len(data)
    return head + b"".join(files.values())
