"""What ``fcs-edge info`` finds in a file: facts, and problems, a line each."""

from __future__ import annotations

import os
from pathlib import Path

from fcs_edge.audio.foreign import RAW_ADVICE
from fcs_edge.codec import Codec
from fcs_edge.errors import AudioError, FcsError, ModelFileError
from fcs_edge.model.voice import load_voice
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.catalogue import find
from fcs_edge.modelfile.facts import Facts
from fcs_edge.tokens.event_decoder import length_problem
from fcs_edge.tokens.npy import TokenArray, open_npy
from fcs_edge.tokens.npz import open_npz

Found = tuple[Facts, list[str]]
"""Facts by name, in plain units, and problems."""


def npy(path: Path) -> Found:
    """Read an array of bare tokens to its end."""
    with open_npy(path) as array:
        facts: Facts = {"kind": "bare tokens", **_array_facts(array)}
    return facts | {"bytes": path.stat().st_size, "intact": True}, []


def npz(path: Path) -> Found:
    """Read tokens and their facts to the end, which checks each CRC."""
    with open_npz(path) as opened:
        origin, n_samples = opened.origin, opened.n_samples
        array = _array_facts(opened.array)
    named = catalogue.by_fingerprint(origin.fingerprint)
    problems: list[str] = []
    known: Facts = {}
    if named is not None:
        codec = Codec(find(named.path))
        known = {"token_rate": codec.token_rate, "bitrate": codec.bitrate}
        if problem := length_problem(array["tokens"], n_samples, codec, origin.settings):
            problems.append(problem)
        highest = (1 << codec.bits_per_token) - 1
        if not 0 <= array["lowest"] <= array["highest"] <= highest:
            problems.append(f"tokens of {named.name} are 0 to {highest}")
    facts: Facts = {
        "kind": "tokens",
        "model": origin.model or (None if named is None else named.name),
        "fingerprint": origin.fingerprint.hex(),
        "settings": origin.settings,
        "sample_rate_in": origin.sample_rate,
        **known,
        "seconds": n_samples / origin.sample_rate,
        "samples": n_samples,
        **array,
        "bytes": path.stat().st_size,
        "intact": not problems,
    }
    return facts, problems


def _array_facts(array: TokenArray) -> Facts:
    """Read the tokens; the lowest and the highest of none are 0."""
    lowest, highest = None, 0
    for tokens in array.blocks:
        low = int(tokens.min())
        lowest = low if lowest is None else min(lowest, low)
        highest = max(highest, int(tokens.max()))
    return {
        "tokens": array.n_tokens,
        "dtype": str(array.dtype),
        "lowest": lowest or 0,
        "highest": highest,
    }


def voice(path: Path) -> Found:
    """Read a voice and check all of its values."""
    loaded = load_voice(path)
    facts: Facts = {
        "kind": "voice",
        "model": loaded.model or None,
        "fingerprint": loaded.fingerprint.hex(),
        "from_stage": loaded.source,
        "rows": len(loaded),
        "width": loaded.width,
        "stored_as": loaded.kind,
        "seconds": loaded.seconds,
        "bytes": path.stat().st_size,
        "intact": True,
    }
    return facts, []


def sound(file: str) -> Found:
    """Read a sound file to its end, as `fcs-edge encode` does."""
    # Libraries of sound are slow to load; no other facts need them.
    from fcs_edge.audio.reader import open_input

    try:
        with open_input(file, None, 16000, 1) as opened:
            n_samples = sum(block.size for block in opened.at_rate(opened.rate))
            facts: Facts = {
                "kind": "sound",
                "sample_rate": opened.rate,
                "channels": opened.channels,
                "seconds": n_samples / opened.rate,
                "bytes": os.stat(file).st_size,
                "remarks": _without(file, opened.warnings),
            }
            problems = _without(file, opened.losses)
            if not n_samples:
                problems.append("holds no sound")
    except AudioError as error:
        reason = str(error).removeprefix(f"{file}: ").removesuffix(f"; {RAW_ADVICE}")
        raise FcsError(f"{file}: neither tokens nor a model, and {reason}") from None
    return facts | {"intact": not problems}, problems


def _without(file: str, lines: list[str]) -> list[str]:
    """Return lines without the file's name, which the command adds."""
    return [line.removeprefix(f"{file}: ") for line in lines]


def model(name: str) -> Found:
    """Check a model by its name or path, every byte of it."""
    file = find(name)
    codec = Codec(file)
    problems: list[str] = []
    try:
        file.verify()
    except ModelFileError as error:
        problems.append(str(error).removeprefix(f"{file.path}: "))
    facts: Facts = {"kind": "model", **codec.info(), "intact": not problems}
    return facts, problems
