"""Finds a checkpoint: a folder, a JSON or weights file, a hub repository, or a model file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcs_edge.errors import CheckpointError, shown
from fcs_edge.modelfile import catalogue, model_file
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensors import header

SAFETENSORS = ".safetensors"
WEIGHTS = (SAFETENSORS, ".pt", ".pth", ".ckpt", ".bin")
"""Suffixes of weights; all but the first are pickles, which torch reads."""

PARTS = {
    "encoder": ("encoder", "wavlm6"),
    "compressor": ("compressor",),
    "decompressor": ("decompressor",),
    "decoder": ("decoder", "generator"),
}
"""The names, without suffix, of files with one part each, as SpeechBrain's recipes save them."""

_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_HUB = re.compile(rf"({_REPOSITORY})(?:/((?:\w[\w.-]*/)*\w[\w.-]*))?", re.ASCII)
"""A repository, and a file in it."""
_CONFIG = "config.json"
_GENERIC = ("model", "config", "pytorch_model")
"""Names that say nothing about the model."""
_HUB_WEIGHTS = ("model.safetensors", "model.pt", "pytorch_model.bin")
_SHOWN = 5
_BY_HAND = (
    "or download its config.json and model.safetensors into a folder by other means and run: "
    "fcs-edge convert FOLDER OUT"
)


@dataclass(frozen=True)
class Source:
    """A checkpoint's files."""

    config: Path
    weights: Path
    """The weights; of separate parts, those of the encoder."""
    name: str
    origin: str
    """The text that states the model's origin."""
    parts: tuple[tuple[str, Path], ...] = ()
    """Where each part has a file of its own: the name of each part, and its weights."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files with weights."""
        return tuple(path for _, path in self.parts) or (self.weights,)


def locate(source: str) -> Source | ModelFile:
    """Find a checkpoint's files, and download those of a hub repository.

    A local path takes precedence: then nothing is downloaded. A model file is a source too, by
    path or by the name of a built-in model.

    Raises
    ------
    CheckpointError
        There is no such source, or the download fails.
    """
    path = Path(source)
    if source in catalogue.BUILT_IN or (path.suffix == SAFETENSORS and _is_model_file(path)):
        return catalogue.find(source)
    # The reference appends .json to what is not the name of a repository.
    spelled = Path(f"{source}.json") if path.suffix != ".json" else path
    if path.is_dir() and ((path / _CONFIG).is_file() or not spelled.is_file()):
        return _of_folder(path)
    if path.is_file() and path.suffix in WEIGHTS:
        return _of_weights(path)
    if spelled.is_file():
        return _of_config(spelled)
    if path.is_file():
        raise CheckpointError(
            f"{source}: neither a configuration (.json) nor weights ({', '.join(WEIGHTS)})"
        )
    return _remote(source, path)


def _is_model_file(path: Path) -> bool:
    """Return whether a safetensors file is a model file, not a checkpoint."""
    return path.is_file() and header(path)[1].get("format") == model_file.FORMAT


def _of_folder(folder: Path) -> Source:
    config = folder / _CONFIG
    if config.is_file():
        return _of_config(config)
    others = _files(folder, (".json",))
    advice = (
        f"; give the path of its configuration: {listed(path.name for path in others)}"
        if others
        else ""
    )
    raise CheckpointError(f"{folder}: this folder has no {_CONFIG}{advice}")


def _of_config(config: Path) -> Source:
    """Find the weights of a configuration: x.safetensors of x.json, or model.safetensors."""
    folder, stem = config.parent, config.stem
    # The stem of config.json is tried second: the reference calls its weights model.
    stems = (stem, "model", "pytorch_model") if stem != "config" else _GENERIC
    for name in stems:
        for suffix in WEIGHTS:
            weights = folder / f"{name}{suffix}"
            if weights.is_file():
                return _local(config, weights)
    if parts := _separate(folder):
        name = _folder_name(folder)
        return Source(config, parts[0][1], name, name, parts)
    expected = "model" if config.name == _CONFIG else stem
    others = _files(folder, WEIGHTS)
    advice = (
        f"; rename its weights, one of: {listed(path.name for path in others)}" if others else ""
    )
    raise CheckpointError(
        f"{folder}: there is no {expected}.safetensors or {expected}.pt beside "
        f"{config.name}{advice}"
    )


def _separate(folder: Path) -> tuple[tuple[str, Path], ...]:
    """Return a file for each part; nothing where one of them has none."""
    found = []
    for part, names in PARTS.items():
        paths = (folder / f"{name}{suffix}" for name in names for suffix in WEIGHTS)
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return ()
        found.append((part, path))
    return tuple(found)


def _of_weights(weights: Path) -> Source:
    """Find the configuration of a weights file, where only one can be meant."""
    folder = weights.parent
    own, common = weights.with_suffix(".json"), folder / _CONFIG
    if own.is_file():
        return _local(own, weights)
    configs = _files(folder, (".json",))
    if common.is_file() and (len(configs) == 1 or weights.stem in _GENERIC):
        return _local(common, weights)
    if len(configs) == 1:
        return _local(configs[0], weights)
    there = (
        f"there are {listed(path.name for path in configs)}; rename one to"
        if configs
        else "name it"
    )
    raise CheckpointError(f"{weights}: its configuration is not beside it: {there} {own.name}")


def _local(config: Path, weights: Path) -> Source:
    name = next((path.stem for path in (config, weights) if path.stem not in _GENERIC), "")
    folder = _folder_name(config.parent)
    return Source(config, weights, name or folder, f"{folder}/{weights.name}")


def _folder_name(folder: Path) -> str:
    """Return the name of a folder, or of the repository that a hub's cache has it of."""
    path = Path(os.path.abspath(folder))
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("models--"):
        return path.parents[1].name.split("--")[-1]
    return folder.resolve().name or "model"


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder with one of some suffixes, sorted."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    except OSError:
        return []
    return [path for path in found if path.is_file()]


def listed(names: Iterable[object]) -> str:
    """Return the first of some names of a source, and how many more there are."""
    texts = [shown(name, 60) for name in names]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _remote(source: str, path: Path) -> Source:
    """Download what a name means that no local path has."""
    found = _HUB.fullmatch(source)
    if found is None or (found[2] is None and path.suffix in (".json", *WEIGHTS)):
        raise CheckpointError(
            f"{source}: no such folder, file, model or hub repository (owner/name)"
        )
    repository, file = found.groups()
    if file is not None and path.parent.is_dir():
        raise CheckpointError(f"{source}: the folder {path.parent} has no such file")
    if path.suffix in WEIGHTS:
        raise CheckpointError(
            f"{source}: no such file; of a hub repository, give the configuration: "
            f"{path.with_suffix('.json')}"
        )
    stem = (file or _CONFIG).removesuffix(".json")
    files = [f"{stem}{suffix}" for suffix in WEIGHTS]
    config, weights = _download(repository, stem, _HUB_WEIGHTS if stem == "config" else files)
    name = repository.split("/")[1] if stem == "config" else stem.split("/")[-1]
    return Source(config, weights, name, repository if file is None else f"{repository}/{stem}")


def _download(repository: str, stem: str, files: Sequence[str]) -> tuple[Path, Path]:
    """Return a configuration and its weights of a hub repository, from the cache or the network."""
    try:
        import huggingface_hub
    except ImportError:
        raise CheckpointError(
            f"{repository}: no such folder; to download it as a hub repository, "
            f"pip install huggingface-hub, {_BY_HAND}"
        ) from None
    get = huggingface_hub.hf_hub_download
    try:
        return Path(get(repository, f"{stem}.json")), _first(repository, files, get)
    # The hub library, its HTTP client and the socket layer raise different exceptions.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{repository}: no such folder, and it could not be downloaded ({reason}); "
            f"check the name and the network, {_BY_HAND}"
        ) from None


def _first(repository: str, files: Sequence[str], get: Callable[[str, str], str]) -> Path:
    """Download the first of some files that a repository has."""
    from huggingface_hub.errors import EntryNotFoundError

    failure: Exception | None = None
    for file in files:
        try:
            return Path(get(repository, file))
        except EntryNotFoundError as error:
            failure = failure or error
    assert failure is not None
    raise failure
