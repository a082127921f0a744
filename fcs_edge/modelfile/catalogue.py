"""Models by name: the built-in ones, and those in a folder of the user's."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from fcs_edge.errors import FcsError, ModelFileError
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.text import printable

DEFAULT_MODEL = "edge-65k"
"""The model that is used if neither a caller nor `VARIABLE` names one."""

VARIABLE = "FCS_EDGE_MODEL"
"""The environment variable that names the default model."""

BUILT_IN = {
    "edge-65k": "made for boards like a Raspberry Pi Zero 2 W; one word in six is lost "
    "on it (docs/model-card.md)",
}
"""The models inside the package, by name, each with its quality in one line."""

_SUFFIX = ".safetensors"
_PUBLISHED = "focalcodec_"
"""What the names of published checkpoints begin with."""
_SHOWN = 20
"""Names that an error lists."""


class Named(NamedTuple):
    """A model that has a name here."""

    name: str
    path: Path
    built_in: bool
    hidden: bool = False
    """Whether a built-in model has the same name and is used in its place."""


def find(model: str | os.PathLike[str] | None = None) -> ModelFile:
    """Find a model by name or path, check it and map it.

    A text that exists as a path is a path. Any other is a name: of a built-in model, or else of a
    file in `models_folder`, without its suffix.

    Parameters
    ----------
    model : str or path, optional
        A model's name, or a model file's path. Absent: the default model.

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
        return _default()
    text = os.fspath(model)
    if os.path.isdir(text):
        raise ModelFileError(
            f"{text} is a folder; convert the checkpoint in it first: "
            f"fcs-edge convert {text} model.safetensors"
        )
    if os.path.exists(text):
        return model_file.read(Path(text))
    named = _named(text) if isinstance(model, str) else None
    if named is None:
        raise ModelFileError(f"{printable(text)}: no such model file, {_advice(text)}")
    return model_file.read(named)


def models_folder() -> Path | None:
    """Return the folder whose model files have names, which need not exist.

    It is ``fcs-edge/models`` in ``XDG_DATA_HOME``, which is ``~/.local/share`` where that is
    not an absolute path. None if there is no home folder either.
    """
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.expanduser("~/.local/share")
    return Path(data) / "fcs-edge" / "models" if os.path.isabs(data) else None


def default_model() -> str:
    """Return the name or path of the default model."""
    return os.environ.get(VARIABLE) or DEFAULT_MODEL


def listed() -> list[Named]:
    """Return every model that has a name: the built-in ones, then the folder's, sorted."""
    folder = models_folder()
    files = sorted(folder.glob(f"*{_SUFFIX}")) if folder is not None else []
    own = [
        Named(f.stem, f, built_in=False, hidden=f.stem in BUILT_IN)
        for f in files
        if not f.name.startswith(".")
    ]
    return [Named(name, _built_in(name), built_in=True) for name in BUILT_IN] + own


def by_fingerprint(fingerprint: bytes) -> Named | None:
    """Return the first model with a name that has a fingerprint, a whole one rather than a half.

    Damaged files are passed over.
    """
    half = None
    for named in listed():
        try:
            model = model_file.read(named.path)
        except (FcsError, OSError):
            continue
        if model.fingerprint == fingerprint and not named.hidden:
            if model.part is None:
                return named
            half = half or named
    return half


def _default() -> ModelFile:
    stated = os.environ.get(VARIABLE)
    if not stated:
        return referenced(DEFAULT_MODEL)
    try:
        return find(stated)
    except ModelFileError as error:
        raise ModelFileError(f"{VARIABLE} in the environment: {error}") from error


def _built_in(name: str) -> Path:
    return Path(str(resources.files("fcs_edge") / f"data/{name}{_SUFFIX}"))


def _named(name: str) -> Path | None:
    """Return the file of a name, which never leads out of the folder."""
    if name in BUILT_IN:
        return _built_in(name)
    folder = models_folder()
    if folder is None or not name or name.startswith(".") or re.search(r"[/\\\0]", name):
        return None
    path = folder / f"{name}{_SUFFIX}"
    return path if os.path.exists(path) else None


def reference(model: ModelFile) -> str:
    """Return what names a model in any process: its built-in name, or its absolute path."""
    path = model.path.absolute()
    if path.stem in BUILT_IN and path == _built_in(path.stem).absolute():
        return path.stem
    return str(path)


def referenced(text: str) -> ModelFile:
    """Return the model of a `reference`, whose built-in name no path hides; see `find`."""
    return model_file.read(_built_in(text)) if text in BUILT_IN else find(text)


def _advice(model: str) -> str:
    if model.startswith(_PUBLISHED) and "/" not in model:
        model = f"lucadellalib/{model}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not model.endswith(_SUFFIX):
        return f"convert the published checkpoint first: fcs-edge convert {model} model.safetensors"
    names = [printable(named.name) for named in listed() if not named.hidden]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"and no model has this name; there are: {', '.join(names[:_SHOWN])}{more}"
