"""What a run starts from: a new codec's weights, or those of a stage before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from train.model import FocalCodecStream

_KNEE = 0.018
"""Of full scale, -35 dB."""


def read_all(start: tuple[Path, ...], device: torch.device) -> dict[str, Any]:
    """Read all that a stage may start from, each file's tensors laid over those before."""
    known: dict[str, Any] = {}
    for path in start:
        given = _read(path, device)
        for part in ("codec", "objective"):
            given[part] = known.get(part, {}) | given.get(part, {})
        known |= given
    return known


def _read(start: Path, device: torch.device) -> dict[str, Any]:
    """Read what a stage may start from: a model file, averaged weights, or a run's state.

    A run's state has discriminators as well, and a model file may; they are taken over as they are,
    to learn anew.

    Raises
    ------
    ValueError
        A run's state whose latents are whitened: its averaged weights have that folded in.
    """
    if start.suffix == ".safetensors":
        with safe_open(start, "pt") as file:
            names = file.keys()
            return by_part({name: file.get_tensor(name).float() for name in names})
    state: dict[str, Any] = torch.load(start, map_location=device, weights_only=True)
    if "average" not in state:
        return state
    if any(".whitening." in name for name in state["average"]):
        raise ValueError(f"{start}: its latents are whitened; start from the average.pt beside it")
    parts = by_part(state["average"])
    hearers = {k: v for k, v in state["hearers"].items() if k != "judge_optimizer"}
    return parts | {"hearers": hearers}


def by_part(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return a codec's tensors, readers' and discriminators', by the first part of their names.

    What begins with none of these is the codec's, by its published name.
    """
    parts: dict[str, Any] = {"codec": {}, "objective": {}, "judges": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = tensor
        else:
            parts["codec"][name] = tensor
    judges = parts.pop("judges")
    return parts | ({"hearers": {"balance": {}, "judges": judges}} if judges else {})


def take_over(known: dict[str, Any], whole: nn.Module) -> int:
    """Take over the tensors that fit; return how many did."""
    taken = 0
    for part in ("codec", "objective"):
        module = getattr(whole, part)
        own = module.state_dict()
        fitting = {
            name: tensor
            for name, tensor in known.get(part, {}).items()
            if name in own and own[name].shape == tensor.shape
        }
        module.load_state_dict(fitting, strict=False)
        taken += len(fitting)
    return taken


@torch.no_grad()
def start_well(codec: FocalCodecStream) -> None:
    """Scale a new codec's weights so that it hears loudness, and starts near silence.

    The first layer's norm takes loudness away, but for its epsilon: y = x / sqrt(var(x) + eps). So
    its filters are scaled until what is _KNEE loud has a variance of eps; some 20 dB on both sides
    can be told then. With larger filters a codec learns as if everything were equally loud.
    Offsets keep the norms after it from enlarging what is next to nothing in silence.
    """
    layers = codec.encoder.feature_extractor.layers
    layers[0].conv.weight.mul_(layers[0].norm.eps ** 0.5 / _KNEE)
    for layer in layers:
        nn.init.normal_(layer.norm.bias, std=0.1)
    codec.decompressor.in_proj.weight.mul_(4)
    codec.decoder.head.proj.weight.mul_(0.1)
    codec.decoder.head.proj.bias.zero_()
