"""The version of this package, read at first use: it takes as long as all other imports of it."""

from importlib.metadata import version

__version__ = version("fcs-edge")
