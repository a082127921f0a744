"""Names of a package that are imported at first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(
    package: str, modules: Mapping[str, tuple[str, ...]], packages: tuple[str, ...] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        The package's name.
    modules : mapping of str to tuple of str
        Modules of the package, and the names that the package has of each.
    packages : tuple of str
        Packages in it that are imported at their first use, too.
    """

    def get(name: str) -> object:
        for module, names in modules.items():
            if name in names:
                found = getattr(import_module(f"{package}.{module}"), name)
                vars(sys.modules[package])[name] = found
                return found
        if name in packages:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def list_names() -> list[str]:
        present = vars(sys.modules[package])
        return sorted(
            {*present, *packages, *(name for names in modules.values() for name in names)}
        )

    return get, list_names
