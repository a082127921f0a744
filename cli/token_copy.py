"""Tokens from one kind of file to another, without sound."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import fcs_edge
from fcs_edge.bitstream.reader import BitstreamReader, read_batches
from fcs_edge.cli.output_files import output_file
from fcs_edge.cli.ui.messages import Capped, Messages
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError
from fcs_edge.model.layers import U16
from fcs_edge.tokens.event_decoder import (
    DamageReport,
    check_fingerprint,
    check_header,
    check_intact,
    check_origin,
    header_slack,
    labelled,
    length_problem,
    missing_start,
    read_header,
    refuse_others,
)
from fcs_edge.tokens.event_tokens import EventTokens
from fcs_edge.tokens.fcs import (
    PriorCoders,
    codec_of,
    fcs_writer,
    header_of,
    prior_problem,
)
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.npy import TokenArray, TokenWriter, open_npy, tokens_of
from fcs_edge.tokens.npz import ARRAY_SUFFIXES, Origin, array_writer, open_npz, origin_of
from fcs_edge.tokens.settings import settings_of, window_settings


class TokenOptions(NamedTuple):
    """How tokens are copied: options of the commands."""

    model: str | None
    any_model: bool | None = False
    """None where the command has no such option."""
    strict: bool = False
    force: bool = False
    dtype: str = "uint16"
    fcs: FcsOptions = FcsOptions()
    """Of an output that is a bitstream."""
    salvage: bool = False


class _Source:
    """Tokens that are being read; `losses` and `n_samples` are complete once `blocks` ends."""

    def __init__(self, origin: Origin, codec: Codec | None, blocks: Iterator[U16]) -> None:
        self.origin = origin
        self.codec = codec
        self.blocks = blocks
        self.n_samples = 0
        self.losses: list[str] = []


def suffix_of(path: str) -> str:
    """Return a file's suffix in lower case; that of a standard stream is empty."""
    return "" if path == "-" else Path(path).suffix.lower()


def is_array(path: str) -> bool:
    """Return whether a path names an array of tokens."""
    return suffix_of(path) in ARRAY_SUFFIXES


def copy_tokens(source: str, out: str, options: TokenOptions, messages: Messages) -> bool:
    """Write the tokens of one file to another; return whether all of them arrived.

    Raises
    ------
    FcsError
        No token of the source is intact, or the model of the tokens is needed and not there.
    """
    needs_codec = not is_array(out)
    with _open(source, options, needs_codec, messages) as opened:
        n_tokens = 0
        with output_file(out, options.force) as file:
            writer = _writer(file, out, opened, options)
            for tokens in opened.blocks:
                writer.write(tokens)
                n_tokens += tokens.size
            writer.close(opened.n_samples)
        for loss in opened.losses:
            messages.warn(f"{_label(source)}: {loss}")
        messages.note(f"{out}: {n_tokens} tokens")
        return not opened.losses


def _writer(file: BinaryIO, out: str, opened: _Source, options: TokenOptions) -> TokenWriter:
    if is_array(out):
        return array_writer(file, suffix_of(out), opened.origin, options.dtype)
    assert opened.codec is not None
    return fcs_writer(file, opened.codec, options.fcs, opened.origin.settings)


@contextmanager
def _open(
    source: str, options: TokenOptions, needs_codec: bool, messages: Messages
) -> Iterator[_Source]:
    path, suffix = Path(source), suffix_of(source)
    with ExitStack() as stack:
        if suffix == ".npy":
            array = stack.enter_context(open_npy(path))
            bare = fcs_edge.load(options.model)
            messages.note(assumed(source, bare))
            opened = _Source(origin_of(bare)._replace(settings={}), bare, iter(()))
            n_samples = array.n_tokens * bare.samples_per_token
            opened.blocks = _from_array(array, n_samples, opened, options, source)
        elif suffix == ".npz":
            tokens = stack.enter_context(open_npz(path))
            stack.enter_context(labelled(source))
            codec = _codec(tokens.origin.fingerprint, options, needs_codec)
            if codec is not None:
                check_origin(tokens.origin, codec, options.any_model)
            opened = _Source(tokens.origin, codec, iter(()))
            opened.blocks = _from_array(tokens.array, tokens.n_samples, opened, options, source)
        else:
            file = sys.stdin.buffer if source == "-" else stack.enter_context(open_file(source))
            stack.enter_context(labelled(_label(source)))
            opened = _from_bitstream(file, source, options, messages)
        yield opened


def _from_array(
    array: TokenArray, n_samples: int, opened: _Source, options: TokenOptions, label: str
) -> Iterator[U16]:
    """Yield the tokens of an array as uint16, each checked."""
    codec = opened.codec
    problem = (
        None
        if codec is None
        else length_problem(array.n_tokens, n_samples, codec, opened.origin.settings)
    )
    if problem and options.strict:
        raise BitstreamError(problem)
    covered = n_samples
    if codec is not None:
        covered = array.n_tokens * codec.samples_per_token + header_slack(codec)
    opened.n_samples = min(n_samples, covered)
    opened.losses = [problem] if problem else []
    yield from tokens_of(array, 16 if codec is None else codec.bits_per_token, label)


def _from_bitstream(
    file: BinaryIO, source: str, options: TokenOptions, messages: Messages
) -> _Source:
    refuse_others(file)
    named = None if options.model is None else fcs_edge.load(options.model)
    join = named or fcs_edge.load()
    reader = BitstreamReader(
        strict=options.strict,
        salvage=options.salvage,
        join=header_of(join, settings={}),
        coders=PriorCoders(named),
    )
    header, batches = read_header(read_batches(file, reader))
    label = _label(source)
    if reader.joined:
        messages.warn(f"{label}: {missing_start(join.name)}")
    codec = named or codec_of(header.fingerprint)
    if codec is not None:
        check_header(header, codec, options.any_model)
    name = "" if codec is None or codec.fingerprint != header.fingerprint else codec.name
    origin = Origin(header.fingerprint, name, header.input_rate, settings_of(header.settings))
    tokens = EventTokens(header, None if codec is None else codec.chunk_tokens)
    opened = _Source(origin, codec, iter(()))

    def blocks() -> Iterator[U16]:
        warn = Capped(lambda text: messages.warn(f"{label}: {text}"))
        damage = DamageReport(warn.add, prior_problem(header, codec))
        for events in batches:
            damage.take(events)
            yield from tokens.take(events)
        yield from tokens.rest()
        warn.close()
        opened.n_samples = tokens.n_samples
        opened.origin.settings.update(window_settings(tokens.metadata, header.input_rate))
        check_intact(reader, tokens.n_tokens - tokens.n_lost)
        if reader.repairs is not None and reader.repairs.corrected:
            messages.note(f"{label}: {reader.repairs}")
        opened.losses += tokens.losses(reader.damaged > 0)
        if opened.losses and options.strict:
            raise BitstreamError(opened.losses[0])

    opened.blocks = blocks()
    return opened


def _codec(fingerprint: bytes, options: TokenOptions, needed: bool) -> Codec | None:
    """Return the model of a fingerprint: the one that is named, or else one that has a name."""
    if options.model is None:
        found = codec_of(fingerprint)
        if found is not None:
            return found
        if not needed:
            return None
    codec = fcs_edge.load(options.model)
    check_fingerprint(fingerprint, codec, options.any_model)
    return codec


def assumed(source: str, codec: Codec) -> str:
    """Return a note: an array of bare tokens does not state its model."""
    model = f"{codec.name} ({codec.fingerprint.hex()})"
    return f"{source}: bare tokens, taken for those of {model}"


def open_file(source: str) -> BinaryIO:
    """Open an input for bytes."""
    try:
        return Path(source).open("rb")
    except FileNotFoundError:
        raise BitstreamError(f"{source}: no such file") from None
    except IsADirectoryError:
        raise BitstreamError(
            f"{source}: is a folder; give a file of tokens, or use fcs-edge corpus decode"
        ) from None


def _label(source: str) -> str:
    return "standard input" if source == "-" else source
