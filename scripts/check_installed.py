"""Import every module of an installed package, and compare them with the files of the checkout.

    cd /tmp && VENV/bin/python -I CHECKOUT/scripts/check_installed.py

The package must come from the installation: `-I` keeps the current folder out of the path.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSIDE = ("kernels", "convert", "export", "live", "link", "cli")


def expected() -> set[str]:
    """Return the names of the modules in the checkout."""
    paths = [path for name in ("fcs_edge", *INSIDE) for path in (ROOT / name).rglob("*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    names = {name.removesuffix(".__init__") for name in names}
    return {n if n.split(".")[0] == "fcs_edge" else f"fcs_edge.{n}" for n in names}


def main() -> None:
    """Import them."""
    import fcs_edge

    package = Path(fcs_edge.__file__).parent
    if package.is_relative_to(ROOT / "fcs_edge"):
        sys.exit("check_installed: fcs_edge comes from the checkout")
    paths = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
    installed = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    if installed != expected():
        different = ", ".join(sorted(installed ^ expected()))
        sys.exit(f"check_installed: the installation and the checkout differ in {different}")
    # Importing `__main__` would run the command.
    for name in sorted(n for n in installed if not n.endswith(".__main__")):
        importlib.import_module(name)
    print(f"all {len(installed)} modules of {package} can be imported")


if __name__ == "__main__":
    main()
