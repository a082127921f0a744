"""The page's files: no other host, one file that holds all, and a policy that lets it run."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from fcs_edge.export import fcsm, page_files
from fcs_edge.tokens.settings import settings_code
from native_tools import needed

MODULE, RELAXED = (np.random.default_rng(i).bytes(5000 + i) for i in range(2))


def model(weights: str = "int8") -> bytes:
    """A model's file without a model."""
    rates = (16000, 24000, 320, 480, 1280, 4, 4, 16)
    settings = settings_code({"weights": weights})
    return fcsm.pack(fcsm.Head(bytes(8), bytes(8), *rates, settings, "none"), [])


MODEL = model()


class _Page(html.parser.HTMLParser):
    """The scripts and styles of a page, and what its elements ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.inside: list[tuple[str, dict[str, str | None], str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style") and self.inside and not self.inside[-1][2]:
            tag, attributes, _ = self.inside[-1]
            self.inside[-1] = (tag, attributes, data)


def _bytes_of(text: str) -> bytes:
    """What a text stands for, bit by bit."""
    sevens: list[int] = []
    for code in map(ord, text):
        sevens += [code] if code < 128 else [(0, 13, 60)[(code >> 7) - 1], code & 127]
    bits = np.unpackbits(np.array(sevens, np.uint8)).reshape(-1, 8)[:, 1:].ravel()
    return np.packbits(bits[: bits.size // 8 * 8]).tobytes()


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 100, 4001])
def test_characters_stand_for_bytes(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    text = page_files.characters(data)
    assert not set("\0\r<") & set(text)
    assert _bytes_of(text)[:size] == data
    zeros = page_files.characters(bytes(size))
    assert _bytes_of(zeros)[:size] == bytes(size)
    # 8 bits in 7, and nothing more for characters that cannot stand.
    assert len(text.encode()) <= size * 8 / 7 + 2


def test_one_file_holds_all_and_states_the_hashes_of_its_scripts() -> None:
    page = page_files.one_file(MODULE, RELAXED, MODEL)
    found = _Page(page.decode())
    script = next(s for s in found.inside if s[1].get("id") == "fcs-data")
    held = _bytes_of(script[2])[: int(script[1]["data-deflated"] or 0)]
    whole = zlib.decompress(held)
    assert whole.startswith(MODULE + MODEL)
    sizes = json.loads(script[1]["data-sizes"] or "")
    names = ["fcs.wasm", "model.fcsm", "worker.js", "worklet.js"]
    assert list(sizes) == names
    assert sum(sizes.values()) == len(whole)
    policy = next(a["content"] for t, a in found.elements if a.get("http-equiv")) or ""
    for tag, attributes, text in found.inside:
        if tag == "style" or attributes.get("type") == "module":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    assert "'unsafe-inline'" not in policy
    assert page == page_files.one_file(MODULE, RELAXED, MODEL)


def test_the_relaxed_module_is_inside_for_int4_alone() -> None:
    for weights in ("f32", "f16", "int8", "int4"):
        page = page_files.one_file(MODULE, RELAXED, model(weights))
        assert (b'"fcs-relaxed.wasm": 5001' in page) == (weights == "int4")
    assert page_files.folder(MODULE, RELAXED, MODEL)["fcs-relaxed.wasm"] == RELAXED


def test_the_page_asks_no_other_host() -> None:
    sources = [page_files.WEB / name for name in ("one-file.js", *page_files.SOURCES)]
    for path in sources:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|\bwss?://", text), path
    page = _Page((page_files.WEB / "index.html").read_text())
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv")) or ""
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy


def test_each_control_has_a_name() -> None:
    """A name: its text, a label around it, or aria-label."""
    text = (page_files.WEB / "index.html").read_text()
    controls = re.findall(r"<button[^>]*>.*?</button>|<input[^>]*>", text, re.DOTALL)
    assert len(controls) >= 12
    labelled = re.findall(r"<label[^>]*>.*?</label>", text, re.DOTALL)
    for control in controls:
        words = re.sub(r"<[^>]*>", "", control).strip()
        named = words or "aria-label" in control or any(control in part for part in labelled)
        assert named or " hidden" in control, control


def _channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _luminance(colour: str) -> float:
    r, g, b = (_channel(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_texts_have_the_contrast_of_aa(theme: int) -> None:
    css = (page_files.WEB / "page.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    pairs = [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card")]
    pairs += [("live", "paper"), ("live", "card"), ("accent-ink", "accent"), ("soft", "plot")]
    for text, ground in pairs:
        low, high = sorted((_luminance(colours[text]), _luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def test_scripts_are_whole(tmp_path: Path) -> None:
    """Each script, and the two of one file, by the engine's own parser."""
    page = _Page(page_files.one_file(MODULE, None, MODEL).decode())
    scripts = [(a.get("type"), text) for tag, a, text in page.inside if tag == "script"]
    texts = [text for kind, text in scripts if kind == "module"]
    texts.append(page_files.joined("fcs.js", "worker.js"))
    texts += [path.read_text() for path in sorted(page_files.WEB.glob("*.js"))]
    node = needed("node")
    for i, text in enumerate(texts):
        path = tmp_path / f"{i}.mjs"
        path.write_text(text)
        done = subprocess.run([node, "--check", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
