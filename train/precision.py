"""What is computed in: passes forward and back, and products of Muon, in what is fast here."""

from __future__ import annotations

import torch


def fast(device: torch.device) -> torch.dtype:
    """Return the type of number in which large products are the fastest on a device.

    That is bfloat16, but for processors that have no instructions of 512 bits: there PyTorch takes
    several times as long for it as for float32.
    """
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return torch.float32
    return torch.bfloat16


def autocast(device: torch.device) -> torch.autocast:
    """Return a context in which large products are computed in what is fast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast(device) == torch.bfloat16)
