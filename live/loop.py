"""The worker: microphone, encoder, tokens, decoder, speaker, chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import soxr

from fcs_edge.bench.host import uses_numba
from fcs_edge.codec import Codec
from fcs_edge.live.decoder_thread import DecoderThread
from fcs_edge.live.latency import CAPTURE_CHUNKS, duration_chunks
from fcs_edge.live.microphone import Microphone
from fcs_edge.live.speaker import Speaker
from fcs_edge.live.statistics import Statistics
from fcs_edge.live.stop_flag import StopFlag
from fcs_edge.model.layers import F32, U16, new

_POLL_SECONDS = 0.004
_SETTLE_SECONDS, _SETTLE_STEP = 1.0, 0.06
"""How long a sound server may deliver older audio, and the interval of the checks, in seconds."""
_CROSSFADE_SECONDS = 0.01
_DRY_SPARE = 16


class ChunkReader:
    """Reads full chunks from a microphone, and drops audio that is too old.

    Parameters
    ----------
    microphone : Microphone
        The open microphone.
    chunk_size : int
        Samples a chunk.
    statistics : Statistics
        Where levels and losses are counted.
    """

    def __init__(self, microphone: Microphone, chunk_size: int, statistics: Statistics) -> None:
        self._microphone, self._statistics = microphone, statistics
        self._chunk = new(chunk_size)
        self._filled = 0
        self._rest = new(0)
        self._seconds = chunk_size / microphone.rate
        self._dropped = 0.0

    def settle(self, stopped: Callable[[], bool]) -> None:
        """Drop audio from before the session: a sound server may deliver seconds of it."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not stopped() and (start := time.monotonic()) < deadline:
            self._microphone.discard()
            time.sleep(_SETTLE_STEP)
            elapsed = time.monotonic() - start
            if self._microphone.waiting <= 2 * elapsed + self._microphone.block:
                break
        self._microphone.gaps.restart()

    def next(self, stopped: Callable[[], bool]) -> F32 | None:
        """Wait for a chunk and return it, (chunk_size,) float32; None after a stop.

        Raises
        ------
        DeviceLostError
            The microphone is gone.
        """
        while not stopped():
            if self._filled == self._chunk.size:
                self._filled = 0
                self._statistics.input_meter.update(self._chunk, self._seconds)
                return self._chunk
            if not self._rest.size:
                self._drop_old()
                self._rest = self._microphone.read()
            if not self._rest.size:
                self._microphone.check()
                time.sleep(_POLL_SECONDS)
                continue
            n = min(self._rest.size, self._chunk.size - self._filled)
            self._chunk[self._filled : self._filled + n] = self._rest[:n]
            self._filled += n
            self._rest = self._rest[n:]
        return None

    def _drop_old(self) -> None:
        over = self._microphone.waiting - CAPTURE_CHUNKS * self._seconds
        if over > 0:
            # Full chunks, so that losses are few and long rather than many and short.
            chunks = np.ceil(over / self._seconds)
            self._microphone.skip(chunks * self._seconds)
        dropped = self._microphone.seconds_dropped
        self._statistics.n_dropped += dropped - self._dropped
        self._dropped = dropped


class Loopback:
    """Captures, encodes, decodes and plays until it is stopped.

    With more than one thread, compiled kernels share the work of each chunk. Where Numba compiles,
    a second thread decodes a chunk while the worker encodes the next one.

    Parameters
    ----------
    codec : Codec
        The model, with its number of threads.
    sink : callable
        Takes each chunk's (samples, tokens, decoded samples or None), to record or send it.
    decode : bool
        Whether a speaker or `sink` needs decoded samples.
    duration : float, optional
        Seconds of sound to encode, rounded up to full chunks; without it there is no limit.
    """

    def __init__(
        self,
        codec: Codec,
        sink: Callable[[F32, U16, F32 | None], None],
        decode: bool,
        duration: float | None = None,
    ) -> None:
        self._codec, self._sink = codec, sink
        self._limit = duration_chunks(duration, codec.latency)
        self._encoder = codec.stream_encoder()
        self._decoder = codec.stream_decoder() if decode else None
        self._tokens = np.zeros(codec.chunk_tokens, np.uint16)
        self._decoder_thread = None
        if decode and codec.threads > 1 and uses_numba():
            sizes = codec.chunk_size, codec.chunk_tokens
            self._decoder_thread = DecoderThread(self._handle, *sizes)
        self._decoded = new(codec.chunk_tokens * codec.samples_out_per_token)
        self._warm_up()
        self._dry: Any = soxr.ResampleStream(codec.sample_rate_in, codec.sample_rate_out, 1)
        self._dry_waiting = new(0)
        self._dry_share = 0.0
        self.statistics = Statistics()
        self.bypass = False
        """Whether the uncoded sound is played, not the decoded one; may change at any time."""
        self._stop = StopFlag()
        self.microphone: Microphone | None = None
        self.speaker: Speaker | None = None

    def _warm_up(self) -> None:
        """Let the streams record their calls, which takes longer than a chunk on a small board."""
        self._encoder.step(new(self._codec.chunk_size), self._tokens)
        self._encoder.reset()
        if self._decoder is not None:
            self._decoder.step(self._tokens, self._decoded)
            self._decoder.reset()

    def stop(self) -> None:
        """Let `run` return soon; from any thread."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def run(self, microphone: Microphone, speaker: Speaker | None) -> None:
        """Work until stopped, until the duration is encoded, or until a device is gone.

        Raises
        ------
        DeviceLostError
            A device is gone.
        """
        # The losses of devices that were lost before still count.
        if self.microphone is not None:
            microphone.add_losses(self.microphone)
        if self.speaker is not None and speaker is not None:
            speaker.add_losses(self.speaker)
        self.microphone, self.speaker = microphone, speaker
        reader = ChunkReader(microphone, self._codec.chunk_size, self.statistics)
        reader.settle(self._stop.is_set)
        try:
            while (samples := reader.next(self._stop.is_set)) is not None:
                self.step(samples)
                self.statistics.cancelling |= microphone.cancelling
                if speaker is not None:
                    speaker.check()
        finally:
            self.finish()
        if speaker is not None:
            speaker.playout.finish()

    def step(self, samples: F32) -> None:
        """Encode a chunk, (chunk_size,) float32, decode it, pass it to the sink, and play it."""
        start = time.perf_counter()
        self._encoder.step(samples, self._tokens)
        took = time.perf_counter() - start
        self.statistics.n_tokens += self._tokens.size
        self.statistics.last_token = int(self._tokens[-1])
        if self._decoder_thread is None:
            self._handle(samples, self._tokens, took)
        else:
            self._decoder_thread.put(samples, self._tokens, took)
        if self.statistics.n_tokens >= self._limit * self._tokens.size:
            self.stop()

    def finish(self) -> None:
        """Wait until the last chunk is decoded and played."""
        if self._decoder_thread is not None:
            self._decoder_thread.finish()

    def _handle(self, samples: F32, tokens: U16, encoding: float) -> None:
        """Decode a chunk that took so many seconds to encode, pass it to the sink, and play it."""
        statistics, codec = self.statistics, self._codec
        start = time.perf_counter()
        if self._decoder is not None:
            self._decoder.step(tokens, self._decoded)
        decoding = time.perf_counter() - start
        # Where both run at once, the slower one counts.
        took = encoding + decoding if self._decoder_thread is None else max(encoding, decoding)
        statistics.times.add(took)
        statistics.n_late += took > codec.latency
        decoded = None if self._decoder is None else self._decoded
        self._sink(samples, tokens, decoded)
        if self.speaker is not None and decoded is not None:
            played = self._mixed(samples, decoded)
            statistics.output_meter.update(played, codec.latency)
            if self.microphone is not None:
                self.speaker.playout.jitter = self.microphone.block
            self.speaker.playout.write(played)

    def _mixed(self, samples: F32, decoded: F32) -> F32:
        """Return what is to be played, uncoded or decoded, with a crossfade where that changes."""
        resampled = self._dry.resample_chunk(samples)
        if not self._dry_waiting.size:
            # The delay of the resampler, which differs a little from chunk to chunk.
            self._dry_waiting = new(max(0, decoded.size - resampled.size) + _DRY_SPARE)
        waiting = np.concatenate([self._dry_waiting, resampled])
        dry, self._dry_waiting = waiting[: decoded.size], waiting[decoded.size :]
        before, after = self._dry_share, float(self.bypass)
        self._dry_share = after
        if before == after:
            return dry if after else decoded
        share = np.full(decoded.size, after, np.float32)
        n = round(_CROSSFADE_SECONDS * self._codec.sample_rate_out)
        share[:n] = np.linspace(before, after, n, dtype=np.float32)
        mixed: F32 = dry * share + decoded * (1 - share)
        return mixed
