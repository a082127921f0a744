"""The start of a run: weights of a new codec, or those of an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from train.model import FocalCodecStream

_KNEE = 0.018
"""Share of full scale, -35 dB."""

FORMER_PARTS = {"judges": "discriminators"}
"""Former first parts of tensor names in files to start from, and the present ones."""

FORMER_OBJECTIVE = {
    "heard.": "tokens.distillation.encoder.",
    "kept.": "tokens.distillation.decoded.",
    "echo.reader.": "tokens.flips.probe.",
    "told.looks.": "tokens.spectrum.spectra.",
    "told.reader.": "tokens.spectrum.probe.",
    "looks.": "spectra.spectra.",
    "pitch.": "spectra.pitch.",
}
"""Former beginnings of the names of an objective's tensors, and the present ones."""


def read_all(start: tuple[Path, ...], device: torch.device) -> dict[str, Any]:
    """Read the files that a stage starts from. Tensors of later files replace earlier ones."""
    parts: dict[str, Any] = {}
    for path in start:
        of_file = _read(path, device)
        for part in ("codec", "objective"):
            of_file[part] = parts.get(part, {}) | of_file.get(part, {})
        parts |= of_file
    return parts


def _read(start: Path, device: torch.device) -> dict[str, Any]:
    """Read a file to start from: safetensors, averaged weights, or the state of a run.

    The state of a run has discriminators, and a safetensors file may have them. Their optimizer
    starts anew.

    Raises
    ------
    ValueError
        The latents of a run's state are whitened. Its averaged weights contain the whitening.
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
    perceptual = {k: v for k, v in state["perceptual"].items() if k != "discriminator_optimizer"}
    return parts | {"perceptual": perceptual}


def by_part(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return tensors of the codec, the objective and the discriminators, by their names.

    A name that begins with none of the parts is a published name of the codec. Former names are
    mapped to the present ones.
    """
    parts: dict[str, Any] = {"codec": {}, "objective": {}, "discriminators": {}}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        part = FORMER_PARTS.get(first, first)
        if part == "objective":
            parts[part][_present_name(rest)] = tensor
        elif part in parts:
            parts[part][rest] = tensor
        else:
            parts["codec"][name] = tensor
    discriminators = parts.pop("discriminators")
    if discriminators:
        parts["perceptual"] = {"balance": {}, "discriminators": discriminators}
    return parts


def _present_name(name: str) -> str:
    """Return the present name of an objective's tensor."""
    for former, present in FORMER_OBJECTIVE.items():
        if name.startswith(former):
            return present + name.removeprefix(former)
    return name


def take_over(parts: dict[str, Any], model: nn.Module) -> int:
    """Load the tensors that fit into a `TrainingModel`; return their number."""
    count = 0
    for part in ("codec", "objective"):
        module = getattr(model, part)
        own = module.state_dict()
        fitting = {
            name: tensor
            for name, tensor in parts.get(part, {}).items()
            if name in own and own[name].shape == tensor.shape
        }
        module.load_state_dict(fitting, strict=False)
        count += len(fitting)
    return count


@torch.no_grad()
def scale_new_weights(codec: FocalCodecStream) -> None:
    """Scale the weights of a new codec so that it detects level, and starts near silence.

    The first layer's norm removes the level, except for its epsilon: y = x / sqrt(var(x) + eps).
    So its filters are scaled until an input at `_KNEE` has a variance of eps. The level then shows
    within about 20 dB of that. With larger filters all levels would look the same. Biases keep the
    next norms from amplifying silence.
    """
    layers = codec.encoder.feature_extractor.layers
    layers[0].conv.weight.mul_(layers[0].norm.eps ** 0.5 / _KNEE)
    for layer in layers:
        nn.init.normal_(layer.norm.bias, std=0.1)
    codec.decompressor.in_proj.weight.mul_(4)
    codec.decoder.head.proj.weight.mul_(0.1)
    codec.decoder.head.proj.bias.zero_()
