"""A trained prior in integers, and the copy of a model file that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcs_edge.convert.prior_network import SKIP_ONE, WEIGHT_ONE, Parameters
from fcs_edge.entropy.prior import Prior, specs
from fcs_edge.errors import FcsError
from fcs_edge.model.layers import U16
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.prior_tensors import MAX_PRIORS


def integers(parameters: Parameters) -> Prior:
    """Return rounded parameters as the integers of a prior."""
    bits, hidden = parameters.output.shape
    arrays = {}
    for (name, (dtype, _)), values in zip(specs(bits, hidden).items(), parameters, strict=True):
        one = SKIP_ONE if name.endswith("skip") else WEIGHT_ONE
        arrays[name] = np.rint(values * one).astype(dtype)
    arrays["step"][-1] = 0
    return Prior(**arrays)


def measured(prior: Prior, recordings: Sequence[U16], block: int) -> float:
    """Return the bits a token that coded blocks take; each is decoded again and compared.

    Raises
    ------
    FcsError
        A block decodes to other tokens, or blocks take no fewer bits than raw tokens do.
    """
    coder, n_bytes, n_tokens = prior.coder(), 0, 0
    for tokens in recordings:
        for at in range(0, len(tokens), block):
            part = tokens[at : at + block]
            coded = coder.encode(part)
            if not np.array_equal(coder.decode(coded, len(part)), part):
                raise FcsError("a coded block decodes to other tokens: report this, please")
            n_bytes, n_tokens = n_bytes + len(coded), n_tokens + len(part)
    bits = 8 * n_bytes / max(1, n_tokens)
    if bits >= prior.bits:
        raise FcsError(
            f"the tokens held out take {bits:.2f} bits with this prior, and {prior.bits} without "
            "it: give more speech"
        )
    return bits


def add_prior(model: ModelFile, prior: Prior, path: Path, *, overwrite: bool = True) -> None:
    """Write a copy of a model file with one more prior, the newest.

    Raises
    ------
    FcsError
        The file has as many priors as there may be, or a file appeared at `path` meanwhile.
    OSError
        The file cannot be written.
    """
    if len(model.priors) >= MAX_PRIORS:
        raise FcsError(f"{model.path}: has {MAX_PRIORS} priors already; train on another copy")
    others = [older for older in model.priors if older.check != prior.check]
    model_file.write_with_priors(path, model, [*others, prior], overwrite=overwrite)
