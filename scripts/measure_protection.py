"""Count how many damaged messages a protected file brings through whole, for several damages.

    python scripts/measure_protection.py [FILE...] [--bytes N]... [--share S] [--trials N]

Each FILE is a `.fcs` file; ``--bytes`` takes random bytes of that number. Each trial has its own
seed, printed where the message does not come through. A message is whole if each byte is right.

"Bit errors" flips each bit with the given probability. "Lost" loses a tenth of the cells, rounded
to the nearest number, chosen at random: *cut out* removes their bytes, so that their places are not
known; *noise* puts random bytes in their place; *zeros* puts zeros there. Times are of the CPU.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcs_edge.bitstream.protection import ProtectedReader, ProtectedWriter, Repairs

MAGIC_BYTES = 4
_PIECE = 1 << 16


class Damage(NamedTuple):
    """What happens to a protected file on its way."""

    bit_errors: float = 0.0
    lost: float = 0.0
    how: str = "cut out"


DAMAGES = [
    Damage(1e-3),
    *(Damage(0, 0.1, how) for how in ("cut out", "noise", "zeros")),
    *(Damage(1e-3, 0.1, how) for how in ("cut out", "noise", "zeros")),
    Damage(3e-3),
    Damage(0, 0.15),
]


def protect(data: bytes, share: float, cell_bytes: int | None = None) -> bytes:
    """Return the bytes of a file, protected."""
    file = io.BytesIO()
    writer = ProtectedWriter(file, share, cell_bytes=cell_bytes)
    writer.write(data)
    writer.close()
    return file.getvalue()


def restore(data: bytes, *, seekable: bool = True, piece: int = _PIECE) -> tuple[bytes, Repairs]:
    """Return the corrected bytes of a protected file, and what was found."""
    reader = ProtectedReader(io.BytesIO(data), seekable=seekable)
    restored = b"".join(iter(lambda: reader.read(piece), b""))
    return restored, reader.repairs or Repairs()


def damaged(data: bytes, cell_bytes: int, damage: Damage, random: np.random.Generator) -> bytes:
    """Return a protected file with a share of its cells lost, and with bits flipped."""
    cells = list(_cells(data[MAGIC_BYTES:], cell_bytes))
    n_lost = round(damage.lost * len(cells)) or int(damage.lost > 0)
    for index in random.choice(len(cells), n_lost, replace=False).tolist():
        size = len(cells[index])
        replacements = {"cut out": b"", "noise": random.bytes(size), "zeros": bytes(size)}
        cells[index] = replacements[damage.how]
    bits = np.unpackbits(np.frombuffer(data[:MAGIC_BYTES] + b"".join(cells), np.uint8))
    flips = random.random(bits.size) < damage.bit_errors
    return np.packbits(bits ^ flips).tobytes()


def _cells(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def count_whole(data: bytes, share: float, damage: Damage, seeds: range) -> tuple[list[int], float]:
    """Return the seeds whose message is not whole, and the longest time of decoding in seconds."""
    whole = protect(data, share)
    cell_bytes = restore(whole)[1].cell_bytes
    failed, longest = [], 0.0
    for seed in seeds:
        received = damaged(whole, cell_bytes, damage, np.random.default_rng(seed))
        start = time.process_time()
        restored, _ = restore(received)
        longest = max(longest, time.process_time() - start)
        if restored != data:
            failed.append(seed)
    return failed, longest


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--bytes", type=int, action="append", default=[])
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    messages = {str(path): path.read_bytes() for path in arguments.files}
    for n_bytes in arguments.bytes:
        messages[f"{n_bytes} random bytes"] = np.random.default_rng(n_bytes).bytes(n_bytes)
    print(
        "| message | bytes | protected | bit errors | lost | whole | longest decode, s | failed |"
    )
    print("|---|---|---|---|---|---|---|---|")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.trials)
    for name, data in messages.items():
        size = len(protect(data, arguments.share))
        for damage in DAMAGES:
            failed, longest = count_whole(data, arguments.share, damage, seeds)
            lost = f"{damage.lost:.0%} {damage.how}" if damage.lost else "none"
            print(
                f"| {name} | {len(data)} | {size} | {damage.bit_errors:g} | {lost} "
                f"| {len(seeds) - len(failed)} of {len(seeds)} | {longest:.2f} | {failed[:9]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
