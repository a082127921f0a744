"""The bitstreams of a codec: their header, what writes them, and the coders that read them."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.protection import ProtectedWriter
from fcs_edge.bitstream.radio_packets import CELLS_HEAD_BYTES, HEAD_BYTES
from fcs_edge.bitstream.reader import unknown_prior
from fcs_edge.bitstream.writer import MAX_BLOCK_TOKENS, BitstreamWriter, Header
from fcs_edge.codec import Codec, load
from fcs_edge.entropy import TokenCoder, neutral_coder
from fcs_edge.modelfile import catalogue
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.settings import Settings, settings_code, token_settings, window_tags


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
    if not codec.encodes_streams:
        # Readers need it, whatever else is known.
        stated = {**stated, "causal": False}
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


def newest_coder(codec: Codec) -> TokenCoder:
    """Return the coder of a codec's newest prior, the neutral one without; ready for live sound."""
    prior = codec.prior
    coder = neutral_coder(codec.bits_per_token) if prior is None else prior.coder()
    coder.warm_up()
    return coder


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
        As for `header_of`. Metadata names what the header has no number for.
    """
    options = options or FcsOptions()
    settings = token_settings(codec.model) if settings is None else settings
    coded = not (options.raw or options.eager)
    if options.dtx:
        settings = settings | {"dtx": True}
    header = header_of(codec, coded=coded, settings=settings)
    tokens = round(options.block_seconds * codec.token_rate)
    how: dict[str, Any] = {
        "block_tokens": min(max(tokens, 1), MAX_BLOCK_TOKENS),
        "coder": newest_coder(codec) if coded else None,
        "raw": options.raw,
        "eager": options.eager,
        "chunk_tokens": codec.chunk_tokens,
        "tags": {**window_tags(settings, codec.sample_rate_in), **(options.tags or {})},
    }
    size = options.packet_bytes
    if options.protection is None:
        block = None if size is None else size - HEAD_BYTES
        return BitstreamWriter(file, header, block_bytes=block, **how)
    cell = None if size is None else size - CELLS_HEAD_BYTES
    protection = ProtectedWriter(file, options.protection, cell_bytes=cell)
    return _ProtectedBitstream(protection, header, **how)


class _ProtectedBitstream(BitstreamWriter):
    """The writer of a protected bitstream, whose last group it writes when it is closed."""

    def __init__(self, file: ProtectedWriter, header: Header, **how: Any) -> None:
        super().__init__(cast(BinaryIO, file), header, **how)
        self._protection = file

    def close(
        self,
        n_samples: int,
        tokens: NDArray[np.integer[Any]] | None = None,
        pauses: NDArray[np.bool_] | None = None,
    ) -> None:
        super().close(n_samples, tokens, pauses)
        self._protection.close()


def codec_of(fingerprint: bytes) -> Codec | None:
    """Return the model of a fingerprint: the default one, or else one that has a name here."""
    default = load()
    if default.fingerprint == fingerprint:
        return default
    named = catalogue.by_fingerprint(fingerprint)
    return None if named is None else load(named.path)


class PriorCoders:
    """What gives a reader the coder of a header's prior, or None where no model here has it.

    The priors are those of a model, and those of the model that the first such header names, where
    that has a name here. Parts of other models get no coder.

    Parameters
    ----------
    codec : Codec, optional
        The model, where the caller names it.
    """

    def __init__(self, codec: Codec | None = None) -> None:
        self._priors = {} if codec is None else dict(codec.priors)
        self._fingerprint: bytes | None = None
        self._has_named = False

    def __call__(self, header: Header) -> TokenCoder | None:
        """Return the coder of a header's prior, or None if the prior is not here."""
        if self._fingerprint is None:
            self._fingerprint = header.fingerprint
        if header.fingerprint != self._fingerprint:
            return None
        if header.prior not in self._priors and not self._has_named:
            self._has_named = True
            named = codec_of(header.fingerprint)
            self._priors |= {} if named is None else named.priors
        prior = self._priors.get(header.prior)
        return prior.coder() if prior is not None and prior.bits == header.bits else None


def prior_problem(header: Header, codec: Codec | None) -> dict[str, str]:
    """Return the line for blocks whose prior a model lacks, by the reader's message about one."""
    if not header.prior or (codec is not None and header.prior in codec.priors):
        return {}
    lost = "their tokens are lost"
    if codec is not None:
        owner = f", which {codec.name} does not have; {lost}: give its model file with --model"
    else:
        model = header.fingerprint.hex()
        owner = f" of the model {model}, which has no name here; {lost}: give it with --model"
    line = f"blocks are coded with the prior {header.prior:08x}{owner}"
    return {unknown_prior(header.prior): line}
