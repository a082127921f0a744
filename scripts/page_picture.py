"""Draw the page with the example in it, for the README: docs/figures/page.png.

    python scripts/page_picture.py [PNG]

It exports the built-in model, serves it on loopback and needs Chromium (Debian: chromium), and
Pillow, which Matplotlib brings.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from chromium import Chromium

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "figures" / "page.png"
SIZE = (1000, 820)
COLOURS = 64
MARGIN = 20


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""


def draw(folder: Path, picture: Path) -> None:
    """Write the picture of the page in a folder."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("page_picture: no chromium: apt-get install chromium")
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Chromium(program, size=SIZE) as browser:
            browser.call("Emulation.setScrollbarsHidden", hidden=True)
            browser.open(f"http://127.0.0.1:{server.server_port}/index.html")
            browser.wait("!document.getElementById('example').disabled", 60)
            browser.run("document.getElementById('example').click()")
            browser.wait("!document.getElementById('save-fcs').disabled", 60)
            browser.run("new Promise(done => setTimeout(done, 1000))")
            browser.picture(picture)
        server.shutdown()
    with Image.open(picture) as drawn:
        area = (MARGIN, MARGIN, drawn.width - MARGIN, drawn.height - MARGIN)
        small = drawn.convert("RGB").crop(area).quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)


def main() -> None:
    """Export, serve and draw."""
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "page"
        command = [sys.executable, "-m", "fcs_edge.cli", "export", "edge-65k", str(folder)]
        subprocess.run([*command, "--target", "wasm", "--quiet"], check=True)
        draw(folder, picture)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
