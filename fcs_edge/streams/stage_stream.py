"""A stream of any run of stages: samples, features, latents, tokens, features, samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcs_edge.arguments import as_matrix, as_signal, as_tokens
from fcs_edge.errors import FcsError
from fcs_edge.kernels.ops import samples as sample_kernels
from fcs_edge.model import quantizer
from fcs_edge.model.layers import F32, Array, histories, new
from fcs_edge.model.prepared_stages import PreparedStages
from fcs_edge.model.replayed_stage import ReplayedStage, ReplayedState
from fcs_edge.model.voice_rows import VoiceStage
from fcs_edge.modelfile.config import STREAMING, CodecConfig
from fcs_edge.stream import SAMPLE_LIMIT
from fcs_edge.streams.chunker import Chunker
from fcs_edge.streams.resumable import ResumableStream, Saved, write_history

STAGES = "encoder", "compressor", "quantizer", "decompressor", "decoder"
"""The stages in the order of the sound."""

Stages = Mapping[str, ReplayedStage[Any]]
"""The stages of a run by name, without the quantizer; ``search`` where it chooses the codes, and
``voice`` where it replaces features."""


def run_of(first: str, last: str) -> tuple[str, ...]:
    """Return the names of the stages from the first to the last one.

    Raises
    ------
    ValueError
        One is no stage, or the last one comes before the first one.
    """
    for name in (first, last):
        if name not in STAGES:
            raise ValueError(f"the stages are {', '.join(STAGES)}, not {name!r}")
    run = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
    if not run:
        raise ValueError(f"the {last} comes before the {first}: name the stages in their order")
    return run


def check_streams(config: CodecConfig, run: tuple[str, ...], name: str) -> None:
    """Refuse a run with a stage that needs the whole signal; `name` is the model's.

    Raises
    ------
    FcsError
        There is such a stage.
    """
    for stage in run:
        if stage != "quantizer" and not getattr(config, stage).causal:
            raise FcsError(
                f"the {stage} of {name} does not stream: it needs the whole signal; {STREAMING}"
            )


def replayed(
    prepared: PreparedStages,
    run: tuple[str, ...],
    threads: int,
    search: bool,
    voice: VoiceStage | None,
) -> Stages:
    """Return the stages of a run; the code search needs samples, and a voice both its neighbours.

    Parameters
    ----------
    prepared : PreparedStages
        All stages of the model.
    run : tuple of str
        The names of the run's stages, in their order.
    threads : int
        Threads that share the work of a step.
    search : bool
        Whether the code search chooses the tokens, where the model has one.
    voice : VoiceStage, optional
        What replaces the features between decompressor and decoder.
    """
    names = (name for name in run if name != "quantizer")
    stages: dict[str, ReplayedStage[Any]] = {
        name: ReplayedStage(getattr(prepared, name), threads) for name in names
    }
    if search and {"encoder", "quantizer"} <= set(run) and prepared.search is not None:
        stages["search"] = ReplayedStage(prepared.search, threads)
    if voice is not None and {"decompressor", "decoder"} <= set(run):
        stages["voice"] = ReplayedStage(voice, threads)
    return stages


class _Input:
    """What enters a run of stages."""

    def __init__(self, config: CodecConfig, run: tuple[str, ...]) -> None:
        first, refined = run[0], config.decompressor.chunk_frames
        factor = math.prod(config.decompressor.upscale_factors)
        columns = {
            "compressor": config.compressor.input_dim,
            "quantizer": config.bits_per_token,
            "decoder": config.decoder.input_dim,
        }
        self.shape = (columns[first],) if first in columns else ()
        """Shape of a row."""
        self.dtype: type[Any] = np.uint16 if first == "decompressor" else np.float32
        self.check: Callable[[ArrayLike], Array] = as_signal
        if first == "decompressor":
            self.check = partial(as_tokens, bits=config.bits_per_token)
        elif first in columns:
            what = "latents" if first == "quantizer" else "features"
            self.check = partial(as_matrix, columns=columns[first], what=what)
        chunk = config.encoder.frame_size * config.encoder.chunk_frames
        tokens = refined // math.gcd(refined, factor) if "decompressor" in run else 1
        least = {"encoder": chunk, "compressor": tokens * config.frames_per_token, "decoder": 1}
        self.least_rows = least.get(first, tokens)
        """Rows that a step takes at least, until the stream ends."""
        tokens = config.decoded_tokens
        rows = {
            "encoder": chunk,
            "compressor": tokens * config.frames_per_token,
            "decoder": tokens * factor,
        }
        self.chunk_rows = rows.get(first, tokens)
        """Rows of a chunk."""


class _Step:
    """A step of the run, and the array that it writes into.

    Parameters
    ----------
    out : numpy.ndarray
        The output of the most rows.
    rows_in, rows_out : int
        So many rows of input, or fewer at the end of the stream, give so many rows of output.
    """

    def __init__(self, out: Array, rows_in: int = 1, rows_out: int = 1) -> None:
        self.out, self._rows_in, self._rows_out = out, rows_in, rows_out

    def count(self, n_rows: int) -> int:
        """Return how many rows of output so many rows of input give."""
        return math.ceil(n_rows / self._rows_in) * self._rows_out

    def __call__(self, x: Array, ends: bool) -> Array:
        """Return the output of x, a view; `ends` where the stream ends with x."""
        out = self.out[: self.count(x.shape[0])]
        self.write(x, out, ends)
        return out

    def write(self, x: Array, out: Array, ends: bool) -> None:
        """Write the output of x."""
        raise NotImplementedError


class _Stage(_Step):
    """A stage that has a state."""

    def __init__(
        self,
        stage: ReplayedStage[Any],
        state: ReplayedState[Any],
        out: F32,
        rows_in: int,
        rows_out: int,
    ) -> None:
        super().__init__(out, rows_in, rows_out)
        self.state, self._stage = state, stage

    def write(self, x: Array, out: Array, ends: bool) -> None:
        (self._stage.tail if ends else self._stage)(x, out, self.state)


class _Search(_Stage):
    """The code search: it replaces latents, and reads the samples that they stand for."""

    def __init__(
        self, stage: ReplayedStage[Any], compressor: _Stage, samples: F32, size: int
    ) -> None:
        rows = compressor.out.shape[0]
        super().__init__(stage, stage.state(rows), compressor.out, 1, 1)
        self.state.state.hidden = compressor.state.state.hidden
        self._samples, self._size = samples, size

    def write(self, x: Array, out: Array, ends: bool) -> None:
        super().write(self._samples[: x.shape[0] * self._size], out, ends)


class _Quantizer(_Step):
    """Latents to tokens."""

    def write(self, x: Array, out: Array, ends: bool) -> None:
        quantizer.quantize(x, out)


class _Codes(_Step):
    """Tokens to codes, which the decompressor takes."""

    def write(self, x: Array, out: Array, ends: bool) -> None:
        quantizer.codes(x, out)


def _steps(config: CodecConfig, stages: Stages, run: tuple[str, ...], x: Array) -> list[_Step]:
    """Return the steps of a run of stages whose first one takes rows of x, and their states."""
    encoder, bits, samples = config.encoder, config.bits_per_token, x
    steps: list[_Step] = []

    def add(name: str, size: int, rows_in: int, rows_out: int, *columns: int) -> _Stage:
        out = new(x.shape[0] // rows_in * rows_out, *columns)
        step = _Stage(stages[name], stages[name].state(size), out, rows_in, rows_out)
        steps.append(step)
        return step

    for name in run:
        rows = x.shape[0]
        if name == "encoder":
            size = encoder.frame_size
            add(name, rows // size // encoder.chunk_frames, size, 1, encoder.dim)
        elif name == "compressor":
            compressor = add(name, rows, config.frames_per_token, 1, bits)
            if "search" in stages:
                size = config.samples_per_token
                steps.append(_Search(stages["search"], compressor, samples, size))
        elif name == "quantizer":
            steps.append(_Quantizer(np.zeros(rows, np.uint16)))
        elif name == "decompressor":
            steps.append(_Codes(new(rows, bits)))
            factor = math.prod(config.decompressor.upscale_factors)
            features = add(name, rows, 1, factor, config.decompressor.output_dim).out
            if "voice" in stages:
                voice = stages["voice"]
                steps.append(_Stage(voice, voice.state(len(features)), new(*features.shape), 1, 1))
        else:
            add(name, rows, 1, config.decoder.hop_length)
        x = steps[-1].out
    return steps


class _StageState:
    """What changes in a stream of stages, and its workspace."""

    def __init__(
        self, config: CodecConfig, stages: Stages, run: tuple[str, ...], max_chunks: int
    ) -> None:
        entry = _Input(config, run)
        rows = entry.chunk_rows * max_chunks
        self.input: Array = np.zeros((rows, *entry.shape), entry.dtype)
        self.steps = _steps(config, stages, run, self.input)
        self.states = [step.state for step in self.steps if isinstance(step, _Stage)]
        self.n_values = math.prod(entry.shape)
        """Values of a row."""
        self.chunker: Chunker[Any] = Chunker(
            entry.least_rows * self.n_values, rows // entry.least_rows, entry.dtype
        )
        self.n_not_finite = np.zeros(1, np.int64)

    def reset(self) -> None:
        for state in self.states:
            state.reset()
        self.chunker.reset()
        self.n_not_finite[0] = 0

    def saved(self) -> Saved:
        history = [array.copy() for array in histories(self.states)]
        return Saved(history, self.chunker.rest().copy(), int(self.n_not_finite[0]))

    def resume(self, saved: Saved) -> None:
        write_history(histories(self.states), saved.history)
        self.chunker.resume(saved.waiting)
        self.n_not_finite[0] = saved.number


class StageStream(ResumableStream):
    """Runs some stages of a codec as one stream; `Codec.stage_stream` creates it.

    The constructor allocates all workspace. The results do not depend on how the rows are cut into
    pushes. Threads, copies and pickles are as for `StreamEncoder`.
    """

    _state: _StageState

    def __init__(
        self,
        config: CodecConfig,
        stages: Stages,
        run: tuple[str, ...],
        max_chunks: int = 1,
        threads: int = 1,
        create: Callable[[int, int], StageStream] | None = None,
    ) -> None:
        super().__init__(create, max_chunks, threads)
        self._run = run
        self._input = _Input(config, run)
        self._state = _StageState(config, stages, run, self._max_chunks)

    def __repr__(self) -> str:
        """Name the stages."""
        return f"<StageStream {' > '.join(self._run)}>"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in the order of the sound."""
        return self._run

    @property
    def least_rows(self) -> int:
        """Rows of input that a step takes at least; fewer wait."""
        return self._input.least_rows

    @property
    def n_pending(self) -> int:
        """Rows that wait for further ones: samples, features, latents or tokens."""
        return self._state.chunker.n_pending // self._state.n_values

    @property
    def n_not_finite(self) -> int:
        """Samples since the stream's start that were NaN or infinite; each counts as 0."""
        return int(self._state.n_not_finite[0])

    def push(self, rows: ArrayLike) -> NDArray[Any]:
        """Run the stages on as many rows as they can take now.

        Parameters
        ----------
        rows : array_like
            What the first stage takes, any number of rows, 0 included: (n,) samples, (n, dim)
            features, (n, bits_per_token) latents, or (n,) tokens.

        Returns
        -------
        numpy.ndarray
            What the last stage gives: (m, dim) or (m, bits_per_token) float32, (m,) uint16 tokens,
            or (m,) float32 samples; m is 0 where further rows are needed.

        Raises
        ------
        TypeError
            The values are of another type, or the array is masked.
        ValueError
            The array has another shape, or a token is out of range.
        """
        values = self._input.check(rows).reshape(-1)
        chunker = self._state.chunker
        out = self._new(chunker.whole_chunks(values.size) * self.least_rows)
        start = 0
        for run in chunker.runs(values):
            for x in self._cut(run.reshape(-1, *self._input.shape)):
                result = self._step(x)
                out[start : start + len(result)] = result
                start += len(result)
        return out

    def flush(self) -> NDArray[Any]:
        """Run the stages on the rows that wait, without padding, and start a new stream.

        Returns
        -------
        numpy.ndarray
            What the last stage gives for them, as `push` returns it.
        """
        rest = self._state.chunker.rest().reshape(-1, *self._input.shape)
        out = self._new(len(rest))
        if len(rest):
            out[:] = self._step(rest, ends=True)
        self.reset()
        return out

    def _new(self, n_rows: int) -> NDArray[Any]:
        """Return an array for what the last stage gives for so many rows of input."""
        for step in self._state.steps:
            n_rows = step.count(n_rows)
        last = self._state.steps[-1].out
        return np.empty((n_rows, *last.shape[1:]), last.dtype)

    def _cut(self, rows: Array) -> Iterator[Array]:
        """Cut rows into whole chunks and what remains, so that few numbers of rows are recorded."""
        whole = len(rows) - len(rows) % self._input.chunk_rows
        for x in (rows[:whole], rows[whole:]):
            if len(x):
                yield x

    def _step(self, rows: Array, ends: bool = False) -> Array:
        """Run the stages on rows; return a view of the last one's output."""
        state, n = self._state, len(rows)
        x = state.input[:n]
        if self._run[0] == "encoder":
            if ends:
                # They follow the last sample where the code search reads a whole token's.
                state.input[n:] = 0
            sample_kernels.sanitize(rows, SAMPLE_LIMIT, x, state.n_not_finite)
        else:
            x[:] = rows
        for step in state.steps:
            x = step(x, ends)
        return x

    def reset(self) -> None:
        """Discard the stream's state and start a new stream."""
        self._state.reset()

    def copy(self) -> StageStream:
        """Return an independent stream that continues from this point."""
        return self.__copy__()
