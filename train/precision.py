"""The number type of large products: bfloat16 where it is fast, else float32."""

from __future__ import annotations

import torch


def fast(device: torch.device) -> torch.dtype:
    """Return the number type in which large products are fastest on a device.

    That is bfloat16, except on processors without AVX-512, where PyTorch takes several times as
    long as with float32.
    """
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return torch.float32
    return torch.bfloat16


def autocast(device: torch.device) -> torch.autocast:
    """Return a context that computes large products in the fast number type."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast(device) == torch.bfloat16)
