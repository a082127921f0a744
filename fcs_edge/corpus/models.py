"""The model of a dataset's tokens, where it is on this machine."""

from __future__ import annotations

import os

from fcs_edge.codec import Codec, load
from fcs_edge.modelfile import catalogue
from fcs_edge.tokens.event_decoder import check_fingerprint
from fcs_edge.tokens.fcs import codec_of


def model_of(fingerprint: bytes, model: str | os.PathLike[str] | None) -> Codec | None:
    """Return the model of a fingerprint.

    Parameters
    ----------
    fingerprint : bytes
        Eight bytes.
    model : str or path, optional
        The model. Absent: the default one or another with a name here, if one has the fingerprint;
        else None is returned.

    Raises
    ------
    fcs_edge.FcsError
        There is no such model, or it has another fingerprint.
    """
    if model is None:
        return codec_of(fingerprint)
    codec = load(model)
    check_fingerprint(fingerprint, codec, None)
    return codec


def decoding_model(
    fingerprint: str,
    model: str | os.PathLike[str] | None,
    any_model: bool,
    activations: int | None = None,
) -> Codec:
    """Return the model that decodes the tokens of a dataset.

    Parameters
    ----------
    fingerprint : str
        The dataset's, hexadecimal.
    model : str or path, optional
        The model. Absent: one with a name here that has the fingerprint, or else the default one.
    any_model : bool
        Whether tokens of another model are decoded.
    activations : int, optional
        As in `load`.

    Raises
    ------
    fcs_edge.FcsError
        There is no such model, it has another fingerprint, or it is a half without a decoder.
    """
    stated = bytes.fromhex(fingerprint)
    codec = codec_of(stated) if model is None and not any_model else None
    if codec is None or activations is not None:
        named = model if codec is None else catalogue.reference(codec.model)
        codec = load(named, activations=activations)
    check_fingerprint(stated, codec, any_model)
    codec.model.require("decoder")
    return codec
