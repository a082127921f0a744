"""Print the lowest version that pyproject.toml allows of each dependency, as pip's constraints.

    python scripts/oldest_versions.py [EXTRA ...]

The dependencies of the package come first, then those of each extra. `make test-oldest` installs
these versions and runs the tests with them.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
_OWN = re.compile(r"fcs-edge\[([a-z,]+)\]")
_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)(?:\[.*\])?>=([0-9.]+)")


def requirements(name: str) -> list[str]:
    """Return the list of requirements that pyproject.toml calls `name`."""
    # tomllib came with Python 3.11.
    match = re.search(rf"^{name} = (\[.*?\])$", PROJECT.read_text(), re.MULTILINE | re.DOTALL)
    if match is None:
        sys.exit(f"oldest_versions: pyproject.toml has no list {name}")
    listed: list[str] = ast.literal_eval(match[1])
    return listed


def floors(names: list[str]) -> dict[str, str]:
    """Return the lowest version of each package in the lists called `names`.

    An extra of the package itself counts with what it lists. A requirement with no lower bound
    ends the program: nobody can test its oldest version.
    """
    lowest: dict[str, str] = {}
    for requirement in (r for name in names for r in requirements(name)):
        if own := _OWN.fullmatch(requirement):
            lowest |= floors(own[1].split(","))
            continue
        match = _FLOOR.match(requirement)
        if match is None:
            sys.exit(f"oldest_versions: {requirement} has no lowest version")
        lowest[match[1]] = match[2]
    return lowest


if __name__ == "__main__":
    for package, version in floors(["dependencies", *sys.argv[1:]]).items():
        print(f"{package}=={version}")
