"""The bitstreams of a codec: their header, what writes them, and the coders that read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from fcs_edge.bitstream.writer import MAX_BLOCK_TOKENS, BitstreamWriter, Header
from fcs_edge.codec import Codec, load
from fcs_edge.entropy import TokenCoder
from fcs_edge.modelfile import catalogue
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.settings import Settings, settings_code, token_settings


def header_of(codec: Codec, *, coded: bool = True, settings: Settings | None = None) -> Header:
    """Return the header of a codec's bitstreams.

    Parameters
    ----------
    codec : Codec
        The model of the tokens.
    coded : bool
        Whether the model's prior codes blocks, where it has one: the header then names it.
    settings : dict, optional
        What changed the tokens, where it is not the codec's own: see `token_settings`.
    """
    stated = token_settings(codec.model) if settings is None else settings
    prior = codec.prior if coded else None
    return Header(
        bits=codec.bits_per_token,
        samples_per_token=codec.samples_per_token,
        input_rate=codec.sample_rate_in,
        output_rate=codec.sample_rate_out,
        fingerprint=codec.fingerprint,
        prior=0 if prior is None else prior.check,
        settings=settings_code(stated),
    )


def fcs_writer(
    file: BinaryIO,
    codec: Codec,
    options: FcsOptions | None = None,
    settings: Settings | None = None,
) -> BitstreamWriter:
    """Return the writer of a codec's bitstream; it has written the header.

    Parameters
    ----------
    file : binary file
        The output.
    codec : Codec
        The model of the tokens. Its newest prior codes them; without one, the neutral coder does.
    options : FcsOptions, optional
        How the bitstream is written.
    settings : dict, optional
        As for `header_of`.
    """
    options = options or FcsOptions()
    coded = not (options.raw or options.eager)
    header = header_of(codec, coded=coded, settings=settings)
    prior = codec.prior if coded else None
    tokens = round(options.block_seconds * codec.token_rate)
    return BitstreamWriter(
        file,
        header,
        block_tokens=min(max(tokens, 1), MAX_BLOCK_TOKENS),
        coder=None if prior is None else prior.coder(),
        raw=options.raw,
        eager=options.eager,
        chunk_tokens=codec.chunk_tokens,
        tags=options.tags,
    )


def coders_of(codec: Codec | None) -> Callable[[Header], TokenCoder | None]:
    """Return what gives a reader the coder of a header's prior, where a codec has that prior."""

    def coder(header: Header) -> TokenCoder | None:
        if codec is None or header.bits != codec.bits_per_token:
            return None
        prior = codec.priors.get(header.prior)
        return None if prior is None else prior.coder()

    return coder


def codec_of(fingerprint: bytes) -> Codec | None:
    """Return the model of a fingerprint: the default one, or else one that has a name here."""
    default = load()
    if default.fingerprint == fingerprint:
        return default
    named = catalogue.by_fingerprint(fingerprint)
    return None if named is None else load(named.path)


class NamedCoders:
    """Coders for a reader whose model is not known before its header: as `coders_of` returns.

    The model is that of the first header, by its name. Later parts of other models get no coder.

    Parameters
    ----------
    codec : Codec, optional
        The model, where the caller names it.
    """

    def __init__(self, codec: Codec | None = None) -> None:
        self._codec = codec
        self._fingerprint: bytes | None = None

    def __call__(self, header: Header) -> TokenCoder | None:
        """Return the coder of a header's prior, or None if the prior is not here."""
        if self._fingerprint is None:
            self._fingerprint = header.fingerprint
            self._codec = self._codec or codec_of(header.fingerprint)
        return coders_of(self._codec)(header) if header.fingerprint == self._fingerprint else None


def prior_problem(header: Header, codec: Codec | None) -> str | None:
    """Return what is lost where a model lacks the prior that a header names; None if it has it."""
    if not header.prior or (codec is not None and header.prior in codec.priors):
        return None
    lost = "their tokens are lost"
    if codec is not None:
        have = f"which {codec.name} does not have"
        return f"blocks are coded with the prior {header.prior:08x}, {have}; {lost}"
    model = header.fingerprint.hex()
    return (
        f"blocks are coded with the prior {header.prior:08x} of the model {model}, which has no "
        f"name here; {lost}: give that model with --model"
    )
