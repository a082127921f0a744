"""The header of a ``.fcs`` bitstream: what a decoder must know before the first token."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fcs_edge.arguments import as_integer
from fcs_edge.bitstream.bitpack import MAX_BITS
from fcs_edge.bitstream.crc import CRC_BYTES, crc_holds, with_crc
from fcs_edge.errors import BitstreamError

MAGIC = b"FCS\x1a"
VERSION = 2
MIN_HEADER_BYTES = 19
MAX_HEADER_BYTES = 31
HEADER_SIZES = (19, 23, 27, 31)

NON_CAUSAL = 1 << 15
"""The settings' bit of a model whose last token may represent more samples than the others."""

_NEAR_MAGIC_BITS = 4

_FIXED = struct.Struct("<4sBBBH8s")
_EXPLICIT = struct.Struct("<H3s3s")
_CHECK = struct.Struct("<I")
_BITS, _HAS_PRIOR, _REPEATED, _RESERVED = 0x0F, 0x10, 0x20, 0xC0
_FLAGS_AT, _RATES_AT = 5, 6

_RATES = {
    1: (320, 16000, 24000),
    2: (640, 16000, 24000),
    3: (1280, 16000, 24000),
    4: (320, 16000, 16000),
    5: (640, 16000, 16000),
    6: (1280, 16000, 16000),
}
_RATES_CODES = {rates: code for code, rates in _RATES.items()}


class NewerError(BitstreamError):
    """The stream has what only a later version can read."""


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the first token.

    Attributes
    ----------
    bits : int
        Bits per token, 1..16.
    samples_per_token : int
        Input samples one token represents, 1..65535.
    input_rate, output_rate : int
        Sample rates in Hz, 1..2**24 - 1.
    fingerprint : bytes
        8 bytes that identify the tokens' model.
    prior : int
        Check of the prior that coded blocks use, 32 bits; 0 names none.
    settings : int
        Settings that change tokens, 16 bits; 0 states none.

    Raises
    ------
    TypeError
        If a number is no integer, or the fingerprint not bytes.
    ValueError
        If a field is out of range.
    """

    bits: int
    samples_per_token: int
    input_rate: int
    output_rate: int
    fingerprint: bytes
    prior: int = 0
    settings: int = 0

    def __post_init__(self) -> None:
        """Check the range of every field."""
        limits = {
            "bits": (1, MAX_BITS),
            "samples_per_token": (1, (1 << 16) - 1),
            "input_rate": (1, (1 << 24) - 1),
            "output_rate": (1, (1 << 24) - 1),
            "prior": (0, (1 << 32) - 1),
            "settings": (0, (1 << 16) - 1),
        }
        for name, (low, high) in limits.items():
            value = as_integer(getattr(self, name), name)
            object.__setattr__(self, name, value)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low}..{high}, not {value}")
        if not isinstance(self.fingerprint, bytes):
            raise TypeError(f"fingerprint must be bytes, not {type(self.fingerprint).__name__}")
        if len(self.fingerprint) != 8:
            raise ValueError(f"fingerprint must be 8 bytes, not {len(self.fingerprint)}")

    @property
    def slack(self) -> int:
        """Samples by which the sample count may exceed what the tokens represent."""
        return 2 * self.samples_per_token - 1 if self.settings & NON_CAUSAL else 0

    def seconds(self, n_tokens: int) -> float:
        """Return the duration of ``n_tokens`` tokens."""
        return n_tokens * self.samples_per_token / self.input_rate

    def to_bytes(self, *, repeated: bool = False) -> bytes:
        """Return the header as a record of 19 to 31 bytes; ``repeated`` begins no new part."""
        rates = self.samples_per_token, self.input_rate, self.output_rate
        code = _RATES_CODES.get(rates, 0)
        flags = self.bits - 1 | _HAS_PRIOR * (self.prior != 0) | _REPEATED * repeated
        data = _FIXED.pack(MAGIC, VERSION, flags, code, self.settings, self.fingerprint)
        if self.prior:
            data += _CHECK.pack(self.prior)
        if not code:
            data += _EXPLICIT.pack(rates[0], *(rate.to_bytes(3, "little") for rate in rates[1:]))
        return with_crc(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Read a header record.

        Parameters
        ----------
        data : bytes
            The first bytes of a file, 31 or more where the file is that long.

        Returns
        -------
        Header
            The fields.

        Raises
        ------
        BitstreamError
            If this is not the start of a ``.fcs`` file, or of one that cannot be read.
        """
        if not data:
            raise BitstreamError("the input is empty, not an .fcs file")
        if not is_magic(data):
            raise BitstreamError("not an .fcs file: it does not start with 'FCS'")
        refuse_version(data)
        size = header_size(data)
        if len(data) < size:
            raise BitstreamError(
                f"the .fcs header is cut: {len(data)} bytes where {size} are needed"
            )
        if not crc_holds(data, 0, size):
            raise BitstreamError("the .fcs header is damaged: its CRC does not match")
        return cls.from_record(data[:size])

    @classmethod
    def from_record(cls, data: bytes) -> Header:
        """Read the fields of a header whose magic, version and CRC are right.

        Raises
        ------
        BitstreamError
            If a field is out of range; `NewerError` if only a later version can read it.
        """
        _, _, flags, code, settings, fingerprint = _FIXED.unpack_from(data)
        if flags & _RESERVED or code > max(_RATES):
            raise NewerError("this .fcs file needs a newer fcs-edge: update fcs-edge")
        prior = _CHECK.unpack_from(data, _FIXED.size)[0] if flags & _HAS_PRIOR else 0
        rates = _RATES.get(code)
        if rates is None:
            spt, rate_in, rate_out = _EXPLICIT.unpack(data[-CRC_BYTES - _EXPLICIT.size : -2])
            rates = spt, int.from_bytes(rate_in, "little"), int.from_bytes(rate_out, "little")
        try:
            return cls((flags & _BITS) + 1, *rates, fingerprint, prior, settings)
        except ValueError as error:
            raise BitstreamError(f"the .fcs header is not valid: {error}") from error


def is_magic(data: bytes | bytearray, at: int = 0) -> bool:
    """Return whether ``data`` matches the start of a header at ``at``, as far as it goes."""
    start = data[at : at + len(MAGIC)]
    return start == MAGIC[: len(start)]


def is_near_magic(data: bytes | bytearray) -> bool:
    """Return whether ``data`` starts with the magic but for at most four bits."""
    pairs = zip(data, MAGIC, strict=False)
    wrong = sum((a ^ b).bit_count() for a, b in pairs)
    return len(data) >= len(MAGIC) and wrong <= _NEAR_MAGIC_BITS


def is_repeated(data: bytes | bytearray, at: int = 0) -> bool:
    """Return whether the header at ``at`` is a copy of an earlier one."""
    return bool(data[at + _FLAGS_AT] & _REPEATED)


def header_size(data: bytes | bytearray, at: int = 0) -> int:
    """Return the size of the header at ``at`` by its flags; 19 where they are cut off."""
    if len(data) <= at + _RATES_AT:
        return MIN_HEADER_BYTES
    prior = _CHECK.size if data[at + _FLAGS_AT] & _HAS_PRIOR else 0
    rates = _EXPLICIT.size if data[at + _RATES_AT] == 0 else 0
    return MIN_HEADER_BYTES + prior + rates


def refuse_version(data: bytes | bytearray) -> None:
    """Refuse a header of another version.

    Raises
    ------
    BitstreamError
        The version is not 2.
    """
    version = data[len(MAGIC)] if len(data) > len(MAGIC) else VERSION
    if version == VERSION:
        return
    if version < VERSION:
        raise BitstreamError(f".fcs version {version} was never released: encode the sound again")
    raise NewerError(f".fcs version {version} is newer than this release reads: update fcs-edge")


def mended(data: bytes) -> bytes | None:
    """Return the header at the start of ``data`` with its one wrong bit flipped.

    The CRC finds each single bit. None if no flip of one bit gives a header that can be read.
    """
    for bit in range(8 * min(len(data), MAX_HEADER_BYTES)):
        flipped = bytearray(data[:MAX_HEADER_BYTES])
        flipped[bit // 8] ^= 1 << bit % 8
        size = header_size(flipped)
        if bit >= 8 * size or len(flipped) < size or not is_magic(flipped):
            continue
        if flipped[len(MAGIC)] != VERSION or not crc_holds(flipped, 0, size):
            continue
        try:
            Header.from_record(bytes(flipped[:size]))
        except BitstreamError:
            continue
        return bytes(flipped[:size])
    return None
