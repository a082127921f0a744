"""Finds a checkpoint: a folder, a config.json, a hub repository, or a model file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fcs_edge.errors import CheckpointError
from fcs_edge.modelfile import catalogue, model_file
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensors import header

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_BY_HAND = (
    "or download its config.json and model.safetensors into a folder by other means and run: "
    "fcs-edge convert FOLDER OUT"
)


@dataclass(frozen=True)
class Source:
    """A checkpoint's two files."""

    config: Path
    weights: Path
    name: str
    origin: str
    """The text that states the model's origin."""


def locate(source: str) -> Source | ModelFile:
    """Find a checkpoint's files, and download those of a hub repository.

    A model file is a source too, by path or by the name of a built-in model.

    Raises
    ------
    CheckpointError
        There is no such source, or the download fails.
    """
    path = Path(source)
    if source in catalogue.BUILT_IN or (path.suffix == ".safetensors" and _is_model_file(path)):
        return catalogue.find(source)
    if path.is_dir():
        return _local(path / "config.json")
    if path.is_file():
        if path.suffix != ".json":
            raise CheckpointError(f"{path}: give the folder it is in, or its config.json")
        return _local(path)
    if _REPOSITORY.fullmatch(source):
        return _download(source)
    raise CheckpointError(f"{source}: no such folder, config.json or hub repository")


def _is_model_file(path: Path) -> bool:
    """Return whether a safetensors file is a model file, not a checkpoint."""
    return path.is_file() and header(path)[1].get("format") == model_file.FORMAT


def _local(config: Path) -> Source:
    folder = config.parent
    if not config.is_file():
        raise CheckpointError(f"{folder}: this folder has no config.json")
    # config_x.json belongs to config_x.safetensors, config.json to model.safetensors.
    stems = ("model", "config") if config.stem == "config" else (config.stem, "model")
    for stem in stems:
        for suffix in (".safetensors", ".pt"):
            weights = folder / f"{stem}{suffix}"
            if weights.is_file():
                name = folder.resolve().name or "model"
                return Source(config, weights, name, f"{name}/{weights.name}")
    raise CheckpointError(f"{folder}: there is no model.safetensors or model.pt beside config.json")


def _download(repository: str) -> Source:
    try:
        import huggingface_hub
    except ImportError:
        raise CheckpointError(
            f"{repository}: no such folder; to download it as a hub repository, "
            f"pip install huggingface-hub, {_BY_HAND}"
        ) from None
    try:
        config = Path(huggingface_hub.hf_hub_download(repository, "config.json"))
        weights = _download_weights(repository)
    # The hub library, its HTTP client and the socket layer raise different exceptions.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{repository}: no such folder, and it could not be downloaded ({reason}); "
            f"check the name and the network, {_BY_HAND}"
        ) from None
    return Source(config, weights, repository.split("/")[1], repository)


def _download_weights(repository: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, "model.safetensors"))
    except EntryNotFoundError:
        return Path(huggingface_hub.hf_hub_download(repository, "model.pt"))
