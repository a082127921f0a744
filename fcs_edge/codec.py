"""The codec: a model that is ready to run."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.arguments import as_count, as_matrix, as_signal, as_threads, as_tokens
from fcs_edge.audio.full_scale import beyond_full_scale, not_finite, peak_of
from fcs_edge.entropy.prior import Prior
from fcs_edge.errors import AudioWarning, FcsError, ModelFileError
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime import _jit
from fcs_edge.model.layers import F32, U16
from fcs_edge.model.prepared_stages import PreparedStages
from fcs_edge.model.voice import Voice, fit
from fcs_edge.model.voice_rows import MAX_TOPK, VoiceStage
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, STREAMING
from fcs_edge.modelfile.facts import Facts, model_facts
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.stream import StreamDecoder, StreamEncoder, sanitized
from fcs_edge.streams import batch, stage_stream
from fcs_edge.streams.idle import IdleStreams
from fcs_edge.streams.memory import StreamPrograms
from fcs_edge.streams.resumable import as_max_chunks
from fcs_edge.streams.stage_stream import StageStream
from fcs_edge.streams.steps import DecoderSteps, EncoderSteps
from fcs_edge.streams.whole_signal import (
    Choice,
    SignalEncoder,
    TokenDecoder,
    WholeDecoder,
    signal_encoder,
)
from fcs_edge.tokens.settings import token_settings

TOPK = 4
"""Rows of a voice that are averaged."""

BLOCK_CHUNKS = 8
"""Chunks per step over a whole signal: each step reads every weight once."""


def load(
    model: str | os.PathLike[str] | None = None, *, activations: int | None = None, threads: int = 1
) -> Codec:
    """Load a model.

    Parameters
    ----------
    model : str or path, optional
        A model's name, as ``fcs-edge models`` lists them, or a model file's path. What exists as
        a path is a path. Absent: the model that FCS_EDGE_MODEL names, or the built-in one.
    activations : int, optional
        Bits of the activations that the weights multiply: 12 or 8 with ``int8`` weights; see
        `Codec`. Absent: 12 with ``int8``, 8 with ``int4``, 32 with floats.
    threads : int
        Threads of each stream: 1, 2 or 4; see `Codec`.

    Returns
    -------
    Codec
        The model, ready to run. Each stage prepares its weights at its first use.

    Raises
    ------
    fcs_edge.ModelFileError
        There is no such model, its file is damaged, or its weights cannot multiply the
        activations.
    fcs_edge.FcsError
        The environment asks for kernels that this CPU cannot run, or keeps Numba from compiling.
    TypeError
        `activations` or `threads` is no integer.
    ValueError
        `activations` is below 1, or `threads` is not 1, 2 or 4.

    Examples
    --------
    >>> codec = load()
    >>> tokens = codec.encode(np.zeros(16000, np.float32))
    >>> tokens.shape, codec.decode(tokens).shape
    ((50,), (24000,))
    """
    return Codec(catalogue.find(model), activations=activations, threads=threads)


class _Voiced(NamedTuple):
    """What `Codec.with_voice` takes."""

    voice: Voice
    topk: int
    any_voice: bool

    def stage(self) -> VoiceStage:
        """Return the stage that replaces features."""
        return VoiceStage(self.voice.index, self.topk)


class Codec:
    """Speech to tokens and back.

    A codec holds weights, and one idle encoder that `encode` uses again; streams share only
    weights. `load` creates one. Threads may share it. It never changes, so a copy is the codec
    itself. A pickle holds no weights: it names the built-in model, or the model file by its
    absolute path, and loading it checks that the file is the same one.

    Parameters
    ----------
    model : ModelFile
        A checked model file.
    activations : int, optional
        Bits of the activations that the weights multiply. With ``int8`` weights 12, the default,
        or 8, which is faster on some CPUs and less exact. Other weights have one choice: ``int4``
        8, floats 32.
    threads : int
        Threads of each stream: 1, 2 or 4. The results do not depend on it, to the bit. Compiled
        kernels of a wheel share the work of a chunk; where Numba compiles, a stream runs on one.

    Raises
    ------
    fcs_edge.ModelFileError
        The model's weights cannot multiply such activations.
    fcs_edge.FcsError
        The environment asks for kernels that this CPU cannot run, or keeps Numba from compiling.
    TypeError
        `activations` or `threads` is no integer.
    ValueError
        `activations` is below 1, or `threads` is not 1, 2 or 4.
    """

    def __init__(
        self, model: ModelFile, *, activations: int | None = None, threads: int = 1
    ) -> None:
        if activations is not None:
            model = model.with_activations(as_count(activations, "activations", 1))
        if instructions.CHOICE not in instructions.available():
            raise FcsError(
                f"{instructions.VARIABLE} is {instructions.CHOICE!r} in the environment; "
                f"this CPU has {', '.join(instructions.available())}"
            )
        if reason := _jit.obstacle():
            raise FcsError(reason)
        _jit.warn_of_library()
        self._threads = as_threads(threads)
        self._voice: _Voiced | None = None
        self._model = model
        self._config = model.config
        self._stages = PreparedStages(model, BLOCK_CHUNKS)
        self._programs = StreamPrograms()
        self._encoders: IdleStreams[StreamEncoder] = IdleStreams()
        # Now: the program may change its folder later.
        self._reference = catalogue.reference(model)

    def __copy__(self) -> Codec:
        """Return this codec, which never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Codec:
        """Return this codec, which never changes."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Codec], tuple[Any, ...]]:
        """Return what loads the same model file in another process; a voice is held in full."""
        facts = self._reference, self._model.sha256, self.activation_bits, self._threads
        return _load_pickled, facts if self._voice is None else (*facts, self._voice)

    def __repr__(self) -> str:
        """Name the model and its rates."""
        return (
            f"<Codec {self.name}: {self.sample_rate_in} Hz -> {self.bitrate:g} bit/s -> "
            f"{self.sample_rate_out} Hz>"
        )

    @property
    def name(self) -> str:
        """The model's short name."""
        return self._model.name

    @property
    def threads(self) -> int:
        """Threads of each stream."""
        return self._threads

    def with_threads(self, threads: int) -> Codec:
        """Return a codec of the same model whose streams have another number of threads.

        Parameters
        ----------
        threads : int
            Threads of each stream: 1, 2 or 4.

        Returns
        -------
        Codec
            It shares the weights. This codec stays as it is.

        Raises
        ------
        TypeError
            `threads` is no integer.
        ValueError
            It is another number.
        """
        return self._changed(_threads=as_threads(threads))

    def with_voice(self, voice: Voice, topk: int = TOPK, *, any_voice: bool = False) -> Codec:
        """Return a codec of the same model that decodes with a voice.

        Parameters
        ----------
        voice : Voice
            The features of the speaker; see `load_voice`.
        topk : int
            Rows of the voice that are averaged for each row of features, 1 to 64.
        any_voice : bool
            Whether features of another model are accepted.

        Returns
        -------
        Codec
            Its streams and `decode` replace each row of features by the mean of its `topk`
            nearest rows of the voice, by cosine. It shares the weights. This codec stays as it
            is.

        Raises
        ------
        fcs_edge.VoiceError
            The voice has rows of another width, or is of another model.
        TypeError
            `topk` is no integer, or `voice` no Voice.
        ValueError
            `topk` is out of range.
        """
        return self._changed(_voice=self._fitting(voice, topk, any_voice))

    def _fitting(self, voice: Voice, topk: int, any_voice: bool) -> _Voiced:
        """Return a voice and how it is used; raise what `with_voice` raises."""
        if not isinstance(voice, Voice):
            kind = type(voice).__name__
            raise TypeError(f"a Voice is expected, as load_voice returns it, not {kind}")
        topk = as_count(topk, "topk", 1, MAX_TOPK)
        fit(voice, self.fingerprint, self._config.decompressor.output_dim, any_voice)
        return _Voiced(voice, topk, any_voice)

    def _chosen(self, voice: Voice | None, topk: int, any_voice: bool) -> _Voiced | None:
        """Return a call's voice, or else the codec's; refuse what only a call's voice uses."""
        if voice is not None:
            return self._fitting(voice, topk, any_voice)
        if topk != TOPK or any_voice:
            raise ValueError("topk and any_voice say how a voice is used: give voice too")
        return self._voice

    def _changed(self, **fields: Any) -> Codec:
        """Return a codec of the same model that shares the prepared stages."""
        other = object.__new__(Codec)
        other.__dict__.update(self.__dict__, **fields)
        return other

    @property
    def model(self) -> ModelFile:
        """The model file: configuration, tensors, source."""
        return self._model

    @property
    def fingerprint(self) -> bytes:
        """Eight bytes that identify the model in bitstreams."""
        return self._model.fingerprint

    @property
    def prior(self) -> Prior | None:
        """The newest prior of the tokens' entropy coder, None where the model has none."""
        return self._model.priors[-1] if self._model.priors else None

    @property
    def priors(self) -> Mapping[int, Prior]:
        """All priors by the checks that bitstreams name them by, the newest last."""
        return {prior.check: prior for prior in self._model.priors}

    @property
    def activation_bits(self) -> int:
        """Bits of the activations that the weights multiply."""
        return self._model.activation_bits

    @property
    def sample_rate_in(self) -> int:
        """Input sample rate in Hz."""
        return SAMPLE_RATE_IN

    @property
    def sample_rate_out(self) -> int:
        """Output sample rate in Hz."""
        return self._config.sample_rate_out

    @property
    def encodes_streams(self) -> bool:
        """Whether `stream_encoder` works: the encoder and the compressor are causal."""
        return self._config.encodes_streams

    @property
    def decodes_streams(self) -> bool:
        """Whether `stream_decoder` works: the decompressor and the decoder are causal."""
        return self._config.decodes_streams

    @property
    def chunk_size(self) -> int:
        """Input samples per chunk, the step of a stream; of a token where none is encoded."""
        return self._config.chunk_size

    @property
    def chunk_tokens(self) -> int:
        """Tokens per chunk; 1 where the model does not encode streams."""
        return self._config.chunk_tokens

    @property
    def samples_per_token(self) -> int:
        """Input samples per token."""
        return self._config.samples_per_token

    @property
    def samples_out_per_token(self) -> int:
        """Output samples per token."""
        return self._config.samples_out_per_token

    @property
    def token_rate(self) -> float:
        """Tokens per second."""
        return SAMPLE_RATE_IN / self._config.samples_per_token

    @property
    def bits_per_token(self) -> int:
        """Bits per token, 1 to 16."""
        return self._config.bits_per_token

    @property
    def bitrate(self) -> float:
        """Bits per second of the tokens, without any framing."""
        return self.token_rate * self.bits_per_token

    @property
    def latency(self) -> float:
        """Algorithmic latency in seconds: one chunk; infinity where samples do not stream."""
        return self.chunk_size / SAMPLE_RATE_IN if self.encodes_streams else math.inf

    def n_tokens(self, n_samples: int) -> int:
        """Return the number of tokens of a signal of `n_samples` samples.

        A causal model gives one for each `samples_per_token`, rounded up. For any other model
        the kernels of its convolutions count too, and the shortest signal has one token: or none,
        where a downscale by 3 or more takes more frames. That one `encode` refuses.

        Raises
        ------
        TypeError
            `n_samples` is no integer.
        ValueError
            It is negative.
        """
        return self._config.n_tokens(as_count(n_samples, "n_samples", 0))

    @cached_property
    def codebook(self) -> F32:
        """The codes of all tokens, (2 ** bits_per_token, bits_per_token) float32, read-only.

        Row t is ``codes([t])[0]``. It is created at its first use: 4 MB with 16 bits.
        """
        codebook = self.codes(np.arange(1 << self.bits_per_token))
        codebook.flags.writeable = False
        return codebook

    def info(self) -> Facts:
        """Return facts about the model, as ``fcs-edge info --json`` names them.

        Returns
        -------
        dict
            Values for JSON by name, in plain units: Hz, bits per second, seconds, bytes.
            ``settings`` says what changes tokens beside the fingerprint. ``latency`` is None
            where the model needs the whole signal; ``encodes_streams`` and ``decodes_streams``
            are None where a half model lacks those stages. ``causal`` is True of a model whose
            stages are all causal.
        """
        rates = "sample_rate_in", "sample_rate_out", "bits_per_token", "token_rate", "bitrate"
        part = self._model.part
        streams = {
            "encodes_streams": None if part == "decoder" else self.encodes_streams,
            "decodes_streams": None if part == "encoder" else self.decodes_streams,
        }
        sizes = "chunk_size", "chunk_tokens", "samples_per_token", "samples_out_per_token"
        latency = self.latency if math.isfinite(self.latency) else None
        return {
            **model_facts(self._model),
            "settings": token_settings(self._model),
            **{name: getattr(self, name) for name in rates},
            "latency": latency,
            "causal": self._config.is_causal,
            **{name: getattr(self, name) for name in sizes},
            **streams,
        }

    def output_length(self, n_samples: int) -> int:
        """Return the number of output samples for `n_samples` input samples.

        It is ``round(n_samples * sample_rate_out / sample_rate_in)``, with ties to even. The
        reference truncates, so that it has one sample less for some numbers. A causal model decodes
        to as many or more, which are cut. Any other one may decode to fewer, by less than two
        frames.

        Raises
        ------
        TypeError
            `n_samples` is no integer.
        ValueError
            It is negative.
        """
        n_samples = as_count(n_samples, "n_samples", 0)
        quotient, rest = divmod(n_samples * self.sample_rate_out, SAMPLE_RATE_IN)
        up = 2 * rest > SAMPLE_RATE_IN or (2 * rest == SAMPLE_RATE_IN and quotient % 2 == 1)
        return quotient + int(up)

    def stream_encoder(
        self, max_chunks: int = 1, threads: int | None = None, *, search: bool = True
    ) -> StreamEncoder:
        """Return an encoder for one stream.

        Parameters
        ----------
        max_chunks : int
            Maximum number of chunks per step. Use 1 for live audio. With more, one step reads
            each weight once for several chunks and takes more memory. The tokens do not depend
            on it. 1 to 256.
        threads : int, optional
            Threads that share the work of a step: 1, 2 or 4. Absent: the codec's.
        search : bool
            Whether the code search chooses the tokens, where the model has one; see `encode`.

        Returns
        -------
        StreamEncoder
            An encoder at the start of its stream.

        Raises
        ------
        fcs_edge.FcsError
            The model does not encode streams.
        TypeError
            `max_chunks` or `threads` is no integer.
        ValueError
            One of them is out of range.
        """
        if not self.encodes_streams:
            raise FcsError(
                f"{self.name} does not encode streams: it needs the whole sound; {STREAMING}"
            )
        n = self._threads if threads is None else as_threads(threads)
        create = self.stream_encoder if search else partial(self.stream_encoder, search=False)
        return self._stream_encoder(max_chunks, n, search, create)

    def _step_encoder(
        self, max_chunks: int, threads: int | None, *, search: bool = True
    ) -> StreamEncoder:
        """Return an encoder of one signal, which waits for whole steps."""
        n = self._threads if threads is None else as_threads(threads)
        create = partial(self._step_encoder, search=search)
        return self._stream_encoder(max_chunks, n, search, create, whole_steps=True)

    def _stream_encoder(
        self,
        max_chunks: int,
        threads: int,
        search: bool,
        create: Callable[[int, int], StreamEncoder],
        whole_steps: bool = False,
    ) -> StreamEncoder:
        prepared, config = self._stages, self._config

        def steps() -> EncoderSteps:
            chosen = prepared.search if search else None
            return EncoderSteps(config, prepared.encoder, prepared.compressor, chosen)

        most = as_max_chunks(max_chunks)
        memory = self._programs.memory(("encoder", search), steps, most, threads)
        return StreamEncoder(config, memory, most, threads, create, whole_steps)

    def stream_decoder(
        self,
        max_chunks: int = 1,
        threads: int | None = None,
        *,
        voice: Voice | None = None,
        topk: int = TOPK,
        any_voice: bool = False,
    ) -> StreamDecoder:
        """Return a decoder for one stream.

        Parameters
        ----------
        max_chunks : int
            Maximum number of chunks per step, as in `stream_encoder`. The samples do not depend
            on it.
        threads : int, optional
            Threads that share the work of a step: 1, 2 or 4. Absent: the codec's.
        voice, topk, any_voice
            A voice to decode with, as `with_voice` takes it. Absent: the codec's, or none.

        Returns
        -------
        StreamDecoder
            A decoder at the start of its stream.

        Raises
        ------
        fcs_edge.FcsError
            The model does not decode streams, or the voice does not fit it.
        TypeError
            `max_chunks`, `threads` or `topk` is no integer.
        ValueError
            One of them is out of range, or only `voice` uses what is given.
        """
        voiced = self._chosen(voice, topk, any_voice)
        if not self.decodes_streams:
            raise FcsError(f"{self.name} does not decode streams: it needs all tokens; {STREAMING}")
        n = self._threads if threads is None else as_threads(threads)
        prepared, config = self._stages, self._config
        stage = None if voiced is None else voiced.stage()

        def steps() -> DecoderSteps:
            return DecoderSteps(config, prepared.decompressor, prepared.decoder, stage)

        kind = "decoder", None if voiced is None else (voiced.voice.index, voiced.topk)
        most = as_max_chunks(max_chunks)
        memory = self._programs.memory(kind, steps, most, n)
        codec = self if voiced is None else self._changed(_voice=voiced)
        return StreamDecoder(config, memory, most, n, codec.stream_decoder)

    def stage_stream(
        self,
        first: str,
        last: str,
        max_chunks: int = 1,
        threads: int | None = None,
        *,
        search: bool = True,
    ) -> StageStream:
        """Return a stream of the stages from the first to the last one.

        The stages are ``encoder``, ``compressor``, ``quantizer``, ``decompressor`` and
        ``decoder``; between them are samples, features, latents, tokens, features and samples.
        The results equal those of the whole-signal methods, to the bit: `features`, `latents`,
        `quantize`, `decompress` of `codes`, `synthesize`, `encode`, `decode`. A voice of the
        codec counts where both decompressor and decoder run.

        Parameters
        ----------
        first : str
            The stage that takes the input.
        last : str
            The stage that gives the output.
        max_chunks : int
            Maximum number of chunks per step, as in `stream_encoder`.
        threads : int, optional
            Threads that share the work of a step: 1, 2 or 4. Absent: the codec's.
        search : bool
            As in `encode`. The code search needs the samples: where the first stage is no
            encoder, tokens are the signs of latents.

        Returns
        -------
        StageStream
            A stream at its start.

        Raises
        ------
        fcs_edge.FcsError
            A stage of the run needs the whole signal.
        TypeError
            `max_chunks` or `threads` is no integer.
        ValueError
            A name is no stage's, the names are not in order, or a number is out of range.
        """
        run = stage_stream.run_of(first, last)
        stage_stream.check_streams(self._config, run, self.name)
        n = self._threads if threads is None else as_threads(threads)
        voiced, prepared = self._voice, self._stages
        stage = None if voiced is None else voiced.stage()

        def steps() -> stage_stream.StageSteps:
            stages = stage_stream.stages_of(prepared, run, search, stage)
            return stage_stream.StageSteps(self._config, stages, run)

        kind = *run, search, None if voiced is None else (voiced.voice.index, voiced.topk)
        most = as_max_chunks(max_chunks)
        memory = self._programs.memory(kind, steps, most, n)
        create = partial(self.stage_stream, first, last, search=search)
        return StageStream(self._config, memory, run, most, n, create=create)

    def signal_encoder(
        self,
        *,
        search: bool = True,
        exact: bool = False,
        window: float | None = None,
        overlap: float | None = None,
        threads: int | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> SignalEncoder:
        """Return what encodes one signal that comes in pieces, with any model.

        It has the methods `push` and `flush` of a stream encoder, and is one where the model
        encodes streams. It collects the samples of whole steps, 8 chunks each, which read the
        weights once. Any other model returns its tokens from `flush`, or window by window.

        Parameters
        ----------
        search, exact, window, overlap
            As in `encode`.
        threads : int, optional
            As in `stream_encoder`.
        on_progress : callable, optional
            Takes the share of the work that is done, 0 to 1, while the whole signal is encoded, or
            each window.

        Returns
        -------
        SignalEncoder
            An encoder at the start of a signal. Its property `used` names the windows.

        Raises
        ------
        TypeError, ValueError
            As in `encode` and `stream_encoder`.
        """
        choice = Choice(exact, window, overlap)
        choice.check(self.encodes_streams)
        if self.encodes_streams:
            return self._step_encoder(BLOCK_CHUNKS, threads, search=search)

        def encode(samples: F32) -> U16:
            return self._stages.encode(sanitized(samples), on_progress)

        return signal_encoder(self._config, encode, choice)

    def token_decoder(self, threads: int | None = None) -> TokenDecoder:
        """Return what decodes tokens that come in pieces, with any model.

        It has the methods `push` and `flush` of a stream decoder, and is one where the model
        decodes streams. Any other model returns all samples from `flush`.

        Parameters
        ----------
        threads : int, optional
            As in `stream_decoder`.

        Returns
        -------
        TokenDecoder
            A decoder at the start of its tokens.
        """
        if self.decodes_streams:
            return self.stream_decoder(BLOCK_CHUNKS, threads)
        voice = None if self._voice is None else self._voice.stage()
        return WholeDecoder(partial(self._stages.decode, voice=voice))

    def encode(
        self,
        signal: ArrayLike,
        *,
        search: bool = True,
        exact: bool = False,
        window: float | None = None,
        overlap: float | None = None,
    ) -> U16:
        """Encode a whole signal; a last, partial chunk is computed on its own samples.

        Parameters
        ----------
        signal : array_like
            (n,) floating point, mono, at `sample_rate_in`.
        search : bool
            Whether the code search chooses the tokens, where the model has one. Without it each
            bit is the sign of a latent's value, as `quantize` returns it.
            ``token_settings(codec.model, search=False)`` states it.
        exact : bool
            Whether a model that needs the whole signal encodes it at once beyond an hour too.
        window : float, optional
            Encode overlapping windows of so many seconds, from 1, in place of the whole signal.
            The tokens are other ones, unless one window holds the signal.
        overlap : float, optional
            Seconds that windows share, half a window at most. Absent: 4, or half a window.

        Returns
        -------
        numpy.ndarray
            (`n_tokens` (n),) uint16. Sums of uint16 wrap beyond 65535; a language model's
            vocabulary needs ``.astype(np.int64)`` first.

        Raises
        ------
        fcs_edge.FcsError
            The signal is too short for a model that is not causal.
        TypeError
            The samples are not floating point, or the array is masked.
        ValueError
            The signal is not one-dimensional; a window is out of range; or the signal is too long
            to be encoded at once without `exact`. `exact`, `window` and `overlap` are for models
            that do not encode streams.

        Warns
        -----
        fcs_edge.AudioWarning
            A sample is far beyond 1: the signal has another scale. Or a sample is NaN or infinite,
            and counts as 0. Streams do not warn.
        """
        samples = as_signal(signal)
        for line in _oddities(samples):
            warnings.warn(line, AudioWarning, stacklevel=2)
        choice = Choice(exact, window, overlap)
        if not self.encodes_streams or choice != Choice():
            whole = self.signal_encoder(search=search, **choice._asdict())
            return np.concatenate([whole.push(samples), whole.flush()])
        create = partial(self._step_encoder, BLOCK_CHUNKS, self._threads, search=search)
        with self._encoders.taken((self._threads, search), create) as encoder:
            return np.concatenate([encoder.push(samples), encoder.flush()])

    def encode_batch(
        self,
        signals: Iterable[ArrayLike],
        *,
        search: bool = True,
        exact: bool = False,
        window: float | None = None,
        overlap: float | None = None,
    ) -> list[U16]:
        """Encode several whole signals, each as `encode` does, to the bit.

        A codec of several `threads` encodes that many signals at a time.

        Parameters
        ----------
        signals : iterable of array_like
            Signals of any lengths, each as `encode` takes it.
        search, exact, window, overlap
            As in `encode`.

        Returns
        -------
        list of numpy.ndarray
            The tokens of each signal, (n,) uint16.

        Raises
        ------
        TypeError, ValueError
            As in `encode`, with the signal's number before the text, from 0. Nothing is encoded.
        fcs_edge.FcsError
            As in `encode`, with the signal's number.

        Warns
        -----
        fcs_edge.AudioWarning
            As in `encode`, with the signal's number.
        """
        choice = Choice(exact, window, overlap)
        choice.check(self.encodes_streams)

        def check(signal: ArrayLike) -> F32:
            samples = as_signal(signal)
            if not self.encodes_streams:
                choice.check_length(samples.size)
            return samples

        checked = batch.checked(signals, check, "signal")
        for i, samples in enumerate(checked):
            for line in _oddities(samples):
                warnings.warn(f"signal {i}: {line}", AudioWarning, stacklevel=2)
        n_workers = min(self._threads, len(checked))
        if n_workers > 1:
            self._stages.prepare("encoder", "compressor")
        how = {"search": search, "threads": 1, **choice._asdict()}
        workers = [self.signal_encoder(**how) for _ in range(n_workers)]
        return batch.run(checked, workers, "signal")

    def decode(
        self,
        tokens: ArrayLike,
        *,
        voice: Voice | None = None,
        topk: int = TOPK,
        any_voice: bool = False,
    ) -> F32:
        """Decode a whole stream of tokens.

        Parameters
        ----------
        tokens : array_like
            (n,) integers below ``2 ** bits_per_token``.
        voice, topk, any_voice
            A voice to decode with, as `with_voice` takes it. Absent: the codec's, or none.

        Returns
        -------
        numpy.ndarray
            (n * samples_out_per_token,) float32 at `sample_rate_out`, in [-1, 1]. Vocos decoders
            have no such limit, and may add one sample.

        Raises
        ------
        fcs_edge.VoiceError
            The voice does not fit the model.
        TypeError
            The tokens are not integers, or the array is masked.
        ValueError
            The tokens are not one-dimensional, or one is out of range, or only `voice` uses
            what is given.
        """
        voiced = self._chosen(voice, topk, any_voice)
        codec = self if voice is None else self._changed(_voice=voiced)
        decoder = codec.token_decoder()
        checked = as_tokens(tokens, self.bits_per_token)
        return np.concatenate([decoder.push(checked), decoder.flush()])

    def decode_batch(self, tokens: Iterable[ArrayLike]) -> list[F32]:
        """Decode several whole streams of tokens, each as `decode` does, to the bit.

        A codec of several `threads` decodes that many of them at a time. A voice is that of the
        codec: `with_voice` gives it one.

        Parameters
        ----------
        tokens : iterable of array_like
            Tokens of any numbers, each array as `decode` takes it.

        Returns
        -------
        list of numpy.ndarray
            The samples of each, (n * samples_out_per_token,) float32, as from `decode`.

        Raises
        ------
        TypeError, ValueError
            As in `decode`, with the number of the array before the text, from 0. Nothing is
            decoded.
        """
        check = partial(as_tokens, bits=self.bits_per_token)
        checked = batch.checked(tokens, check, "tokens")
        n_workers = min(self._threads, len(checked))
        if n_workers > 1:
            self._stages.prepare("decompressor", "decoder")
        workers = [self.token_decoder(1) for _ in range(n_workers)]
        return batch.run(checked, workers, "tokens")

    def features(self, signal: ArrayLike) -> F32:
        """Return the encoder's features of a whole signal.

        Parameters
        ----------
        signal : array_like
            (n,) floating point at `sample_rate_in`. NaN and infinity count as 0.

        Returns
        -------
        numpy.ndarray
            (frames, dim) float32. A causal encoder gives ceil(n / 320) frames, with the published
            strides; any other one floor((n - 400) / 320) + 1, and 1 for fewer than 400 samples.

        Raises
        ------
        TypeError
            The samples are not floating point, or the array is masked.
        ValueError
            The signal is not one-dimensional.
        """
        return self._stages.features(sanitized(as_signal(signal)))

    def latents(self, features: ArrayLike) -> F32:
        """Return the compressor's latents of features, before the code search.

        Parameters
        ----------
        features : array_like
            (frames, dim) float32, any number of frames.

        Returns
        -------
        numpy.ndarray
            (tokens, bits_per_token) float32, rows of unit length. Each stands for the product of
            the downscale factors in frames. A causal compressor rounds the last one up.

        Raises
        ------
        fcs_edge.FcsError
            There are too few frames for a compressor that is not causal.
        TypeError
            The values are no numbers, or the array is masked.
        ValueError
            The array has another shape.
        """
        return self._stages.latents(as_matrix(features, self._config.encoder.dim, "features"))

    def quantize(self, latents: ArrayLike) -> U16:
        """Return the token of each latent, by the signs of its values.

        Parameters
        ----------
        latents : array_like
            (tokens, bits_per_token) float32.

        Returns
        -------
        numpy.ndarray
            (tokens,) uint16; the first column is the most significant bit.

        Raises
        ------
        TypeError
            The values are no numbers, or the array is masked.
        ValueError
            The array has another shape.
        """
        return self._stages.quantize(as_matrix(latents, self.bits_per_token, "latents"))

    def codes(self, tokens: ArrayLike) -> F32:
        """Return the code of each token.

        Parameters
        ----------
        tokens : array_like
            (n,) integers below ``2 ** bits_per_token``.

        Returns
        -------
        numpy.ndarray
            (n, bits_per_token) float32, each value ``+-1 / sqrt(bits_per_token)``.

        Raises
        ------
        TypeError
            The tokens are not integers, or the array is masked.
        ValueError
            The tokens are not one-dimensional, or one is out of range.
        """
        return self._stages.codes(as_tokens(tokens, self.bits_per_token))

    def decompress(self, codes: ArrayLike) -> F32:
        """Return the decompressor's features of codes.

        Parameters
        ----------
        codes : array_like
            (tokens, bits_per_token) float32: `codes` of tokens, or any other points.

        Returns
        -------
        numpy.ndarray
            (frames, dim) float32, after the refiner.

        Raises
        ------
        TypeError
            The values are no numbers, or the array is masked.
        ValueError
            The array has another shape.
        """
        return self._stages.decompress(as_matrix(codes, self.bits_per_token, "codes"))

    def synthesize(self, features: ArrayLike) -> F32:
        """Return the decoder's samples of features.

        Parameters
        ----------
        features : array_like
            (frames, dim) float32, as `decompress` returns them.

        Returns
        -------
        numpy.ndarray
            (frames * hop,) float32 at `sample_rate_out`, with Vocos at times one more; in [-1, 1]
            but for Vocos. Not a number where the features are none, or so large that sums
            overflow.

        Raises
        ------
        TypeError
            The values are no numbers, or the array is masked.
        ValueError
            The array has another shape.
        """
        columns = self._config.decoder.input_dim
        return self._stages.synthesize(as_matrix(features, columns, "features"))


def _load_pickled(
    model: str,
    sha256: str,
    activations: int | None = None,
    threads: int = 1,
    voice: _Voiced | None = None,
) -> Codec:
    """Load the model of a pickled codec; older pickles state no activations and no threads."""
    try:
        found = catalogue.referenced(model)
        # Before its activations: another model's weights may not multiply them.
        if found.sha256 == sha256:
            codec = Codec(found, activations=activations, threads=threads)
            return codec if voice is None else codec.with_voice(*voice[:2], any_voice=voice[2])
    except ModelFileError as error:
        raise ModelFileError(f"the model of a pickled codec cannot be loaded: {error}") from None
    raise ModelFileError(
        f"{model}: not the model of the pickled codec or stream: the file has changed, or this "
        "installation has another one; pickle it again"
    )


def _oddities(samples: F32) -> list[str]:
    """Return what `encode` warns of, a line each."""
    n_bad = samples.size - int(np.count_nonzero(np.isfinite(samples)))
    return [line for line in (not_finite(n_bad), beyond_full_scale(peak_of(samples))) if line]
