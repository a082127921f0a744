"""Check types of all packages, of `train` and of `scripts` by ``mypy --strict``, with no wheel.

    python scripts/check_types.py

The packages lie in folders of their own (`kernels/` is `fcs_edge.kernels`), which mypy cannot be
told. So `build/tree` holds links that lay them out as they are installed; `mypy_path` in
pyproject.toml names it. The files that mypy read are compared with those in git, so that no file
escapes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "tree"
INSIDE = ("kernels", "convert", "export", "live", "link", "cli")
"""Folders that are installed as sub-packages of `fcs_edge`."""
_SOURCE = re.compile(r"Found source: +BuildSource\(path=(?:'([^']+)'|None), module='([^']+)'")


def make_tree() -> None:
    """Write links that lay the packages out as they are installed."""
    shutil.rmtree(TREE, ignore_errors=True)
    # A folder of its own: a link to fcs_edge/ could not hold the other packages.
    package = TREE / "fcs_edge"
    package.mkdir(parents=True)
    inside = [path for path in (ROOT / "fcs_edge").iterdir() if path.name != "__pycache__"]
    for path in (*inside, *(ROOT / name for name in INSIDE)):
        (package / path.name).symlink_to(path)
    (TREE / "train").symlink_to(ROOT / "train")


def files_in_git() -> set[Path]:
    """Return the Python files of the checked folders that git tracks."""
    folders = ("fcs_edge", *INSIDE, "train", "scripts")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = {(ROOT / name) for name in listed.split("\0") if name.endswith((".py", ".pyi"))}
    return {path.resolve() for path in paths if path.exists()}


def main() -> None:
    """Run mypy, show what it reports, and end with its exit code."""
    make_tree()
    # A script is a module, not part of a package: it imports its neighbours by their bare names.
    scripts = [f"--module={path.stem}" for path in sorted((ROOT / "scripts").glob("*.py"))]
    command = [sys.executable, "-m", "mypy", "--strict", "--verbose"]
    command += ["--package=fcs_edge", "--package=train", *scripts]
    # The output names the files read (to standard error) and the errors (to standard output).
    mypy = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(mypy.stdout, end="")
    if mypy.returncode > 1 or not mypy.stdout:
        print(re.sub(r"^LOG:.*\n", "", mypy.stderr, flags=re.MULTILINE), end="")
        sys.exit(mypy.returncode or 2)
    # mypy tells the path of a package's module, and only the name of a script.
    found = _SOURCE.findall(mypy.stderr)
    read = {(ROOT / (path or f"scripts/{name}.py")).resolve() for path, name in found}
    expected = files_in_git()
    for path in sorted(expected - read):
        print(f"{path.relative_to(ROOT)}: mypy did not read this file")
    print(f"{len(read & expected)} of {len(expected)} files in git were read")
    sys.exit(mypy.returncode or int(not expected <= read))


if __name__ == "__main__":
    main()
