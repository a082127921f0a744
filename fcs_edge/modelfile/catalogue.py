"""The models this package knows by name."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from fcs_edge.errors import ModelFileError
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import ModelFile

DEFAULT_MODEL = "edge-65k"
"""The built-in model that is used where none is named."""

BUILT_IN = {
    "edge-65k": "small enough for a Raspberry Pi Zero 2 W; one word in six is lost "
    "on it (docs/model-card.md)",
}
"""What ships inside the package, and what to expect of it."""


def find(model: str | os.PathLike[str] | None = None) -> ModelFile:
    """Find a model by name or path, check it and map it.

    Parameters
    ----------
    model : str or path, optional
        A built-in model's name or a model file's path; the default model where it is absent.

    Raises
    ------
    ModelFileError
        There is no such model, or its file is not sound.
    """
    if model is None:
        model = DEFAULT_MODEL
    if model in BUILT_IN:
        return model_file.read(Path(str(resources.files("fcs_edge") / f"data/{model}.safetensors")))
    path = Path(model)
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder; convert the checkpoint in it first: "
            f"fcs-edge convert {path} model.safetensors"
        )
    if not path.exists():
        raise ModelFileError(f"{path}: no such model file, {_advice(str(model))}")
    return model_file.read(path)


def _advice(model: str) -> str:
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not model.endswith(".safetensors"):
        return f"convert the published checkpoint first: fcs-edge convert {model} model.safetensors"
    return f"and no built-in model is called so; built in: {', '.join(BUILT_IN)}"
