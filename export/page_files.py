"""The files of a page that runs a model in a browser: as a folder, or as one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from importlib import resources
from pathlib import Path

import numpy as np

from fcs_edge.export import fcsm
from fcs_edge.tokens.settings import settings_of

WEB = Path(__file__).parent / "web"
"""The folder of the page's sources."""
SOURCES = (
    *("index.html", "page.css", "page.js", "plots.js", "sounds.js"),
    *("fcs.js", "fcs.d.ts", "package.json", "worker.js", "worklet.js"),
)
MODULES = "fcs.wasm", "fcs-relaxed.wasm"
"""The module, and the one with relaxed-simd."""
_MODEL, _EXAMPLE = "model.fcsm", "demo.flac"
NAMES = (*SOURCES, *MODULES, _MODEL, _EXAMPLE)
"""Files of a folder."""

_CANNOT_STAND = b"\0\r<"
"""What no script of text can hold: see web/one-file.js, which reads the text."""
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.-]+)";\n', re.MULTILINE)


def folder(module: bytes, relaxed: bytes | None, model: bytes) -> dict[str, bytes]:
    """Return the files of a page by name.

    Parameters
    ----------
    module, relaxed : bytes
        The WebAssembly modules; the relaxed one may be None.
    model : bytes
        The model's file for target ``wasm``.
    """
    files = {name: (WEB / name).read_bytes() for name in SOURCES}
    return files | _inside(module, relaxed, model)


def one_file(module: bytes, relaxed: bytes | None, model: bytes) -> bytes:
    """Return the page as one file of HTML, which runs from a disk too; it has no example.

    Parameters
    ----------
    module, relaxed, model : bytes
        As for `folder`.
    """
    inside = _inside(module, relaxed if _has_int4(model) else None, model)
    # It would take 2 % of the page.
    del inside[_EXAMPLE]
    inside["worker.js"] = joined("fcs.js", "worker.js").encode()
    inside["worklet.js"] = joined("worklet.js").encode()
    deflated = zlib.compress(b"".join(inside.values()), 9)
    sizes = json.dumps({name: len(content) for name, content in inside.items()})
    style = (WEB / "page.css").read_text(encoding="utf-8")
    script = joined("one-file.js", "plots.js", "sounds.js", "page.js")
    data = f'<script type="text/plain" id="fcs-data" data-deflated="{len(deflated)}" '
    data += f"data-sizes='{sizes}'>"
    parts = [
        data + characters(deflated) + "</script>",
        f'<script type="module">{script}</script>',
    ]
    page = (WEB / "index.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(script)} 'wasm-unsafe-eval' data:; "
        f"worker-src blob:; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    page = _replaced(page, r'content="default-src[^"]*"', f'content="{policy}"')
    page = _replaced(page, r'<link rel="stylesheet"[^>]*>', f"<style>{style}</style>")
    page = _replaced(page, r'<script type="module"[^>]*></script>\n', "")
    page = _replaced(page, "</body>", "\n".join([*parts, "</body>"]))
    return page.encode()


def characters(data: bytes) -> str:
    r"""Return text that stands for bytes: 7 bits a character, of which none is 0, ``\r`` or ``<``.

    A character from 128 on stands for one of these and for the 7 bits that follow.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    rows = np.concatenate([bits, np.zeros(-bits.size % 7, np.uint8)]).reshape(-1, 7)
    sevens = np.packbits(rows, axis=1)[:, 0].astype(np.uint32) >> 1
    which = np.zeros(128, np.uint32)
    which[list(_CANNOT_STAND)] = np.arange(1, 1 + len(_CANNOT_STAND))
    sevens = np.append(sevens, np.uint32(0))
    used = np.ones(sevens.size, bool)
    used[-1] = False
    # A character that cannot stand takes the next one with it, whatever that is.
    taken = -1
    for place in np.flatnonzero(which[sevens[:-1]]):
        if place == taken:
            continue
        taken = place + 1
        used[taken] = False
        sevens[place] = which[sevens[place]] << 7 | sevens[taken]
    return sevens[used].astype("<u4").tobytes().decode("utf-32-le")


def _has_int4(model: bytes) -> bool:
    """Whether a model's file has int4 weights: no others are faster with the relaxed module."""
    head, _ = fcsm.unpack(model)
    return settings_of(head.settings).get("weights") == "int4"


def _inside(module: bytes, relaxed: bytes | None, model: bytes) -> dict[str, bytes]:
    example = resources.files("fcs_edge") / "data" / _EXAMPLE
    contents = (module, relaxed, model, example.read_bytes())
    files = dict(zip((*MODULES, _MODEL, _EXAMPLE), contents, strict=True))
    return {name: content for name, content in files.items() if content is not None}


def joined(*names: str) -> str:
    """Return scripts as one: what one imports of another stands before it."""
    parts = []
    for i, name in enumerate(names):
        text = (WEB / name).read_text(encoding="utf-8")
        missing = set(_IMPORT.findall(text)) - set(names[:i])
        text = re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)
        if missing or re.search(r"^import |</script|<!--", text, re.MULTILINE):
            raise ValueError(f"{name} cannot stand in one file")
        parts.append(text)
    return "\n".join(parts)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _replaced(page: str, pattern: str, text: str) -> str:
    """Replace what the page has once."""
    page, n = re.subn(pattern, lambda _: text, page)
    if n != 1:
        raise ValueError(f"the page has {pattern} {n} times")
    return page
