"""Distance of the activations of Whisper's encoder for two sounds."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.mel import mel_filters
from train.losses.spectral import RATE

_RATE = 16000
_WINDOW, _HOP, _BANDS = 400, 160, 80
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class WhisperEncoder(nn.Module):
    """Whisper's encoder (arXiv 2212.04356) on crops, frozen. Gradients pass through.

    Parameters
    ----------
    weights : Path or dict of ndarray
        A model.bin of CTranslate2 in floats, such as that of
        `train.pretrained.whisper.tiny_english`, or the arrays that `read_weights` returns.
    layers : int
        Number of layers that are used.
    """

    window: Tensor
    filters: Tensor
    positions: Tensor

    def __init__(self, weights: Path | Mapping[str, NDArray[Any]], layers: int) -> None:
        super().__init__()
        arrays = read_weights(weights) if isinstance(weights, Path) else weights
        heads = int(arrays["encoder/num_heads"])
        values = floats(arrays, "encoder/")
        self.register_buffer("window", torch.hann_window(_WINDOW))
        self.register_buffer("filters", _mel_filters())
        self.register_buffer("positions", values["position_encodings/encodings"])
        self.convolutions = nn.ModuleList(
            _convolution(values, name, stride) for name, stride in (("conv1", 1), ("conv2", 2))
        )
        self.layers = nn.ModuleList(_Layer(values, f"layer_{i}/", heads) for i in range(layers))
        self.requires_grad_(False)

    def forward(self, sound: Tensor) -> list[Tensor]:
        """Return activations for (batch, samples) at 24 kHz, a multiple of 960 samples.

        Returns
        -------
        list of torch.Tensor
            (batch, frames of 20 ms, width): after the convolutions, and after each layer.
        """
        return self.encode(self.log_mel(_at_16k(sound)))

    def encode(self, mels: Tensor) -> list[Tensor]:
        """Return the same for (batch, bands, 2 x frames) from `log_mel`."""
        x = mels
        for convolution in self.convolutions:
            x = functional.gelu(convolution(x))
        x = x.transpose(1, 2) + self.positions[: x.shape[2]]
        activations = [x]
        for layer in self.layers:
            activations.append(layer(activations[-1]))
        return activations

    def log_mel(self, sound: Tensor) -> Tensor:
        """Return Whisper's (batch, bands, samples / 160) of (batch, samples) at 16 kHz."""
        spectrum = torch.stft(
            sound, _WINDOW, _HOP, window=self.window, return_complex=True
        )[..., :-1]  # fmt: skip
        power = spectrum.real.square() + spectrum.imag.square()
        log = torch.log10((self.filters @ power).clamp(min=1e-10))
        loudest = log.detach().amax((1, 2), keepdim=True)
        return (log.maximum(loudest - 8) + 4) / 4


def distance(output: list[Tensor], target: list[Tensor]) -> Tensor:
    """Return the distance of activations, relative to the mean deviation of each channel.

    d = mean over layers, channels of sum_t |a_t - b_t| / sum_t |b_t - mean b|
    """
    total = torch.zeros((), device=output[0].device)
    for a, b in zip(output, target, strict=True):
        b = b.float()
        deviation = (b - b.mean((0, 1))).abs().mean((0, 1))
        deviation = deviation.maximum(0.1 * deviation.median())
        total = total + ((a.float() - b).abs().mean((0, 1)) / deviation).mean() / len(target)
    return total


class _Layer(nn.Module):
    def __init__(self, values: dict[str, Tensor], prefix: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(
            norm(values, f"{prefix}{part}/layer_norm") for part in ("self_attention", "ffn")
        )
        self.linears = nn.ModuleList(
            linear(values, f"{prefix}{part}/linear_{i}")
            for part in ("self_attention", "ffn")
            for i in (0, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        qkv, out, up, down = self.linears
        first, second = self.norms
        batch, frames, width = x.shape
        parts = qkv(first(x)).view(batch, frames, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts)
        x = x + out(attended.transpose(1, 2).reshape(batch, frames, width))
        y: Tensor = x + down(functional.gelu(up(second(x))))
        return y


def _convolution(values: dict[str, Tensor], name: str, stride: int) -> nn.Conv1d:
    weight = values[f"{name}/weight"]
    layer = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], stride, 1)
    layer.load_state_dict({"weight": weight, "bias": values[f"{name}/bias"]})
    return layer


def floats(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, Tensor]:
    """Return the arrays whose names begin with a prefix as float32, scalars left out."""
    return {
        name.removeprefix(prefix): torch.tensor(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith(prefix) and array.ndim
    }


def linear(values: dict[str, Tensor], name: str) -> nn.Linear:
    """Return a linear layer from CTranslate2's arrays."""
    weight = values[f"{name}/weight"]
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": values[f"{name}/bias"]})
    return layer


def norm(values: dict[str, Tensor], name: str) -> nn.LayerNorm:
    """Return a layer norm from CTranslate2's arrays."""
    layer = nn.LayerNorm(len(values[f"{name}/gamma"]))
    layer.load_state_dict({"weight": values[f"{name}/gamma"], "bias": values[f"{name}/beta"]})
    return layer


def _mel_filters() -> Tensor:
    """Return Slaney's filters of unit area, (bands, bins) float32."""
    bins = np.linspace(0, _RATE / 2, _WINDOW // 2 + 1)
    filters = mel_filters(_BANDS, bins, 0, _RATE / 2, scale="slaney", norm="area")
    return torch.from_numpy(filters.astype(np.float32))


def _at_16k(sound: Tensor) -> Tensor:
    """Return (batch, 3 n) at 24 kHz as (batch, 2 n) at 16 kHz: its spectrum up to 8 kHz."""
    n = sound.shape[1] * _RATE // RATE
    spectrum = torch.fft.rfft(sound)[:, : n // 2 + 1]
    return torch.fft.irfft(spectrum, n) * (_RATE / RATE)


def read_weights(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of a CTranslate2 model.bin, version 6 (opennmt.net/CTranslate2).

    Raises
    ------
    ValueError
        Another version, or a truncated file.
    """
    data = path.read_bytes()
    at = 0

    def number(kind: str) -> int:
        nonlocal at
        value: int = struct.unpack_from("<" + kind, data, at)[0]
        at += struct.calcsize("<" + kind)
        return value

    def name() -> str:
        nonlocal at
        size = number("H")
        at += size
        return data[at - size : at - 1].decode()

    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        if number("I") != 6:
            raise ValueError(f"{path}: not a model of CTranslate2, version 6")
        name()
        number("I")
        for _ in range(number("I")):
            key = name()
            shape = [number("I") for _ in range(number("B"))]
            kind, size = _TYPES[number("B")], number("I")
            arrays[key] = np.frombuffer(data[at : at + size], kind).reshape(shape)
            at += size
    except (struct.error, KeyError) as error:
        raise ValueError(f"{path}: truncated ({error})") from None
    return arrays


def save_small(weights: Path, out: Path) -> None:
    """Write the encoder of a model.bin of floats as safetensors, its matrices in 8 bits."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in read_weights(weights).items():
        if not name.startswith("encoder/"):
            continue
        arrays[name] = values
        if values.ndim == 2 and name.endswith("/weight"):
            x = values.astype(np.float32)
            scale = np.abs(x).max(axis=1, keepdims=True) / 127 + np.float32(1e-12)
            arrays[name], arrays[f"{name}_scale"] = np.rint(x / scale).astype(np.int8), scale
    save_file(arrays, out)


def load_small(path: Path) -> dict[str, NDArray[Any]]:
    """Return what `save_small` wrote, as `read_weights` does, in float32."""
    arrays: dict[str, NDArray[Any]] = load_file(path)
    scales = {name: arrays.pop(name) for name in list(arrays) if name.endswith("_scale")}
    return {name: x * scales.get(f"{name}_scale", np.float32(1)) for name, x in arrays.items()}
