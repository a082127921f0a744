"""The stages of a model, prepared at their first use, and what they do with whole arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np

from fcs_edge.model import quantizer
from fcs_edge.model.code_search import Search
from fcs_edge.model.compressor import Compressor
from fcs_edge.model.decoder import Decoder
from fcs_edge.model.decompressor import Decompressor
from fcs_edge.model.encoder import Encoder
from fcs_edge.model.layers import F32, U16, State, new
from fcs_edge.model.voice_rows import VoiceStage
from fcs_edge.model.whole_blocks import BLOCK_ROWS, rows_of
from fcs_edge.model.whole_compressor import WholeCompressor
from fcs_edge.model.whole_decoder import WholeDecoder
from fcs_edge.model.whole_decompressor import WholeDecompressor
from fcs_edge.model.whole_encoder import WholeEncoder
from fcs_edge.modelfile.model_file import ModelFile

StateT = TypeVar("StateT", bound=State)

_ENCODER_SHARE = 0.75
"""Share of the work of encoding a whole signal that the encoder is counted as."""

Progress = Callable[[float], None]


class Stage(Protocol[StateT]):
    """Encoder, compressor, decompressor or decoder."""

    def state(self, size: int, /) -> StateT:
        """Return the state of a new stream whose calls take up to `size` rows or chunks."""

    def __call__(self, x: F32, out: F32, state: StateT, /) -> None:
        """Write the stage's output of x into out, and advance the state."""


class PreparedStages:
    """The stages of one model. Arguments are not checked.

    Parameters
    ----------
    model : ModelFile
        A checked model file.
    block_chunks : int
        Chunks per step of a causal stage over a whole array.
    """

    def __init__(self, model: ModelFile, block_chunks: int) -> None:
        self._model, self._config = model, model.config
        self._block_chunks = block_chunks
        self._block_tokens = block_chunks * model.config.decoded_tokens

    def prepare(self, *names: str) -> None:
        """Prepare stages now: threads that need one at the same time would each do it."""
        for name in names:
            causal = getattr(self._config, name).causal
            getattr(self, name if causal else f"whole_{name}")

    def features(self, samples: F32, on_progress: Progress | None = None) -> F32:
        """Return the features of a whole signal; `on_progress` takes the share done."""
        config = self._config.encoder
        if not config.causal:
            return self.whole_encoder(samples, on_progress)
        out = new(math.ceil(samples.size / config.frame_size), config.dim)
        state, frames = self.encoder.state(self._block_chunks), config.chunk_frames
        frames *= self._block_chunks
        return _run(self.encoder, state, samples, frames * config.frame_size, out, frames)

    def latents(self, features: F32, on_progress: Progress | None = None) -> F32:
        """Return the latents of features, (frames, dim), before the code search."""
        if not self._config.compressor.causal:
            return self.whole_compressor(features, on_progress)
        per_token, tokens = self._config.frames_per_token, self._block_tokens
        out = new(math.ceil(features.shape[0] / per_token), self._config.bits_per_token)
        rows = tokens * per_token
        return _run(self.compressor, self.compressor.state(rows), features, rows, out, tokens)

    def quantize(self, latents: F32) -> U16:
        """Return the tokens of latents by their signs."""
        out = np.empty(latents.shape[0], np.uint16)
        quantizer.quantize(latents, out)
        return out

    def codes(self, tokens: U16) -> F32:
        """Return the codes of tokens."""
        out = new(tokens.size, self._config.bits_per_token)
        quantizer.codes(tokens, out)
        return out

    def decompress(self, codes: F32) -> F32:
        """Return the decompressor's features of codes, (tokens, bits)."""
        if not self._config.decompressor.causal:
            return self.whole_decompressor(codes)
        factor, rows = math.prod(self._config.decompressor.upscale_factors), self._block_tokens
        out = new(codes.shape[0] * factor, self._config.decompressor.output_dim)
        state = self.decompressor.state(rows)
        return _run(self.decompressor, state, codes, rows, out, rows * factor)

    def synthesize(self, features: F32) -> F32:
        """Return the samples of the decompressor's features."""
        if not self._config.decoder.causal:
            return self.whole_decoder(features)
        hop = self._config.decoder.hop_length
        rows = self._block_tokens * math.prod(self._config.decompressor.upscale_factors)
        out = new(features.shape[0] * hop)
        return _run(self.decoder, self.decoder.state(rows), features, rows, out, rows * hop)

    def encode(self, samples: F32, on_progress: Progress | None = None) -> U16:
        """Return the tokens of a whole signal by the signs of its latents."""

        def report(done: float) -> None:
            if on_progress is not None:
                on_progress(done)

        features = self.features(samples, lambda done: report(_ENCODER_SHARE * done))
        report(_ENCODER_SHARE)
        rest = 1 - _ENCODER_SHARE
        latents = self.latents(features, lambda done: report(_ENCODER_SHARE + rest * done))
        report(1.0)
        return self.quantize(latents)

    def decode(self, tokens: U16, voice: VoiceStage | None = None) -> F32:
        """Return the samples of all tokens, with the features of a voice where there is one."""
        features = self.decompress(self.codes(tokens))
        if voice is not None:
            state, work = voice.state(BLOCK_ROWS), new(BLOCK_ROWS, features.shape[1])
            for rows in rows_of(features):
                voice(rows, work[: len(rows)], state)
                rows[:] = work[: len(rows)]
        return self.synthesize(features)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of a model where it is causal."""
        return Encoder(self._config.encoder, self._model.reader("encoder"))

    @cached_property
    def compressor(self) -> Compressor:
        """The compressor of a model where it is causal."""
        return Compressor(self._config.compressor, self._model.reader("encoder"))

    @cached_property
    def search(self) -> Search | None:
        """The code search, where the model has one."""
        return Search(self._config, self._model.reader("encoder")) if self._config.search else None

    @cached_property
    def decompressor(self) -> Decompressor:
        """The decompressor of a model where it is causal."""
        return Decompressor(self._config.decompressor, self._model.reader("decoder"))

    @cached_property
    def decoder(self) -> Decoder:
        """The decoder of a model where it is causal."""
        return Decoder(self._config.decoder, self._model.reader("decoder"))

    @cached_property
    def whole_encoder(self) -> WholeEncoder:
        """The encoder of a model where it needs the whole signal."""
        return WholeEncoder(self._config.encoder, self._model.reader("encoder"))

    @cached_property
    def whole_compressor(self) -> WholeCompressor:
        """The compressor of a model where it needs all features."""
        return WholeCompressor(self._config.compressor, self._model.reader("encoder"))

    @cached_property
    def whole_decompressor(self) -> WholeDecompressor:
        """The decompressor of a model where it needs all codes."""
        return WholeDecompressor(self._config.decompressor, self._model.reader("decoder"))

    @cached_property
    def whole_decoder(self) -> WholeDecoder:
        """The decoder of a model where it needs all features."""
        return WholeDecoder(self._config.decoder, self._model.reader("decoder"))


def _run(stage: Stage[StateT], state: StateT, x: F32, rows: int, out: F32, output_rows: int) -> F32:
    """Run a stage over a whole input, `rows` rows of x and `output_rows` of out a call."""
    for i in range(math.ceil(x.shape[0] / rows)):
        result = out[i * output_rows : (i + 1) * output_rows]
        stage(x[i * rows : (i + 1) * rows], result, state)
    return out
