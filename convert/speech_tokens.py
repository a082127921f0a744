"""Tokens of speech to train a prior on: from sound files, varied, and from files of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fcs_edge.audio.reader import open_input
from fcs_edge.bitstream.reader import BitstreamReader, Tokens, read_batches
from fcs_edge.codec import Codec
from fcs_edge.convert.varied_sound import random_speed, varied
from fcs_edge.errors import FcsError
from fcs_edge.model.layers import F32, U16
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.tokens.event_decoder import (
    check_header,
    check_origin,
    labelled,
    read_header,
    refuse_others,
)
from fcs_edge.tokens.fcs import PriorCoders
from fcs_edge.tokens.npy import open_npy, tokens_of
from fcs_edge.tokens.npz import open_npz

LEAST_SECONDS = 120
"""Speech that a prior is trained on at least."""

_TOKEN_SUFFIXES = (".fcs", ".npz", ".npy")
_SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")
_PIECE = 60 * SAMPLE_RATE_IN
"""Samples that are varied alike."""
_WINDOW_SECONDS = 60.0
"""Of a model that needs the whole sound: longer files are encoded in windows of this length."""
_HELD_OUT = 20
"""One file in so many is held out; of fewer files, the last such share of each."""


@dataclass
class Speech:
    """Recordings of tokens; of each sound file there may be several, varied."""

    recordings: list[U16] = field(default_factory=list)
    held_out: list[U16] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        """Tokens to learn from."""
        return sum(map(len, self.recordings))


def find(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths`, and the sounds and tokens in the folders, sorted.

    Raises
    ------
    FcsError
        A path does not exist, or a folder holds no speech.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            suffixes = (*_TOKEN_SUFFIXES, *_SOUND_SUFFIXES)
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
            if not inside:
                raise FcsError(f"{path}: no sound file and no file of tokens is in this folder")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FcsError(f"{path}: no such file")
    return list(dict.fromkeys(found))


def read(
    codec: Codec,
    files: Sequence[Path],
    copies: int,
    seed: int = 0,
    show: Callable[[float], None] = lambda _: None,
) -> Speech:
    """Encode sound files, and read files of tokens.

    Parameters
    ----------
    codec : Codec
        The model that the prior is for.
    files : sequence of Path
        As `find` returns them.
    copies : int
        How many varied copies of each sound are encoded besides the sound itself.
    seed : int
        Of the variations.
    show : callable
        Takes the seconds of sound so far.

    Returns
    -------
    Speech

    Raises
    ------
    FcsError
        A file cannot be read, is of another model, or there is too little speech.
    """
    speech = Speech()
    seconds = plain = 0.0
    for index, path in enumerate(files):
        is_held_out = len(files) >= _HELD_OUT and index % _HELD_OUT == _HELD_OUT // 2
        for copy in range(1 if is_held_out or not is_sound(path) else 1 + copies):
            rng = np.random.default_rng([seed, index, copy]) if copy else None
            tokens = _encoded(codec, path, rng) if is_sound(path) else _stored(codec, path)
            end = len(tokens)
            if len(files) < _HELD_OUT:
                end -= end // _HELD_OUT
            if is_held_out or not copy:
                speech.held_out.append(tokens if is_held_out else tokens[end:])
            if not is_held_out:
                speech.recordings.append(tokens[:end])
            seconds += len(tokens) / codec.token_rate
            plain += 0 if copy else len(tokens) / codec.token_rate
            show(seconds)
    _check_amount(plain, speech)
    return speech


def is_sound(path: Path) -> bool:
    """Return whether a file is taken for sound, not for tokens."""
    return path.suffix.lower() not in _TOKEN_SUFFIXES


def _check_amount(seconds: float, speech: Speech) -> None:
    """Refuse too few seconds of speech, without its varied copies."""
    if seconds < LEAST_SECONDS or not sum(map(len, speech.held_out)):
        raise FcsError(
            f"{seconds:.0f} s of speech are too few to train a prior on: give {LEAST_SECONDS} s or "
            "more; an hour of many voices serves"
        )


def _encoded(codec: Codec, path: Path, rng: np.random.Generator | None) -> U16:
    """Return the tokens of a sound file, varied where there is a random generator."""
    speed = 1.0 if rng is None else random_speed(rng)
    with open_input(str(path), None, SAMPLE_RATE_IN, 1) as sound:
        blocks = sound.at_rate(round(SAMPLE_RATE_IN / speed))
        if rng is not None:
            blocks = (varied(piece, rng) for piece in _pieces(blocks))
        window = None if codec.encodes_streams else _WINDOW_SECONDS
        encoder = codec.signal_encoder(window=window)
        found = [encoder.push(block) for block in blocks]
        found.append(encoder.flush())
    return np.concatenate(found)


def _pieces(blocks: Iterator[F32]) -> Iterator[F32]:
    """Join blocks to pieces that are varied alike."""
    waiting: list[F32] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= _PIECE:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _stored(codec: Codec, path: Path) -> U16:
    """Return the tokens of a file of tokens."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with open_npy(path) as array:
            return _joined(tokens_of(array, codec.bits_per_token, str(path)))
    if suffix == ".npz":
        with open_npz(path) as tokens, labelled(str(path)):
            check_origin(tokens.origin, codec, None)
            return _joined(tokens_of(tokens.array, codec.bits_per_token, str(path)))
    with path.open("rb") as file, labelled(str(path)):
        refuse_others(file)
        reader = BitstreamReader(strict=True, coders=PriorCoders(codec))
        header, batches = read_header(read_batches(file, reader))
        check_header(header, codec, None)
        return _joined(
            event.tokens for events in batches for event in events if isinstance(event, Tokens)
        )


def _joined(parts: Iterable[U16]) -> U16:
    return np.concatenate([np.zeros(0, np.uint16), *parts])
