"""Whole files in one call: what ``fcs-edge encode`` and ``decode`` do, from Python."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.arguments import as_tokens
from fcs_edge.audio.reader import AudioInput, Channel, open_input
from fcs_edge.audio.resampling import DEFAULT_RESAMPLER
from fcs_edge.audio.writer import FILE_FORMATS, file_output
from fcs_edge.bitstream.reader import BitstreamReader, Damage, read_batches
from fcs_edge.codec import Codec, load
from fcs_edge.errors import AudioWarning, BitstreamError, FcsError
from fcs_edge.files import creating
from fcs_edge.model.layers import F32, U16, new
from fcs_edge.model.voice import Voice
from fcs_edge.streams.whole_signal import Choice, SignalEncoder, check_length
from fcs_edge.streams.whole_windows import Windows
from fcs_edge.tokens.event_decoder import (
    DamageReport,
    EventDecoder,
    check_header,
    check_intact,
    check_origin,
    decode_array,
    decode_events,
    labelled,
    length_problem,
    read_header,
    refuse_others,
)
from fcs_edge.tokens.event_tokens import EventTokens
from fcs_edge.tokens.fcs import PriorCoders, fcs_writer, header_of
from fcs_edge.tokens.fcs_options import FcsOptions, check_tags
from fcs_edge.tokens.npy import TOKEN_DTYPES, TokenWriter, open_npy
from fcs_edge.tokens.npz import ARRAY_SUFFIXES, array_writer, open_npz, origin_of
from fcs_edge.tokens.settings import Settings, token_settings

PathLike = str | os.PathLike[str]


class FileTokens(NamedTuple):
    """The tokens of a file, and what it states of them."""

    tokens: U16
    """(n,) uint16."""
    n_samples: int
    """Number of input samples that the tokens stand for."""
    sample_rate: int
    """Input sample rate in Hz."""
    fingerprint: bytes
    """Eight bytes that identify the model."""
    bits_per_token: int
    """Bits per token, as stored."""
    n_lost: int = 0
    """Tokens that were lost; the token before each gap stands for them."""
    damage: tuple[str, ...] = ()
    """What is damaged, a line each."""
    metadata: Mapping[str, str] = MappingProxyType({})
    """What a bitstream states beside its tokens, by key: foreign text."""


def encode_file(
    source: PathLike,
    out: PathLike | None = None,
    codec: Codec | None = None,
    *,
    channel: Channel = "mean",
    strict: bool = False,
    dtype: str = "uint16",
    force: bool = False,
    exact: bool = False,
    window: float | None = None,
    overlap: float | None = None,
    resampler: str = DEFAULT_RESAMPLER,
    search: bool = True,
) -> FileTokens:
    """Encode a sound file as ``fcs-edge encode`` does, to the bit.

    Parameters
    ----------
    source : str or path
        A sound file of any rate and channels.
    out : str or path, optional
        A ``.fcs``, ``.npz`` or ``.npy`` file to write. It appears complete or not at all.
    codec : Codec, optional
        The model. Absent: the default model.
    channel, strict, resampler
        As in `read_audio`.
    dtype : str
        Type of the tokens in an array file: "uint16" or "int64".
    force : bool
        Whether an existing file is overwritten.
    exact, window, overlap, search
        As in `Codec.encode`.

    Returns
    -------
    FileTokens
        The tokens, (n,) uint16, and the number of input samples.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be read or holds no sound, or `out` exists.
    ValueError
        An argument is not valid, or the sound is too long to be encoded without `exact`.

    Warns
    -----
    fcs_edge.AudioWarning
        Sound is missing, or odd.
    """
    codec, choice = codec or load(), Choice(exact, window, overlap)
    encoder = codec.signal_encoder(search=search, **choice._asdict())
    settings = token_settings(codec.model, search=search, resampler=resampler)
    with ExitStack() as stack:
        create = _writer(stack, out, codec, dtype, force, settings)
        sound = stack.enter_context(_opened(source, channel, strict, resampler))
        check_length(codec.encodes_streams, choice, sound.seconds)
        encoded = _encoded(sound, codec, encoder, create)
    return _warned(encoded, sound)


def _opened(
    source: PathLike, channel: Channel, strict: bool, resampler: str
) -> AbstractContextManager[AudioInput]:
    path = os.fspath(source)
    return open_input(path, None, 1, 1, channel=channel, strict=strict, resampler=resampler)


def _warned(encoded: FileTokens, sound: AudioInput) -> FileTokens:
    """Warn the caller's caller of what is missing or odd in a sound."""
    for line in (*sound.losses, *sound.warnings):
        warnings.warn(line, AudioWarning, stacklevel=3)
    return encoded


def _encoded(
    sound: AudioInput,
    codec: Codec,
    encoder: SignalEncoder,
    create: Callable[[Windows | None], TokenWriter],
) -> FileTokens:
    """Encode a sound, and write its tokens; the first ones tell whether there are windows."""
    parts: list[U16] = []
    n_samples = 0
    writer = None
    for block in sound.at_rate(codec.sample_rate_in):
        n_samples += block.size
        parts.append(encoder.push(block))
        if parts[-1].size:
            writer = writer or create(encoder.used)
            writer.write(parts[-1])
    sound.require_sound(n_samples)
    parts.append(encoder.flush())
    writer = writer or create(encoder.used)
    writer.close(n_samples, parts[-1])
    tokens, rate, bits = np.concatenate(parts), codec.sample_rate_in, codec.bits_per_token
    return FileTokens(tokens, n_samples, rate, codec.fingerprint, bits)


@overload
def decode_file(
    source: PathLike,
    out: None = None,
    codec: Codec | None = None,
    *,
    any_model: bool = False,
    strict: bool = True,
    force: bool = False,
    voice: Voice | None = None,
) -> F32: ...


@overload
def decode_file(
    source: PathLike,
    out: PathLike,
    codec: Codec | None = None,
    *,
    any_model: bool = False,
    strict: bool = True,
    force: bool = False,
    voice: Voice | None = None,
) -> None: ...


def decode_file(
    source: PathLike,
    out: PathLike | None = None,
    codec: Codec | None = None,
    *,
    any_model: bool = False,
    strict: bool = True,
    force: bool = False,
    voice: Voice | None = None,
) -> F32 | None:
    """Decode a file of tokens as ``fcs-edge decode`` does, to the bit.

    Parameters
    ----------
    source : str or path
        A ``.fcs`` bitstream, or an ``.npz`` or ``.npy`` of tokens.
    out : str or path, optional
        The sound file to write: ``.wav``, ``.flac`` or ``.ogg``. It appears complete or not at all.
    codec : Codec, optional
        The model. Absent: the default model. An ``.npy`` does not state its model.
    any_model : bool
        Whether tokens of another model are decoded.
    strict : bool
        Whether damage is an error. If not, silence stands for what is lost.
    force : bool
        Whether an existing file is overwritten.
    voice : Voice, optional
        A voice to decode with; `Codec.with_voice` has further choices.

    Returns
    -------
    numpy.ndarray or None
        (n,) float32 at ``codec.sample_rate_out``, in [-1, 1]; None if `out` is given.

    Raises
    ------
    fcs_edge.FcsError
        The source is no intact tokens of this model, `out` exists, or the voice does not fit.
    ValueError
        The suffix of `out` is not valid.

    Warns
    -----
    fcs_edge.AudioWarning
        Without `strict`: something is damaged.
    """
    codec = _with_voice(codec or load(), voice)
    path = Path(source)
    problems: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(labelled(os.fspath(source)))
        blocks = _sound(stack, path, codec, any_model, strict, problems)
        signal = None
        if out is None:
            signal = np.concatenate([new(0), *blocks])
        else:
            _write_sound(Path(out), blocks, codec, force)
    for line in problems:
        warnings.warn(f"{path}: {line}", AudioWarning, stacklevel=2)
    return signal


def _with_voice(codec: Codec, voice: Voice | None) -> Codec:
    return codec if voice is None else codec.with_voice(voice)


def read_fcs(path: PathLike, *, strict: bool = True, codec: Codec | None = None) -> FileTokens:
    """Read the tokens of a ``.fcs`` bitstream.

    Tokens that a model's prior codes need that prior. Raw and neutral blocks need no model.

    Parameters
    ----------
    path : str or path
        The bitstream. Of several parts in it, the first is read.
    strict : bool
        Whether damage is an error. If not, ``n_lost`` and ``damage`` of the result report it.
    codec : Codec, optional
        The model whose prior decodes the tokens. Absent: the default model, or one that
        ``fcs-edge models`` lists, by the file's fingerprint. A file whose start is missing is taken
        for one of `codec`, or of the default model.

    Returns
    -------
    FileTokens
        The tokens, (n,) uint16, and what the header and the end record state.

    Raises
    ------
    fcs_edge.BitstreamError
        The file is missing, no bitstream, or damaged.
    """
    damage: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(labelled(os.fspath(path)))
        file = stack.enter_context(_open(Path(path)))
        refuse_others(file)
        reader = BitstreamReader(
            strict=strict,
            join=None if strict else header_of(codec or load(), settings={}),
            coders=PriorCoders(codec),
        )
        header, batches = read_header(read_batches(file, reader))
        collected = EventTokens(header)
        parts = [np.zeros(0, np.uint16)]
        for events in batches:
            damage += [event.message for event in events if isinstance(event, Damage)]
            parts += collected.take(events)
        parts += collected.rest()
        if (problems := collected.contradictions()) and strict:
            raise BitstreamError(problems[0])
    return FileTokens(
        tokens=np.concatenate(parts),
        n_samples=collected.n_samples,
        sample_rate=header.input_rate,
        fingerprint=header.fingerprint,
        bits_per_token=header.bits,
        n_lost=collected.n_lost,
        damage=(*damage, *problems),
        metadata=collected.metadata,
    )


def write_fcs(
    path: PathLike,
    tokens: ArrayLike,
    n_samples: int | None = None,
    codec: Codec | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write tokens to a ``.fcs`` bitstream, as ``fcs-edge encode`` does, to the bit.

    Parameters
    ----------
    path : str or path
        The bitstream to write; it appears complete or not at all.
    tokens : array_like
        (n,) integers below ``2 ** codec.bits_per_token``.
    n_samples : int, optional
        Number of input samples. Absent: all samples that the tokens stand for.
    codec : Codec, optional
        The model of the tokens. Absent: the default model.
    tags : mapping of str to str, optional
        Metadata by key: title, comment, time (ISO 8601), or keys of your own.
    settings : mapping of str to object, optional
        What changed the tokens, as `token_settings` returns it. Absent: the codec's own.
    force : bool
        Whether an existing file is overwritten.

    Raises
    ------
    fcs_edge.FcsError
        The file exists.
    TypeError
        The tokens are not integers.
    ValueError
        The tokens are not one-dimensional, one is out of range, or their number is not what
        `n_samples` needs; or a tag is not valid.
    """
    codec = codec or load()
    checked = as_tokens(tokens, codec.bits_per_token)
    check_tags(tags or {})
    if n_samples is None:
        n_samples = checked.size * codec.samples_per_token
    stated = token_settings(codec.model) if settings is None else dict(settings)
    if settings is None and length_problem(checked.size, n_samples, codec, stated):
        # More tokens may be those of a last chunk that zeros filled.
        stated["token_rules"] = 1
    if problem := length_problem(checked.size, n_samples, codec, stated):
        raise ValueError(problem.removesuffix("; they are left out"))
    with _output(Path(path), force) as file:
        fcs_writer(file, codec, FcsOptions(tags=tags), stated).close(n_samples, checked)


class _NoWriter:
    """Tokens that are not written."""

    def write(self, tokens: U16) -> None:
        pass

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        pass


def _writer(
    stack: ExitStack,
    out: PathLike | None,
    codec: Codec,
    dtype: str,
    force: bool,
    settings: Settings,
) -> Callable[[Windows | None], TokenWriter]:
    """Open the output; return what creates its writer, where windows are known or none."""
    if dtype not in TOKEN_DTYPES:
        raise ValueError(f"a dtype of {' or '.join(TOKEN_DTYPES)} is expected, not {dtype!r}")
    if out is None:
        return lambda _: _NoWriter()
    suffix = Path(out).suffix.lower()
    if suffix not in (".fcs", *ARRAY_SUFFIXES):
        raise ValueError(f"out must end in .fcs, .npz or .npy, not {suffix!r}")
    file = stack.enter_context(_output(Path(out), force))

    def create(windows: Windows | None) -> TokenWriter:
        stated = settings | ({} if windows is None else windows.settings())
        if suffix in ARRAY_SUFFIXES:
            return array_writer(file, suffix, origin_of(codec, stated), dtype)
        return fcs_writer(file, codec, settings=stated)

    return create


def _sound(
    stack: ExitStack,
    path: Path,
    codec: Codec,
    any_model: bool,
    strict: bool,
    problems: list[str],
) -> Iterator[F32]:
    """Open a file of tokens, and return its sound, (n,) float32 at a time."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return decode_array(stack.enter_context(open_npy(path)), codec, str(path))
    if suffix == ".npz":
        opened = stack.enter_context(open_npz(path))
        check_origin(opened.origin, codec, any_model)
        if problem := length_problem(
            opened.array.n_tokens, opened.n_samples, codec, opened.origin.settings
        ):
            if strict:
                raise BitstreamError(problem)
            problems.append(problem)
        return decode_array(opened.array, codec, str(path), opened.n_samples)
    file = stack.enter_context(_open(path))
    return _bitstream_sound(file, codec, any_model, strict, problems)


def _bitstream_sound(
    file: BinaryIO, codec: Codec, any_model: bool, strict: bool, problems: list[str]
) -> Iterator[F32]:
    refuse_others(file)
    join = None if strict else header_of(codec, settings={})
    reader = BitstreamReader(strict=strict, join=join, coders=PriorCoders(codec))
    header, batches = read_header(read_batches(file, reader))
    check_header(header, codec, any_model)

    def report(text: str) -> None:
        if strict:
            raise BitstreamError(text)
        problems.append(text)

    decoder = EventDecoder(codec, report, any_model=any_model)
    yield from decode_events(batches, decoder, DamageReport(problems.append))
    check_intact(reader, decoder.n_intact, decoder.n_problems)


def _write_sound(out: Path, blocks: Iterator[F32], codec: Codec, force: bool) -> None:
    suffix = out.suffix.lower()
    if suffix not in FILE_FORMATS:
        raise ValueError(f"out must end in {', '.join(FILE_FORMATS)}, not {suffix!r}")
    with _output(out, force) as file:
        sink = file_output(file, suffix, codec.sample_rate_out)
        try:
            for samples in blocks:
                sink.write(samples)
            sink.close()
        finally:
            sink.discard()


@contextmanager
def _output(path: Path, force: bool) -> Iterator[BinaryIO]:
    """Open a new file for bytes; it appears complete when the block ends, or not at all."""
    if path.is_dir():
        raise FcsError(f"{path}: is a folder; give a file name")
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise FcsError(f"{path}: its folder does not exist")
    if path.exists() and not force:
        raise FcsError(f"{path}: exists already; force=True overwrites it")
    with creating(path, overwrite=force) as file:
        yield file


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise BitstreamError("no such file") from None
    except OSError as error:
        raise BitstreamError(error.strerror or str(error)) from error
