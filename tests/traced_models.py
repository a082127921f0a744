"""Model files of C that tests share: each model is traced once for a target, by all processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from fcs_edge.export import exporter, libraries
from fcs_edge.kernels.runtime import aot_library
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.model_file import ModelFile

Trace = Callable[[ModelFile | str | None, str], bytes]


def libraries_folder() -> Path:
    """Return the folder of the libraries that tests use."""
    return libraries.folder_of(libraries.MODULE).parent


def traced_once(folder: Path, trace: Trace = exporter.model_bytes) -> Trace:
    """Return `exporter.model_bytes` with a folder of what it made before."""

    def model_bytes(model: ModelFile | str | None, target: str) -> bytes:
        found = model if isinstance(model, ModelFile) else catalogue.find(model)
        key = f"{found.sha256} {found.name} {found.activation_bits} {target} "
        record = libraries.find(target).read(libraries.RECORD)
        path = folder / f"{hashlib.sha256(key.encode() + record).hexdigest()}.fcsm"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                # The library of this machine packs weights, where it is built, in place of Numba.
                with patch.dict(os.environ, {aot_library.VARIABLE: str(libraries_folder())}):
                    path.write_bytes(trace(found, target))
        return path.read_bytes()

    return model_bytes
