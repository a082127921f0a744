"""The built-in models, and how a model is found by name or path."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from fcs_edge.errors import ModelFileError
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import ModelFile

DEFAULT_MODEL = "edge-65k"
"""The model that is used if none is named."""

BUILT_IN = {
    "edge-65k": "made for boards like a Raspberry Pi Zero 2 W; one word in six is lost "
    "on it (docs/model-card.md)",
}
"""The models inside the package, by name, each with its quality in one line."""


def find(model: str | os.PathLike[str] | None = None) -> ModelFile:
    """Find a model by name or path, check it and map it.

    Parameters
    ----------
    model : str or path, optional
        A built-in model's name, or a model file's path. Absent: the default model.

    Returns
    -------
    ModelFile
        The model, checked and mapped.

    Raises
    ------
    ModelFileError
        There is no such model, or its file is damaged.
    """
    if model is None:
        model = DEFAULT_MODEL
    if model in BUILT_IN:
        return model_file.read(_built_in(str(model)))
    path = Path(model)
    if path.is_dir():
        raise ModelFileError(
            f"{path} is a folder; convert the checkpoint in it first: "
            f"fcs-edge convert {path} model.safetensors"
        )
    if not path.exists():
        raise ModelFileError(f"{path}: no such model file, {_advice(str(model))}")
    return model_file.read(path)


def reference(model: ModelFile) -> str:
    """Return what names a model in any process: its built-in name, or its absolute path."""
    path = model.path.absolute()
    if path.stem in BUILT_IN and path == _built_in(path.stem).absolute():
        return path.stem
    return str(path)


def referenced(text: str) -> ModelFile:
    """Return the model that `reference` named; errors are those of `find`."""
    return model_file.read(_built_in(text)) if text in BUILT_IN else find(text)


def _built_in(name: str) -> Path:
    return Path(str(resources.files("fcs_edge") / f"data/{name}.safetensors"))


def _advice(model: str) -> str:
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not model.endswith(".safetensors"):
        return f"convert the published checkpoint first: fcs-edge convert {model} model.safetensors"
    return f"and no built-in model has this name; built in: {', '.join(BUILT_IN)}"
