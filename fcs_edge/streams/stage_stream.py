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
from fcs_edge.kernels.runtime.program import Parameter
from fcs_edge.model import quantizer
from fcs_edge.model.layers import F32, Array, histories, new
from fcs_edge.model.prepared_stages import PreparedStages
from fcs_edge.model.voice_rows import VoiceStage
from fcs_edge.modelfile.config import STREAMING, CodecConfig
from fcs_edge.streams.chunker import Chunker
from fcs_edge.streams.memory import StreamMemory
from fcs_edge.streams.resumable import ResumableStream, Saved, write_history
from fcs_edge.streams.steps import SAMPLE_LIMIT

STAGES = "encoder", "compressor", "quantizer", "decompressor", "decoder"
"""The stages in the order of the sound."""

Stages = Mapping[str, Any]
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


def stages_of(
    prepared: PreparedStages, run: tuple[str, ...], search: bool, voice: VoiceStage | None
) -> Stages:
    """Return the stages of a run; the code search needs samples, and a voice both its neighbours.

    Parameters
    ----------
    prepared : PreparedStages
        All stages of the model.
    run : tuple of str
        The names of the run's stages, in their order.
    search : bool
        Whether the code search chooses the tokens, where the model has one.
    voice : VoiceStage, optional
        What replaces the features between decompressor and decoder.
    """
    stages = {name: getattr(prepared, name) for name in run if name != "quantizer"}
    if search and {"encoder", "quantizer"} <= set(run) and prepared.search is not None:
        stages["search"] = prepared.search
    if voice is not None and {"decompressor", "decoder"} <= set(run):
        stages["voice"] = voice
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


class _Output:
    """What leaves a run of stages."""

    def __init__(self, config: CodecConfig, run: tuple[str, ...]) -> None:
        self._rates = [_rate(config, name) for name in run]
        self._shape = _columns(config, run[-1])
        self._dtype: type[Any] = np.uint16 if run[-1] == "quantizer" else np.float32

    def rows(self, n_rows: int) -> int:
        """Return how many rows so many rows of input give."""
        for rows_in, rows_out in self._rates:
            n_rows = math.ceil(n_rows / rows_in) * rows_out
        return n_rows

    def new(self, n_rows: int) -> NDArray[Any]:
        """Return an array for the output of so many rows of input."""
        return np.zeros((self.rows(n_rows), *self._shape), self._dtype)


def _rate(config: CodecConfig, name: str) -> tuple[int, int]:
    """Return of how many rows of input, or fewer at the end, a stage makes how many of output."""
    factor = math.prod(config.decompressor.upscale_factors)
    rates = {
        "encoder": (config.encoder.frame_size, 1),
        "compressor": (config.frames_per_token, 1),
        "decompressor": (1, factor),
        "decoder": (1, config.decoder.hop_length),
    }
    return rates.get(name, (1, 1))


def _columns(config: CodecConfig, name: str) -> tuple[int, ...]:
    """Return the shape of a row of a stage's output."""
    columns = {
        "encoder": (config.encoder.dim,),
        "compressor": (config.bits_per_token,),
        "decompressor": (config.decompressor.output_dim,),
    }
    return columns.get(name, ())


class _StageState:
    """What changes in a stream of stages, and its workspace."""

    def __init__(self, steps: StageSteps, max_chunks: int) -> None:
        config, stages = steps.config, steps.stages
        x, _ = steps.arrays(max_chunks)
        rows = len(x)
        self.samples: Array = x if steps.run[0] == "encoder" else new(0)
        """What the encoder takes: the caller's samples, clean."""
        self.parts: dict[str, Any] = {}
        self.output: dict[str, Array] = {}
        """What each stage gives, but the last one, which writes into the caller's array."""
        for name in steps.run:
            if name == "encoder":
                self.parts[name] = stages[name].state(max_chunks)
            elif name != "quantizer":
                self.parts[name] = stages[name].state(rows)
            if name == "decompressor":
                self.codes = new(rows, config.bits_per_token)
            rows_in, rows_out = _rate(config, name)
            rows = rows // rows_in * rows_out
            dtype = np.uint16 if name == "quantizer" else np.float32
            if name != steps.run[-1]:
                self.output[name] = np.zeros((rows, *_columns(config, name)), dtype)
            if name == "compressor" and "search" in stages:
                self.parts["search"] = search = stages["search"].state(rows)
                search.hidden = self.parts[name].hidden
            if name == "decompressor" and "voice" in stages:
                self.parts["voice"] = stages["voice"].state(rows)
                self.output["voice"] = np.zeros_like(self.output[name])
        self.n_not_finite = np.zeros(1, np.int64)

    def reset(self) -> None:
        """Start a new stream."""
        for part in self.parts.values():
            part.reset()
        self.n_not_finite[0] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [*histories(self.parts.values()), self.n_not_finite]


class StageSteps:
    """What a step of some stages does: calls of kernels and nothing else; see `steps`.

    Parameters
    ----------
    config : CodecConfig
        The model's configuration.
    stages : Stages
        What `stages_of` returned.
    run : tuple of str
        The names of the stages.
    """

    def __init__(self, config: CodecConfig, stages: Stages, run: tuple[str, ...]) -> None:
        self.config, self.stages, self.run = config, stages, run
        self._input, self._output = _Input(config, run), _Output(config, run)

    @property
    def chunk_rows(self) -> int:
        """Rows of the shortest step."""
        return self._input.least_rows

    def state(self, max_chunks: int) -> _StageState:
        """Return the state of a new stream whose steps take up to `max_chunks` chunks."""
        return _StageState(self, max_chunks)

    def arrays(self, max_chunks: int) -> tuple[Array, Array]:
        """Return arrays for the input and the output of the largest step."""
        rows = self._input.chunk_rows * max_chunks
        x = np.zeros((rows, *self._input.shape), self._input.dtype)
        return x, self._output.new(rows)

    def n_rows(self, n_rows: int) -> int:
        """Return how many rows of output so many rows of input give."""
        return self._output.rows(n_rows)

    def tables(self) -> list[Array]:
        """Return weights of which a step reads a part that depends on its length."""
        return [self.stages["encoder"].biases] if "encoder" in self.stages else []

    def parameters(self) -> list[Parameter]:
        """Return the rows after each stride, and those of the refiner."""
        config, found = self.config, list[Parameter]()
        strides = {
            "encoder": config.encoder.strides,
            "compressor": config.compressor.downscale_factors,
        }
        for name in self.run:
            for divisor in strides.get(name, ()):
                if divisor > 1:
                    found.append(Parameter(len(found), 1, divisor))
        if "decompressor" in self.run:
            factor = math.prod(config.decompressor.upscale_factors)
            found.append(Parameter(len(found), factor, config.decompressor.chunk_frames))
        return found

    def __call__(self, x: Any, out: Any, state: _StageState) -> None:
        """Write what the last stage gives for rows of the first one."""
        if self.run[0] == "encoder":
            samples = self._clean(x, state)
            x = samples[: x.size]
        for name in self.run:
            rows_in, rows_out = _rate(self.config, name)
            rows = math.ceil(len(x) / rows_in) * rows_out
            output = out if name == self.run[-1] else state.output[name][:rows]
            if name == "quantizer":
                quantizer.quantize(x, output)
            else:
                if name == "decompressor":
                    quantizer.codes(x, codes := state.codes[: len(x)])
                    x = codes
                self.stages[name](x, output, state.parts[name])
            if name == "compressor" and "search" in state.parts:
                self.stages["search"](samples, output, state.parts["search"])
            if name == "decompressor" and "voice" in state.parts:
                voiced = state.output["voice"][:rows]
                self.stages["voice"](output, voiced, state.parts["voice"])
                output = voiced
            x = output

    def _clean(self, x: F32, state: _StageState) -> F32:
        """Return clean samples; for the search, zeros fill the last token's."""
        size = self.config.samples_per_token if "search" in self.stages else 1
        samples: F32 = state.samples[: math.ceil(x.size / size) * size]
        sample_kernels.sanitize(x, SAMPLE_LIMIT, samples, state.n_not_finite)
        return samples


class _StreamState:
    """What changes in a stream."""

    def __init__(self, entry: _Input, memory: StreamMemory, max_chunks: int) -> None:
        self.memory = memory
        self.n_values = math.prod(entry.shape)
        """Values of a row."""
        runs = entry.chunk_rows * max_chunks // entry.least_rows
        self.chunker: Chunker[Any] = Chunker(entry.least_rows * self.n_values, runs, entry.dtype)

    def reset(self) -> None:
        self.memory.reset()
        self.chunker.reset()

    def saved(self) -> Saved:
        history = [array.copy() for array in self.memory.history()]
        return Saved(history, self.chunker.rest().copy(), False)

    def resume(self, saved: Saved) -> None:
        write_history(self.memory.history(), saved.history)
        self.chunker.resume(saved.waiting)

    def take(self, other: _StreamState) -> None:
        self.memory.take(other.memory)
        self.chunker.resume(other.chunker.rest())


class StageStream(ResumableStream):
    """Runs some stages of a codec as one stream; `Codec.stage_stream` creates it.

    The constructor allocates all workspace. The results do not depend on how the rows are cut into
    pushes. Threads, copies and pickles are as for `StreamEncoder`.
    """

    _state: _StreamState

    def __init__(
        self,
        config: CodecConfig,
        memory: StreamMemory,
        run: tuple[str, ...],
        max_chunks: int = 1,
        threads: int = 1,
        create: Callable[[int, int], StageStream] | None = None,
    ) -> None:
        super().__init__(create, max_chunks, threads)
        self._run = run
        self._input, self._output = _Input(config, run), _Output(config, run)
        self._state = _StreamState(self._input, memory, self._max_chunks)

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
        return int(self._state.memory.history()[-1][0])

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
        out = self._output.new(chunker.whole_chunks(values.size) * self.least_rows)
        start = 0
        for run in chunker.runs(values):
            for x in self._cut(run.reshape(-1, *self._input.shape)):
                stop = start + self._output.rows(len(x))
                self._state.memory.run(x, out[start:stop])
                start = stop
        return out

    def flush(self) -> NDArray[Any]:
        """Run the stages on the rows that wait, without padding, and start a new stream.

        Returns
        -------
        numpy.ndarray
            What the last stage gives for them, as `push` returns it.
        """
        rest = self._state.chunker.rest().reshape(-1, *self._input.shape)
        out = self._output.new(len(rest))
        if len(rest):
            self._state.memory.run(rest, out)
        self.reset()
        return out

    def _cut(self, rows: Array) -> Iterator[Array]:
        """Cut rows into whole chunks and what remains, so that few numbers of rows are traced."""
        whole = len(rows) - len(rows) % self._input.chunk_rows
        for x in (rows[:whole], rows[whole:]):
            if len(x):
                yield x

    def reset(self) -> None:
        """Discard the stream's state and start a new stream."""
        self._state.reset()

    def copy(self) -> StageStream:
        """Return an independent stream that continues from this point."""
        return self.__copy__()
