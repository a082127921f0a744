"""Tokens with their facts: ``.npz`` files, written and read in constant memory, without pickle."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError, parsing, shown
from fcs_edge.files import is_regular
from fcs_edge.model.layers import U16
from fcs_edge.tokens.npy import (
    TOKEN_DTYPES,
    NpyWriter,
    Spool,
    TokenArray,
    TokenWriter,
    array_header,
    npy_header,
    read_array,
)
from fcs_edge.tokens.settings import Settings, token_settings

ARRAY_SUFFIXES = (".npy", ".npz")
"""The files that `array_writer` writes."""

_EXPECTED = "not a readable .npz file"
_FACT_BYTES = 1 << 16
"""Bytes that a fact may have, with its header."""
_DIRECTORY_BYTES = 1 << 20
_INFLATED_BYTES, _INFLATION = 64 << 20, 100
"""Compressed tokens over the first are refused if they grow by more than the second."""
_MAX_RATE, _MAX_SAMPLES = (1 << 24) - 1, (1 << 48) - 1


class Origin(NamedTuple):
    """Where tokens come from."""

    fingerprint: bytes
    """Eight bytes that identify the model."""
    model: str
    """The model's name; empty where it is unknown. In a file it is foreign text."""
    sample_rate: int
    """Input sample rate in Hz."""
    settings: Settings
    """Settings that change tokens; empty where they are unknown."""


class NpzTokens(NamedTuple):
    """An .npz file of tokens that is being read."""

    array: TokenArray
    origin: Origin
    n_samples: int
    """Number of input samples, as the file states it."""


def origin_of(codec: Codec, settings: Settings | None = None) -> Origin:
    """Return the origin of a codec's tokens.

    Parameters
    ----------
    codec : Codec
        The model of the tokens.
    settings : dict, optional
        What changed the tokens, where it is not the codec's own: see `token_settings`.
    """
    stated = token_settings(codec.model) if settings is None else settings
    return Origin(codec.fingerprint, codec.name, codec.sample_rate_in, stated)


class NpzWriter:
    """Writes tokens and their facts; the number of tokens is unknown until the end.

    Parameters
    ----------
    file : binary file
        The output; it need not seek.
    origin : Origin
        Where the tokens come from.
    dtype : str
        One of `TOKEN_DTYPES`.
    """

    def __init__(self, file: BinaryIO, origin: Origin, dtype: str = "uint16") -> None:
        self._file = file
        self._origin = origin
        self._dtype = TOKEN_DTYPES[dtype]
        self._n = 0
        self._spool = Spool()

    def write(self, tokens: U16) -> None:
        """Append tokens, (n,) uint16."""
        self._spool.write(tokens.astype(self._dtype).tobytes())
        self._n += tokens.size

    def close(self, n_samples: int, tokens: U16 | None = None) -> None:
        """Write the last tokens, then the whole file; it stays open."""
        if tokens is not None:
            self.write(tokens)
        facts = {
            "fingerprint": self._origin.fingerprint.hex(),
            "model": self._origin.model,
            "sample_rate": np.int64(self._origin.sample_rate),
            "n_samples": np.int64(n_samples),
            "settings": json.dumps(self._origin.settings, sort_keys=True),
        }
        with zipfile.ZipFile(self._file, "w") as archive:
            # Without a date the same tokens give the same bytes.
            entry = zipfile.ZipInfo("tokens.npy")
            with archive.open(entry, "w", force_zip64=True) as member:
                member.write(npy_header(self._dtype, self._n))
                self._spool.copy_to(member)
            for name, value in facts.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.array(value), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())
        self._file.flush()


def array_writer(file: BinaryIO, suffix: str, origin: Origin, dtype: str) -> TokenWriter:
    """Return the writer of an array of tokens: of an ``.npy``, or of an ``.npz``.

    Parameters
    ----------
    file : binary file
        The output; it need not seek.
    suffix : str
        ".npy" or ".npz".
    origin : Origin
        Where the tokens come from; an ``.npy`` does not state it.
    dtype : str
        One of `TOKEN_DTYPES`.
    """
    return NpyWriter(file, dtype) if suffix == ".npy" else NpzWriter(file, origin, dtype)


@contextmanager
def open_npz(path: Path) -> Iterator[NpzTokens]:
    """Open an .npz file of tokens; memory does not depend on its size.

    Raises
    ------
    FcsError
        The file is no .npz file of tokens, or it is damaged. The last block of tokens raises it
        too: the checksum comes after them.
    """
    with ExitStack() as stack:
        with parsing(path, FcsError, _EXPECTED):
            file = stack.enter_context(path.open("rb"))
            _check_directory(path, file)
            archive = stack.enter_context(zipfile.ZipFile(file))
            entry = _entry(archive, "tokens")
            if entry is None:
                raise FcsError(f"{path}: an .npz without tokens; it holds {_names(archive)}")
            origin, n_samples = _facts(path, archive)
            inflated = entry.file_size > _INFLATED_BYTES
            if inflated and entry.file_size > _INFLATION * entry.compress_size:
                raise FcsError(
                    f"{path}: its tokens grow from {entry.compress_size:,} to "
                    f"{entry.file_size:,} bytes; that is refused"
                )
            member = stack.enter_context(archive.open(entry))
        array = read_array(path, member, entry.file_size)
        blocks = _to_the_end(path, member, array)
        yield NpzTokens(array._replace(blocks=blocks), origin, n_samples)


def _to_the_end(path: Path, member: IO[bytes], array: TokenArray) -> Iterator[Any]:
    """Yield the blocks; reading on to the end of the entry checks its CRC."""
    yield from array.blocks
    with parsing(path, FcsError, _EXPECTED):
        if member.read(1):
            raise FcsError(f"{path}: more bytes follow the {array.n_tokens:,} tokens")


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Refuse an archive of more entries than tokens and facts need: each takes memory."""
    if not is_regular(file):
        raise FcsError(f"{path}: an .npz cannot be read from a pipe; give a file")
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 22 - 0xFFFF))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end >= 0 and int.from_bytes(tail[end + 12 : end + 16], "little") > _DIRECTORY_BYTES:
        raise FcsError(f"{path}: not an .npz file of tokens; it has too many entries")
    file.seek(0)


def _entry(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    try:
        return archive.getinfo(f"{name}.npy")
    except KeyError:
        return None


def _names(archive: zipfile.ZipFile) -> str:
    names = [shown(name.removesuffix(".npy"), 40) for name in archive.namelist()[:8]]
    return ", ".join(names) or "nothing"


def _facts(path: Path, archive: zipfile.ZipFile) -> tuple[Origin, int]:
    """Return the origin and the number of input samples; model and settings may be absent."""
    fingerprint = _text(path, archive, "fingerprint")
    if len(fingerprint) != 16 or not all(c in "0123456789abcdef" for c in fingerprint):
        raise FcsError(f"{path}: its fingerprint is not 16 hexadecimal digits")
    rate = _integer(path, archive, "sample_rate", 1, _MAX_RATE)
    n_samples = _integer(path, archive, "n_samples", 0, _MAX_SAMPLES)
    name = _text(path, archive, "model") if _entry(archive, "model") else ""
    text = _text(path, archive, "settings") if _entry(archive, "settings") else "{}"
    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise FcsError(f"{path}: its settings are not a JSON object")
    return Origin(bytes.fromhex(fingerprint), name, rate, settings), n_samples


def _text(path: Path, archive: zipfile.ZipFile, name: str) -> str:
    value = _fact(path, archive, name, "U", "one text")
    return str(value)


def _integer(path: Path, archive: zipfile.ZipFile, name: str, low: int, high: int) -> int:
    value = int(_fact(path, archive, name, "iu", "one integer"))
    if not low <= value <= high:
        raise FcsError(f"{path}: its {name} is {value}, not {low} to {high}")
    return value


def _fact(path: Path, archive: zipfile.ZipFile, name: str, kinds: str, what: str) -> Any:
    """Return the only value of a small array, (), (1,) or (1, 1)."""
    entry = _entry(archive, name)
    if entry is None:
        raise FcsError(f"{path}: has no {name}; tokens alone are saved as .npy")
    if entry.file_size > _FACT_BYTES:
        raise FcsError(f"{path}: {entry.file_size:,} bytes are too many for its {name}")
    with archive.open(entry) as member:
        shape, dtype = array_header(path, member)
        data = member.read(_FACT_BYTES)
        member.read(1)  # the CRC is checked at the end
    single = math.prod(shape) == 1 and all(type(axis) is int for axis in shape)
    if dtype.kind not in kinds or not single or len(data) != dtype.itemsize:
        raise FcsError(
            f"{path}: its {name} is {shown(dtype, 60)} of shape {shown(shape, 60)}, not {what}"
        )
    return np.frombuffer(data, dtype)[0]
