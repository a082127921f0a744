"""Refuse files over 500 KB in git, but those that docs and tests need.

    python scripts/check_sizes.py [FILE ...]

Without a FILE, all files that git tracks are checked. pre-commit names the files of a commit.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 500_000
"""Bytes that a file may have."""

ALLOWED = {
    # path or folder (ending in a slash): largest size in bytes, and the reason
    "fcs_edge/data/edge-65k.safetensors": (9_000_000, "the one model that a release ships"),
    "train/weights/": (22_000_000, "the one float16 state that training starts from"),
    "tests/data/golden/": (2_000_000, "outputs of the reference implementation"),
}
ONE_FILE = "train/weights/"
"""A folder of which one file only may exceed the limit."""


def allowance(name: str) -> int:
    """Return the largest size in bytes that a file may have."""
    for path, (size, _) in ALLOWED.items():
        if name == path or (path.endswith("/") and name.startswith(path)):
            return size
    return LIMIT


def tracked() -> list[str]:
    """Return the names of the files in git."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name]


def problems(sizes: dict[str, int]) -> list[str]:
    """Return a line for each file that is too large; `sizes` are in bytes."""
    lines = [
        f"{name}: {size / 1e6:.2f} MB, over {allowance(name) / 1e6:.1f} MB. Keep large files "
        "out of git; scripts/check_sizes.py lists the exceptions."
        for name, size in sorted(sizes.items())
        if size > allowance(name)
    ]
    large = [n for n, size in sizes.items() if n.startswith(ONE_FILE) and size > LIMIT]
    if len(large) > 1:
        lines.append(f"{ONE_FILE} may hold one large file, not {len(large)}: {', '.join(large)}")
    return lines


def main(names: list[str]) -> None:
    """Check the files called `names`, or all files in git."""
    paths = {name: ROOT / name for name in names or tracked()}
    sizes = {name: path.lstat().st_size for name, path in paths.items() if path.exists()}
    found = problems(sizes)
    print("\n".join(found) or f"{len(sizes)} files: none is too large")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(sys.argv[1:])
