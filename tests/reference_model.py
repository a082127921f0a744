"""A plain model: what a checkpoint computes, in NumPy, on whole signals, part by part.

It reads a checkpoint's tensors by their published names, and a ``config.json``. It shares nothing
with the product, so both can be compared: causal and non-causal parts, WaveNeXt and Vocos, tails,
voices. Code search and the names of version 0.0.1 are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from reference_layers import (
    Rows,
    Start,
    convolution,
    depthwise,
    gelu,
    layer_norm,
    linear,
    overlapped,
    padded,
    seeded_noise,
    sigmoid,
    snake,
    softmax,
    surrounded,
    transposed,
)

FOCAL = {
    "focal_level": 2,
    "use_post_norm": False,
    "use_layerscale": False,
    "normalize_modulator": False,
    "causal": False,
    "window_size": 512,
    "hidden_dims": (1024,) * 3,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "encoder": {
        "strides": (5, 2, 2, 2, 2, 2, 2),
        "num_layers": 6,
        "num_heads": 16,
        "num_buckets": 320,
        "max_distance": 800,
        "conv_pos_groups": 16,
        "causal": False,
        "window_size": 512,
        "lookahead_size": 3,
    },
    "compressor": FOCAL | {"downscale_factors": (1,) * 3},
    "decompressor": FOCAL | {"upscale_factors": (1,) * 3, "lookahead_size": 3},
    "decoder": {"num_layers": 8, "n_fft": 1024, "causal": False},
}
"""The keys that shapes do not state, and their defaults."""
HOPS = {"WaveNeXt": 480, "Vocos": 320}


@dataclass
class ReferenceModel:
    """A checkpoint: its configuration, as JSON spells it, and its tensors by name.

    ``dtype`` is the type of all arithmetic. Each method takes and returns a whole signal.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]
    dtype: Any = np.float64

    def encode(self, signal: ArrayLike) -> NDArray[np.int64]:
        """Return the tokens of a signal of at least one sample."""
        return self.quantize(self.latents(self.features(signal)))

    def decode(self, tokens: ArrayLike) -> Rows:
        """Return the samples of at least one token, all of them."""
        return self.synthesize(self.decompress(self.codes(tokens)))

    def features(self, signal: ArrayLike) -> Rows:
        """Return the encoder's features, (frames, dim)."""
        x = self._extracted(np.asarray(signal, self.dtype)[:, None])
        x = linear(self._norm("encoder.norm", x, 1e-5), *self._pair("encoder.feature_proj"))
        x = x + self._positions(x)
        for i in range(self._part("encoder")["num_layers"]):
            name = f"encoder.encoder.layers.{i}"
            x = x + self._attention(
                f"{name}.attention", self._norm(f"{name}.attention_norm", x, 1e-5)
            )
            z = self._norm(f"{name}.feed_forward_norm", x, 1e-5)
            x = x + self._feed_forward(f"{name}.feed_forward", z)
        return x

    def latents(self, features: ArrayLike) -> Rows:
        """Return the compressor's latents, (tokens, bits), rows of unit length."""
        part = self._part("compressor")
        x = np.asarray(features, self.dtype)
        for i, factor in enumerate(part["downscale_factors"]):
            name = f"compressor.layers.{i}"
            after = 0 if part["causal"] else len(x) % factor
            before = factor - 1 if part["causal"] else 0
            x = surrounded(x, before, after, first=True)
            x = convolution(x, *self._pair(f"{name}.downscale.downscale"), stride=factor)
            x = snake(x, self._tensor(f"{name}.downscale.activation.alpha")[:, 0])
            x = self._focal("compressor", f"{name}.focal_block", x)
        x = linear(x, *self._pair("compressor.out_proj"))
        return x / np.maximum(np.sqrt((x * x).sum(1, keepdims=True)), self.dtype(1e-12))

    def quantize(self, latents: Rows) -> NDArray[np.int64]:
        """Return tokens; the first column of latents is the highest bit."""
        bits = latents.shape[1]
        return (latents > 0) @ (1 << np.arange(bits - 1, -1, -1))

    def codes(self, tokens: ArrayLike) -> Rows:
        """Return the codes of tokens, (tokens, bits)."""
        bits = self._tensor("compressor.out_proj.bias").size
        is_set = np.asarray(tokens)[:, None] >> np.arange(bits - 1, -1, -1) & 1
        return (is_set * 2 - 1).astype(self.dtype) / self.dtype(math.sqrt(bits))

    def decompress(self, codes: ArrayLike) -> Rows:
        """Return the decompressor's features, (frames, dim)."""
        part = self._part("decompressor")
        x = linear(np.asarray(codes, self.dtype), *self._pair("decompressor.in_proj"))
        for i in range(len(part["hidden_dims"])):
            name = f"decompressor.layers.{i}"
            x = self._focal("decompressor", f"{name}.focal_block", x)
            x = snake(x, self._tensor(f"{name}.upscale.activation.alpha")[:, 0])
            x = transposed(x, *self._pair(f"{name}.upscale.upscale"))
        if not part["causal"] or part["lookahead_size"] == 0:
            return x
        chunk, width = 1 + part["lookahead_size"], x.shape[1]
        chunks = surrounded(x, 0, -len(x) % chunk).reshape(-1, chunk * width)
        chunks = chunks + self._feed_forward("decompressor.refiner", chunks)
        return chunks.reshape(-1, width)[: len(x)]

    def synthesize(self, features: ArrayLike) -> Rows:
        """Return the decoder's samples, (samples,)."""
        part, is_vocos = self._part("decoder"), self.config["decoder_name"] == "Vocos"
        replicate: Start = "first row" if is_vocos else "zeros"
        start: Start = replicate if part["causal"] else "both sides"
        name = "decoder.backbone"
        weight, bias = self._pair(f"{name}.embedding")
        x = np.asarray(features, self.dtype)
        noise = seeded_noise(len(x), weight.shape[1] - x.shape[1])
        x = padded(np.concatenate([x, noise.astype(self.dtype)], 1), weight.shape[2], start)
        x = self._norm(f"{name}.input_norm", convolution(x, weight, bias), 1e-6)
        for i in range(part["num_layers"]):
            layer = f"{name}.layers.{i}"
            z = depthwise(x, *self._pair(f"{layer}.dwconv"), start)
            z = linear(self._norm(f"{layer}.norm", z, 1e-6), *self._pair(f"{layer}.pwconv1"))
            z = linear(gelu(z), *self._pair(f"{layer}.pwconv2"))
            x = x + self._tensor(f"{layer}.gamma") * z
        x = linear(self._norm(f"{name}.output_norm", x, 1e-6), *self._pair("decoder.head.proj"))
        if is_vocos:
            return self._inverse_stft(x)
        return np.clip(overlapped(x, part.get("hop_length", HOPS["WaveNeXt"])), -1, 1).ravel()

    def converted(self, features: Rows, voice: Rows, topk: int = 4) -> Rows:
        """Return features, each row replaced by the mean of the nearest rows of a voice."""
        lengths = np.sqrt((features**2).sum(1)[:, None] * (voice**2).sum(1))
        nearest = np.argsort(1 - features @ voice.T / lengths, 1, kind="stable")
        return voice[nearest[:, : min(topk, len(voice))]].mean(1)

    def _part(self, name: str) -> dict[str, Any]:
        return DEFAULTS[name] | dict(self.config.get(f"{name}_config", {}))

    def _tensor(self, name: str) -> Rows:
        return np.asarray(self.tensors[name], self.dtype)

    def _pair(self, name: str) -> tuple[Rows, Rows]:
        return self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")

    def _norm(self, name: str, x: Rows, epsilon: float) -> Rows:
        return layer_norm(x, *self._pair(name), epsilon)

    def _feed_forward(self, name: str, x: Rows) -> Rows:
        hidden = gelu(linear(x, *self._pair(f"{name}.in_proj")))
        return linear(hidden, *self._pair(f"{name}.out_proj"))

    def _extracted(self, x: Rows) -> Rows:
        part = self._part("encoder")
        for i, stride in enumerate(part["strides"]):
            name = f"encoder.feature_extractor.layers.{i}"
            weight = self._tensor(f"{name}.conv.weight")
            taps = weight.shape[2]
            if part["causal"]:
                x = padded(x, taps, "first row")
            else:
                x = surrounded(x, 0, max(0, taps - len(x)))
            x = gelu(self._norm(f"{name}.norm", convolution(x, weight, stride=stride), 1e-5))
        return x

    def _positions(self, x: Rows) -> Rows:
        part = self._part("encoder")
        weight, bias = self._pair("encoder.encoder.positional_embedding.conv")
        taps = weight.shape[2]
        if part["causal"]:
            source = padded(x, taps, "first row")
        else:
            source = surrounded(x, taps // 2, taps // 2)
        y = convolution(source, weight, bias, groups=part["conv_pos_groups"])
        return gelu(y[: len(x)])

    def _attention(self, name: str, z: Rows) -> Rows:
        part = self._part("encoder")
        rows, heads = len(z), part["num_heads"]
        qkv = linear(z, *self._pair(f"{name}.qkv_proj"))
        q, k, v = qkv.reshape(rows, 3, heads, -1).transpose(1, 2, 0, 3)
        sliced = z.reshape(rows, heads, -1)
        eight = linear(sliced, *self._pair(f"{name}.gru_rel_pos_linear"))
        a, b = sigmoid(eight.reshape(rows, heads, 2, 4).sum(-1)).transpose(2, 1, 0)
        gate = a * (b * self._tensor(f"{name}.gru_rel_pos_const").reshape(-1, 1) - 1) + 2
        scale = self.dtype(1 / math.sqrt(q.shape[2]))
        scores = q @ k.transpose(0, 2, 1) * scale + gate[:, :, None] * self._bias(rows)
        scores = np.where(self._seen(rows), scores, -np.inf)
        joined = (softmax(scores) @ v).transpose(1, 0, 2).reshape(rows, -1)
        return linear(joined, *self._pair(f"{name}.out_proj"))

    def _bias(self, rows: int) -> Rows:
        """Return the position bias of every query and key, (heads, rows, rows)."""
        part = self._part("encoder")
        half, exact = part["num_buckets"] // 2, part["num_buckets"] // 4
        distance = np.arange(rows) - np.arange(rows)[:, None]
        scaled = np.maximum(abs(distance), 1).astype(np.float32) / np.float32(exact)
        share = np.log(scaled) / np.float32(math.log(part["max_distance"] / exact))
        far = (share * np.float32(half - exact) + np.float32(exact)).astype(np.int64)
        bucket = np.where(abs(distance) < exact, abs(distance), np.minimum(half - 1, far))
        bucket += np.where(distance > 0, half, 0)
        return self._tensor("encoder.encoder.relative_embedding.weight")[bucket].transpose(2, 0, 1)

    def _seen(self, rows: int) -> NDArray[np.bool_]:
        """Return which keys each query sees, (rows, rows)."""
        part, keys = self._part("encoder"), np.arange(rows)
        if not part["causal"]:
            return np.ones((rows, rows), np.bool_)
        chunk = 1 + part["lookahead_size"]
        end = np.minimum(chunk * (keys // chunk + 1), rows)[:, None]
        return (keys < end) & (keys >= end - part["window_size"])

    def _focal(self, stage: str, name: str, x: Rows) -> Rows:
        part = self._part(stage)

        def modulation(y: Rows) -> Rows:
            return self._modulation(stage, f"{name}.modulation", y)

        def feed_forward(y: Rows) -> Rows:
            return self._feed_forward(f"{name}.feed_forward", y)

        for branch, apply in (("modulation", modulation), ("feed_forward", feed_forward)):
            norm = f"{name}.{branch}_norm"
            if part["use_post_norm"]:
                y = self._focal_norm(part, norm, apply(x))
            else:
                y = apply(self._focal_norm(part, norm, x))
            x = x + (self._tensor(f"{name}.{branch}_gamma") * y if part["use_layerscale"] else y)
        return x

    def _focal_norm(self, part: dict[str, Any], name: str, x: Rows) -> Rows:
        if part["causal"]:
            return np.tanh(self._tensor(f"{name}.alpha") * x)
        return self._norm(name, x, 1e-5)

    def _modulation(self, stage: str, name: str, x: Rows) -> Rows:
        part, width = self._part(stage), x.shape[1]
        level, start = part["focal_level"], "first row" if part["causal"] else "both sides"
        columns = linear(x, *self._pair(f"{name}.in_proj"))
        query, context, gates = np.split(columns, [width, 2 * width], 1)
        total = np.zeros_like(query)
        for i in range(level + 1 if part["causal"] else level):
            weight, bias = self._pair(f"{name}.layers.{i}.0")
            context = gelu(depthwise(context, weight, bias, start))
            total += context * gates[:, i : i + 1]
        if not part["causal"]:
            total += gelu(context.mean(0, keepdims=True)) * gates[:, level:]
        if part["normalize_modulator"]:
            total = total / self.dtype(level + 1)
        weight, bias = self._pair(f"{name}.context_proj")
        out = query * linear(total, weight[:, :, 0], bias)
        if part["use_post_norm"]:
            out = self._focal_norm(part, f"{name}.norm", out)
        return linear(out, *self._pair(f"{name}.out_proj"))

    def _inverse_stft(self, x: Rows) -> Rows:
        """Return the samples of rows of log magnitudes and phases."""
        part = self._part("decoder")
        size, hop = part["n_fft"], part.get("hop_length", HOPS["Vocos"])
        magnitude = np.minimum(np.exp(x[:, : size // 2 + 1]), 100)
        spectra = magnitude * np.exp(1j * x[:, size // 2 + 1 :])
        frames = np.fft.irfft(spectra, size, 1).astype(self.dtype)
        if part["causal"]:
            return frames[:, size - hop :].ravel()
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        total, envelope = np.zeros((2, (len(x) - 1) * hop + size), self.dtype)
        for t, frame in enumerate(frames):
            total[t * hop :][:size] += window * frame
            envelope[t * hop :][:size] += window * window
        inner = slice((size - hop) // 2, len(total) - (size - hop) // 2)
        return total[inner] / envelope[inner]
