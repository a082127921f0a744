"""Versions of what decides samples, tokens and the bytes of shards."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

MISSING = "none"
"""The version of a package that is not installed."""


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    import soundfile
    import soxr

    return (
        ("fcs-edge", version("fcs-edge")),
        ("libsndfile", soundfile.__libsndfile_version__),
        ("soxr", soxr.__version__),
        ("pyarrow", _version("pyarrow")),
    )


def versions() -> dict[str, str]:
    """Return the versions of what decides samples, tokens and the bytes of shards, by name."""
    return dict(_versions())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
