"""Count the words of sentences and pages, and refuse what is too long for a reader.

    python scripts/check_prose.py [--verbose] [--docstrings]

Pages: README.md, CONTRIBUTING.md, the newest section of CHANGELOG.md, and all of docs/ and train/.
Code, tables, headings, pictures and the addresses of links are left out. Help texts and messages
are read from the sources: docstrings and help strings of commands, and what errors, warnings and
notes say. A page fails where its median is over 18 words, where a sentence is over 25, or where
the page is over its own limit. `--verbose` shows each sentence that is too long, in full.
`--docstrings` counts docstrings too, and refuses none.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MEDIAN = 18
"""Words that the median sentence of a page may have."""
LONGEST = 25
"""Words that any sentence may have."""

PAGE_WORDS = {
    "README.md": 760,
    "docs/start.md": 660,
    "docs/corpus.md": 900,
    "docs/howto/": 320,
    "docs/explanation/": 830,
    "docs/performance.md": 920,
    "docs/model-card.md": 940,
    "train/README.md": 640,
}
"""Words a page may have, as `wc -w` counts them: the plan's figure and a little more."""
PAGE_LINES = {"train/experiments/": 60, "train/experiments/README.md": 200}
"""Lines a page may have."""

STALE = re.compile("weights before|code before|another day")
"""What a page of docs/ must not say: it compares with what a reader does not have."""

COMMANDS = ("cli",)
"""Folders whose docstrings of commands are help texts."""
SOURCES = ("fcs_edge", "kernels", "convert", "export", "live", "link", "cli", "train")
"""Folders whose messages are read."""
SPEAKERS = {"warn", "note", "fail", "UsageError", "BadParameter", "ClickException"}
"""Functions and classes that are given a message."""

_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|vs|cf|etc|Fig|No|approx)\.")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`*]*[A-Z0-9`])")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
_FENCE = re.compile(r"\s*(```|~~~)")


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs and list items of a Markdown page, without markup."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    lines: list[str] = []
    fence = ""
    in_list = False
    for line in [*text.splitlines(), ""]:
        mark = _FENCE.match(line)
        starts_item = bool(_ITEM.match(line))
        indented = line.startswith("    ") and not in_list and not lines
        left_out = (
            line.lstrip().startswith(("|", "#", ":::", "!!!", "<", "----", ">>>")) or indented
        )
        if fence or mark or left_out or starts_item or not line.strip():
            if lines:
                yield plain(" ".join(lines))
            lines = []
        if line.strip() and not line.startswith(" "):
            in_list = starts_item
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        elif fence or left_out or not line.strip():
            continue
        else:
            in_list = in_list or starts_item
            lines.append(_ITEM.sub("", line, count=1) if starts_item else line.strip("> "))


def plain(text: str) -> str:
    """Return a paragraph without markup: code is one word, a link is its text."""
    text = re.sub(r"``.+?``|`[^`]+`", "Code", text)
    text = re.sub(r"\$[^$]+\$", "Formula", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"</?[a-z][^>]*>", "", text)
    text = re.sub(r"https?://\S+", "Address", text)
    return text.replace("**", "").replace("*", "").strip()


def sentences(paragraph: str) -> list[str]:
    """Cut a paragraph at the ends of its sentences; those without a word are left out."""
    text = _ABBREVIATIONS.sub(lambda m: m[0].replace(".", ""), " ".join(paragraph.split()))
    return [part for part in _SENTENCE_END.split(text) if count(part)]


def count(sentence: str) -> int:
    """Return the number of words: what holds a letter or a digit."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def pages() -> list[Path]:
    """Return the pages that people read."""
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*named, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "train").rglob("*.md"))]


def limit(name: str, limits: dict[str, int]) -> int | None:
    """Return a page's own limit, by its path or its folder."""
    return limits.get(name) or limits.get(name.rpartition("/")[0] + "/")


def check_page(name: str, text: str) -> tuple[list[str], list[str]]:
    """Return the sentences of a page, and what is wrong with it as a whole."""
    found = []
    if name == "CHANGELOG.md":
        text = "\n## ".join(re.split(r"^## ", text, flags=re.MULTILINE)[:2])
    words, lines = len(text.split()), len(text.splitlines())
    most_words, most_lines = limit(name, PAGE_WORDS), limit(name, PAGE_LINES)
    if most_words and words > most_words:
        found.append(f"{words} words, over {most_words}")
    if most_lines and lines > most_lines:
        found.append(f"{lines} lines, over {most_lines}")
    if name.startswith("docs/"):
        for number, line in enumerate(text.splitlines(), 1):
            if STALE.search(line):
                found.append(f"line {number} says `{STALE.findall(line)[0]}`")
    return [s for paragraph in paragraphs(text) for s in sentences(paragraph)], found


def _text(node: ast.expr | None) -> str:
    """Return the text of a string, of one with fields, or of a sum of them; a field is a word."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(v) if isinstance(v, ast.Constant) else "Field" for v in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body, orelse=orelse):
            return max(_text(body), _text(orelse), key=len)
    return ""


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def texts(tree: ast.AST, commands: bool) -> Iterator[tuple[int, str]]:
    """Yield the messages of a module, and its help texts: their lines and themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            yield node.lineno, _text(node.exc.args[0])
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in SPEAKERS:
            yield node.lineno, _text(node.args[0])
        elif isinstance(node, ast.Call) and (commands or _called(node.func) == "add_argument"):
            for keyword in node.keywords:
                if keyword.arg in ("help", "epilog", "short_help"):
                    yield node.lineno, _text(keyword.value)
        elif commands and isinstance(node, ast.FunctionDef):
            decorators = {_called(d.func) for d in node.decorator_list if isinstance(d, ast.Call)}
            if decorators & {"command", "group"}:
                # After \b comes what click shows as it stands: examples.
                blocks = re.split(r"\n\s*\n", ast.get_docstring(node) or "")
                for block in blocks:
                    if not block.strip().startswith(("\b", "\\b")):
                        yield node.lineno, block


def messages() -> list[str]:
    """Return the messages and help texts of the package, each after its folder, sorted."""
    found = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py") if folder != "train" else ():
            for _, text in texts(ast.parse(path.read_text()), folder in COMMANDS):
                if text.strip():
                    found.add(f"{folder}: {' '.join(text.split())}")
    return sorted(found)


def check_sources() -> Iterator[tuple[str, list[str]]]:
    """Yield folders and the sentences of their help texts and messages, with their places."""
    for folder in SOURCES:
        listed = []
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for line, text in texts(ast.parse(path.read_text()), folder in COMMANDS):
                listed += [f"{name}:{line}\0{s}" for s in sentences(plain(text))]
        yield f"{folder}/ (messages)", listed


def docstrings() -> Iterator[tuple[str, list[str]]]:
    """Yield folders and the sentences of their docstrings, with their places."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for folder in (*SOURCES, "scripts"):
        listed = []
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, documented)]
            for node in nodes:
                line = getattr(node, "lineno", 1)
                for paragraph in paragraphs(ast.get_docstring(node) or ""):
                    listed += [f"{name}:{line}\0{s}" for s in sentences(paragraph)]
        yield f"{folder}/ (docstrings)", listed


def report(name: str, listed: list[str], found: list[str], verbose: bool) -> bool:
    """Print a page's figures and problems; return whether it is as it should be."""
    lengths = [count(sentence.partition("\0")[2] or sentence) for sentence in listed]
    median, longest = statistics.median(lengths or [0]), max(lengths or [0])
    too_long = [s for s, n in zip(listed, lengths, strict=True) if n > LONGEST]
    if median > MEDIAN:
        found.append(f"the median is over {MEDIAN}")
    if too_long:
        found.append(f"{len(too_long)} of {len(listed)} sentences are over {LONGEST} words")
    print(f"{name:44} median {median:4g}  longest {longest:3}  {'; '.join(found)}")
    for sentence in too_long if verbose else ():
        print(f"    {sentence}".replace("\0", ": "))
    return not found


def main() -> None:
    """Check all pages, help texts and messages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--verbose", action="store_true", help="Show sentences that are too long.")
    parser.add_argument("--docstrings", action="store_true", help="Count docstrings too.")
    parser.add_argument("--messages", action="store_true", help="Print all messages, no more.")
    options = parser.parse_args()
    if options.messages:
        print("\n".join(messages()))
        return
    verbose = options.verbose
    intact = True
    for path in pages():
        name = path.relative_to(ROOT).as_posix()
        intact &= report(name, *check_page(name, path.read_text()), verbose)
    for name, listed in check_sources():
        intact &= report(name, listed, [], verbose)
    for name, listed in docstrings() if options.docstrings else ():
        report(name, listed, [], verbose)
    sys.exit(not intact)


if __name__ == "__main__":
    main()
