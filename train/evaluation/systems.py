"""Clips of held-out speech, and the systems that code them: models, peers, and none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click
import numpy as np
import soundfile

import fcs_edge
from fcs_edge.modelfile.catalogue import BUILT_IN
from train.evaluation import metrics
from train.evaluation.metrics import F32
from train.evaluation.peers import PEERS, CodedClip, Peer, install_commands

Facts: TypeAlias = dict[str, Any]

SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class Clip:
    """A clip of held-out speech.

    Attributes
    ----------
    group, name : str
        Its set, and what it is called there.
    original : ndarray of float32, shape (samples,)
        The sound, mono.
    rate : int
        Its samples a second.
    signal : ndarray of float32, shape (samples,)
        The same at `RATE`, the input of codecs.
    text : str, optional
        Its text, where that is known.
    """

    group: str
    name: str
    original: F32
    rate: int
    signal: F32
    text: str | None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.original.size / self.rate


@dataclass(frozen=True)
class System:
    """Something that codes clips.

    Attributes
    ----------
    code : callable
        Codes and decodes a clip.
    kbps : float, optional
        Its bit rate, where that is fixed; otherwise it is measured.
    bits : int, optional
        Bits of a token, where it has tokens.
    facts : dict
        Facts for the report.
    """

    code: Callable[[Clip], CodedClip]
    kbps: float | None
    bits: int | None
    facts: Facts


def read_clips(group: str, path: Path, limit: int | None = None) -> list[Clip]:
    """Read a sound, or all in a folder, with the words in a .txt beside each.

    Parameters
    ----------
    group : str
        The name of the set.
    path : Path
        A .wav or .flac file, or a folder of them at any depth.
    limit : int, optional
        Most clips, spread evenly over the sorted names.
    """
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
    if not files:
        raise click.ClickException(f"{path}: no {' or '.join(SUFFIXES)} in it")
    if limit is not None and limit < len(files):
        files = [files[i * len(files) // limit] for i in range(limit)]
    clips = []
    for file in files:
        sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
        if not len(sound):
            raise click.ClickException(f"{file}: it is empty")
        mono = np.ascontiguousarray(sound.mean(axis=1))
        name = file.relative_to(path).with_suffix("").as_posix() if path.is_dir() else file.stem
        words = file.with_suffix(".txt")
        text = words.read_text("utf-8") if words.is_file() else None
        clips.append(Clip(group, name, mono, rate, metrics.resample(mono, rate), text))
    return clips


def uncoded_system() -> System:
    """Return a system that does not code."""
    return System(lambda clip: CodedClip(clip.original, clip.rate), None, None, {"kind": "uncoded"})


def model_system(model: str) -> System:
    """Return a model, by name or file, as it ships."""
    codec = fcs_edge.load(model)

    def code(clip: Clip) -> CodedClip:
        tokens = codec.encode(clip.signal)
        bits = tokens.size * codec.bits_per_token
        return CodedClip(codec.decode(tokens), codec.sample_rate_out, bits, tokens)

    facts: Facts = {"kind": "model", "name": codec.name, "fingerprint": codec.fingerprint.hex()}
    facts["latency_ms"] = 1000 * codec.latency if codec.encodes_streams else None
    return System(code, codec.bitrate / 1000, codec.bits_per_token, facts)


def peer_system(peer: Peer) -> System:
    """Return a codec run by its own programs."""
    return System(lambda clip: peer.code(clip.signal), None, None, {"kind": "peer"})


def systems(models: Sequence[str], peers: bool) -> tuple[dict[str, System], list[str]]:
    """Return the systems to compare, by name, and notes about absent programs."""
    compared, notes = {"uncoded": uncoded_system()}, []
    absent = {name: peer for name, peer in PEERS.items() if peers and peer.missing}
    if absent:
        notes.append(f"Left out: {', '.join(absent)}; {install_commands(absent.values())}")
    if peers:
        compared |= {name: peer_system(p) for name, p in PEERS.items() if name not in absent}
    for model in models:
        name = model if model in BUILT_IN else Path(model).stem
        compared[model if name in compared else name] = model_system(model)
    return compared, notes
