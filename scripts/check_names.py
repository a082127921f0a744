"""Refuse words in names that the field has a standard word for.

    python scripts/check_names.py [FILE ...]

A name is that of a function, class, argument, variable, attribute, file, command-line option or
TOML key. It is split at underscores, hyphens and capitals; a word of `WORDS` in it is an error.
English prose is not checked.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

WORDS = {
    "agreed": "latent_commitment",
    "apart": "distance, difference or separate",
    "asked": "requested, query or expected",
    "begun": "primed",
    "carried": "transferred or remainder",
    "carry": "transfer or remainder",
    "ears": "recogniser",
    "echo": "flip_distillation",
    "echoed": "flip_teacher",
    "followed": "flip_student",
    "graft": "merge_weights",
    "grafted": "merged",
    "heard": "input, received, audible, microphone or encoder_features",
    "hearer": "perceptual_loss",
    "hearers": "perceptual_losses",
    "judge": "metric or recogniser",
    "judged": "scored",
    "judges": "metrics",
    "kept": "retained, cached, stored or history",
    "made": "output, generated, built or created",
    "pressed": "on_key or key",
    "said": "output, message, report or status",
    "sought": "search_target",
    "sounding": "player or playback",
    "spoilt": "degraded",
    "told": "predicted",
    "tries": "shortlist",
    "usual": "typical, default or mean",
    "wanted": "target, requested or expected",
    "ways": "beam_width, beams or methods",
}
"""A word that names must not have, and what to say."""

CLASS_WORDS = {"repeated": "replayed"}
"""The same for names of classes only."""

EXCEPTIONS: dict[str, str] = {
    "scripts/measure_quantisation.py:--judges": "the former name of --metrics, an alias",
}
"""Names that may stay, as ``path:name``, and the reason."""

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_TOML_KEY = re.compile(r"^\s*\[*([\w.\-]+?)\]*\s*(?:=|$)")


class Finding(NamedTuple):
    """A name that has a refused word."""

    path: str
    line: int
    name: str
    word: str
    instead: str

    def line_of_text(self) -> str:
        """Return where it is and what is wrong."""
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.name}: not `{self.word}` but {self.instead}"


def names(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Yield the names that a program defines: name, line, whether it is a class."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield name, node.lineno, True
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node.lineno, False
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno, False
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno, False
            case ast.alias(asname=str(name)):
                yield name, node.lineno, False
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name, node.lineno, False
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name, node.lineno, False
            case ast.Call(func=ast.Attribute(attr="option" | "argument" | "add_argument")):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value, node.lineno, False
            case ast.Call(func=ast.Name(id="NamedTuple" | "namedtuple")):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                        yield inner.value, inner.lineno, False


def refused(name: str, a_class: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each refused word of a name, and what to say instead."""
    table = WORDS | CLASS_WORDS if a_class else WORDS
    for part in _PARTS.findall(name):
        if part.lower() in table:
            yield part.lower(), table[part.lower()]


def check(path: str, text: str) -> list[Finding]:
    """Return what is wrong with the name of a file, and with the names in it."""
    listed: list[tuple[str, int, bool]] = [(path, 0, False)]
    if path.endswith(".py"):
        listed += names(ast.parse(text))
    elif path.endswith(".toml"):
        for number, line in enumerate(text.splitlines(), 1):
            listed += [(key, number, False) for key in _TOML_KEY.findall(line)]
    return [
        Finding(path, line, name, word, instead)
        for name, line, a_class in listed
        for word, instead in refused(name, a_class)
        if f"{path}:{name}" not in EXCEPTIONS
    ]


def tracked() -> list[str]:
    """Return the names of the files in git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def find(paths: list[str]) -> list[Finding]:
    """Return what is wrong with the names in files of the repository."""
    found: list[Finding] = []
    for path in paths:
        readable = path.endswith((".py", ".toml"))
        found += check(path, (ROOT / path).read_text() if readable else "")
    return found


def main(paths: list[str]) -> None:
    """Check the files called `paths`, or all files in git."""
    found = find(paths or tracked())
    for finding in found:
        print(finding.line_of_text())
    by_area = Counter(finding.path.split("/")[0] for finding in found)
    print(", ".join(f"{area} {n}" for area, n in by_area.most_common()) or "All names hold.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(sys.argv[1:])
