"""Which folders a search goes into, so that links lead it to each sound once."""

from __future__ import annotations

import os


class FolderTrees:
    """The folders that a search covers.

    A link is followed unless its folder is searched already: it lies in one that is, or it was
    linked before. Nor does the search go up: a link to a folder that holds the first one is left
    out. Hidden folders are not searched, so a link to one is followed.

    Parameters
    ----------
    top : str
        The folder that the search begins with.
    """

    def __init__(self, top: str) -> None:
        self.top = os.path.realpath(top)
        self._tops = {self.top}

    def enter(self, path: str, real_parent: str) -> str | None:
        """Return the real path of a folder to search; None for one to leave out.

        Parameters
        ----------
        path : str
            The folder, which may be a link.
        real_parent : str
            The real path of the folder that it is in.
        """
        if not os.path.islink(path):
            real = os.path.join(real_parent, os.path.basename(path))
            return None if real in self._tops else real
        real = os.path.realpath(path)
        if self._is_covered(real) or f"{self.top}/".startswith(f"{real.rstrip('/')}/"):
            return None
        self._tops.add(real)
        return real

    def _is_covered(self, real: str) -> bool:
        """Return whether a folder is searched, or lies in one that is and is not hidden there."""
        while real not in self._tops:
            real, name = os.path.split(real)
            if not name or name.startswith("."):
                return False
        return True
