"""Facts about a model file, for `Codec.info` and ``fcs-edge info``."""

from __future__ import annotations

from typing import Any

from fcs_edge.modelfile.catalogue import BUILT_IN
from fcs_edge.modelfile.model_file import ModelFile

Facts = dict[str, Any]
"""Values for JSON by name, in plain units."""


def model_facts(model: ModelFile) -> Facts:
    """Return what a model file is; ``bytes`` is None where the file is gone."""
    try:
        n_bytes = model.path.stat().st_size
    except OSError:
        n_bytes = None
    return {
        "model": model.name,
        "note": BUILT_IN.get(model.name),
        "source": model.source,
        "fingerprint": model.fingerprint.hex(),
        "sha256": model.sha256,
        "weights": model.weights,
        "part": model.part,
        "stored_as": model.scheme,
        "priors": [f"{prior.check:08x}" for prior in model.priors],
        "bytes": n_bytes,
    }
