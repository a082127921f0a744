"""Take an `.fcs` bitstream out of a protected file, and correct it, without fcs-edge.

    python read_protected.py PROTECTED FILE

It follows "Protected files" in docs/reference/bitstream.md, and is made from that page alone.
`read_fcs.py` reads FILE then. The exit code is 1 if a part could not be corrected, and 2 if the
file is not protected. It needs Python alone.
"""

from __future__ import annotations

import argparse
import binascii
import itertools
import sys
from collections import Counter
from pathlib import Path

MAGIC = b"FCS\x1b"
EXP, LOG = [1] * 510, [0] * 256
for power in range(1, 510):
    EXP[power] = EXP[power - 1] << 1 ^ (0x11D if EXP[power - 1] & 0x80 else 0)
    LOG[EXP[power]] = power % 255
MARKS = [0x4643]
for _ in range(128):
    mark = MARKS[-1]
    mark ^= mark << 7 & 0xFFFF
    mark ^= mark >> 9
    MARKS.append(mark ^ mark << 8 & 0xFFFF)
STEPS = {MARKS[j] ^ MARKS[j + 1]: j for j in range(127)}
INVERSE = pow(0x9E37, -1, 65536)


def times(a: int, b: int) -> int:
    """Return a product in the field of 256 elements."""
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def value_at(polynomial: list[int], x: int) -> int:
    """Return a polynomial's value; its coefficients are in rising order."""
    total = 0
    for coefficient in reversed(polynomial):
        total = times(total, x) ^ coefficient
    return total


def corrected(word: bytes, n_parity: int, erased: list[int]) -> bytes | None:
    """Return a codeword without its errors and erasures; None if there are too many.

    This is the algorithm of Berlekamp and Massey, begun with the erasures, and Forney's for values.
    """
    size, low_first = len(word), list(reversed(word))
    sums = [value_at(low_first, EXP[j]) for j in range(n_parity)]
    if len(erased) > n_parity:
        return None
    locator = [1]
    for i in erased:
        locator = added(locator, [0, *scaled(locator, EXP[size - 1 - i])])
    before, length, n_erased = locator, len(erased), len(erased)
    for r in range(n_erased + 1, n_parity + 1):
        terms = [times(c, sums[r - 1 - i]) for i, c in enumerate(locator) if r > i]
        gap, shifted = 0, [0, *before]
        for term in terms:
            gap ^= term
        if gap and 2 * length <= r + n_erased - 1:
            before, length = scaled(locator, EXP[255 - LOG[gap]]), r + n_erased - length
        else:
            before = shifted
        locator = added(locator, scaled(shifted, gap))
    while locator[-1] == 0:
        locator.pop()
    places = [i for i in range(size) if value_at(locator, EXP[(i + 1 - size) % 255]) == 0]
    if len(places) != len(locator) - 1 or 2 * len(places) > n_parity + n_erased:
        return None
    product = [0] * n_parity
    for i, c in enumerate(locator):
        product = added(product, ([0] * i + scaled(sums, c))[:n_parity])
    slope = [c if i % 2 == 0 else 0 for i, c in enumerate(locator[1:])]
    fixed = bytearray(word)
    for i in places:
        inverse = EXP[(i + 1 - size) % 255]
        error = times(value_at(product, inverse), EXP[255 - LOG[value_at(slope, inverse)]])
        fixed[i] ^= times(error, EXP[size - 1 - i])
    holds = not any(value_at(list(reversed(fixed)), EXP[j]) for j in range(n_parity))
    return bytes(fixed) if holds else None


def added(a: list[int], b: list[int]) -> list[int]:
    """Return a sum of polynomials."""
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return [x ^ y for x, y in zip(longer, shorter)] + longer[len(shorter) :]


def scaled(a: list[int], factor: int) -> list[int]:
    """Return a polynomial times a number."""
    return [times(x, factor) for x in a]


def mark_at(data: bytes, at: int) -> int:
    """Return the two bytes at an offset as a number."""
    return int.from_bytes(data[at : at + 2], "little")


def find_group(data: bytes, start: int, sizes: range) -> tuple[int, int] | None:
    """Return cell size and mask of the first group: those that most pairs of marks vote for."""
    votes: Counter[tuple[int, int]] = Counter()
    first: dict[tuple[int, int], int] = {}
    for size in sizes:
        for at in range(start, min(len(data) - size - 1, start + 36_000)):
            here = mark_at(data, at)
            j = STEPS.get(here ^ mark_at(data, at + size))
            if j is not None:
                key = size, here ^ MARKS[j]
                n_cells, n_parity, _ = parameters(key[1])
                if n_cells >= 6 and n_parity >= 2 and j + 1 < n_cells:
                    votes[key] += 1
                    first.setdefault(key, at)
    most = max(votes.values(), default=0)
    likely = [key for key, n in votes.items() if n >= max(3, most / 4)]
    return min(likely, key=first.__getitem__, default=None)


def parameters(mask: int) -> tuple[int, int, int]:
    """Return the number of cells, the parity of a codeword, and the group's number modulo 4."""
    value = mask * INVERSE % 65536
    return (value & 127) + 1, value >> 7 & 127, value >> 14


def place_cells(data: bytes, start: int, size: int, mask: int) -> tuple[list[int | None], set[int]]:
    """Return the offset of each cell, None where it is missing, and the cells whose marks hold."""
    n_cells = parameters(mask)[0]
    marks = {MARKS[j] ^ mask: j for j in range(n_cells)}
    stop = min(len(data) - size + 1, start + 2 * n_cells * size)
    found = [(at, marks.get(mark_at(data, at), -1)) for at in range(start, stop)]
    hits = [(at, j) for at, j in found if j >= 0]
    chains: list[tuple[int, int]] = []  # for each hit: weight of the best chain, and the hit before
    for n, (at, j) in enumerate(hits):
        ends = [m for m in range(n) if hits[m][1] < j and hits[m][0] + size <= at]
        straight = [hits[m][0] + (j - hits[m][1]) * size == at for m in ends]
        weights = [(chains[m][0] + 1 + fits, m) for m, fits in zip(ends, straight)]
        chains.append(max(weights, default=(1, -1)))
    offsets: list[int | None] = [None] * n_cells
    n = max(range(len(hits)), key=lambda m: chains[m][0], default=-1)
    while n >= 0:
        offsets[hits[n][1]] = hits[n][0]
        n = chains[n][1]
    sure = {j for j, at in enumerate(offsets) if at is not None}
    # Between two cells in their places, the others are in theirs too.
    anchors = [(-1, start - size), *((j, offsets[j] or 0) for j in sorted(sure))]
    anchors.append((n_cells, anchors[-1][1] + (n_cells - anchors[-1][0]) * size))
    for (j, at), (k, until) in itertools.pairwise(anchors):
        for i in range(j + 1, k) if at + (k - j) * size == until else ():
            there = at + (i - j) * size
            offsets[i] = there if 0 <= there < len(data) else None
    return offsets, sure


def read_group(data: bytes, start: int, size: int, mask: int) -> tuple[bytes, int, bool]:
    """Return the bytes of a group, the offset behind it, and whether they are right."""
    n_cells, n_parity, _ = parameters(mask)
    offsets, sure = place_cells(data, start, size, mask)
    width, group = size - 2, bytearray()
    for at in offsets:
        group += (data[at + 2 : at + size] if at is not None else b"").ljust(width, b"\0")
    n_words = -(-len(group) // 255)
    missing = {j for j, at in enumerate(offsets) if at is None}
    doubtful = set(range(n_cells)) - sure
    for j in doubtful - missing:
        if not any(data[offsets[j] or 0 :][:size]):
            missing.add(j)
    for k in range(n_words):
        places = range(k, len(group), n_words)
        word = bytes(group[i] for i in places)
        for lost in (doubtful, missing):
            erased = [n for n, i in enumerate(places) if i // width in lost]
            fixed = corrected(word, n_parity, erased)
            if fixed is not None:
                group[k::n_words] = fixed
                break
    n_bytes = int.from_bytes(group[:2], "little")
    crc = binascii.crc_hqx(group[4 : 4 + n_bytes], binascii.crc_hqx(group[:2], 0xFFFF))
    n_most = len(group) - n_words * n_parity - 4
    right = n_bytes <= n_most and crc == int.from_bytes(group[2:4], "little")
    last = max((at, j) for j, at in enumerate(offsets) if at is not None)
    end = last[0] + (n_cells - last[1]) * size if last[1] == n_cells - 1 else last[0] + size
    return bytes(group[4 : 4 + min(n_bytes, n_most)]), end, right


def unprotected(data: bytes) -> tuple[bytes, bool]:
    """Return the bitstream of a protected file, and whether all of it is right."""
    found, start, whole = [], 4 if data.startswith(MAGIC) else 0, True
    sizes = range(16, 256)
    while key := find_group(data, start, sizes):
        sizes = range(key[0], key[0] + 1)
        part, start, right = read_group(data, start, *key)
        found.append(part)
        whole = whole and right
    if not found:
        raise ValueError("this is no protected file")
    return b"".join(found), whole


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("protected", type=Path)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    try:
        data, whole = unprotected(args.protected.read_bytes())
    except ValueError as error:
        print(f"{args.protected}: {error}", file=sys.stderr)
        return 2
    args.file.write_bytes(data)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
