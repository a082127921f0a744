"""``fcs-edge page``: a model in a browser, served on this machine alone."""

from __future__ import annotations

import errno
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import click

from fcs_edge.cli.options import activations_option, common_options, model_option
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.errors import FcsError
from fcs_edge.modelfile.catalogue import find

_HOST = "127.0.0.1"
_PORT = 8765
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".flac": "audio/flac",
}


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Port of this machine; 0 takes one that is free.",
)
@model_option
@activations_option
@common_options
def page(port: int, model: str | None, activations: int | None, quiet: bool) -> None:
    """Serve a page that runs a model in a browser, on this machine alone.

    The page sends the microphone or a sound file through the codec. It plays the original or the
    decoded sound, and shows both. No sound leaves the browser. The command prints the page's
    address, which other machines cannot reach. Ctrl-C ends it.

    \b
    Examples:
      fcs-edge page
      fcs-edge page --port 8080 --model 4k
    """
    from fcs_edge.export import page_files
    from fcs_edge.export.exporter import WASM, model_bytes
    from fcs_edge.export.libraries import find as find_library

    messages = Messages(quiet)
    source = find(model)
    source.require("encoder", "decoder")
    if activations is not None:
        source = source.with_activations(activations)
    with _listening(port) as server:
        library = find_library(WASM)
        with spinner(messages, f"Preparing {source.name} for browsers, some seconds ..."):
            data = model_bytes(source, WASM)
        module, relaxed = (library.read(name) for name in page_files.MODULES)
        server.files = page_files.folder(module, relaxed, data)
        click.echo(f"http://{_HOST}:{server.server_port}/")
        messages.note(f"{source.name}, for browsers on this machine; Ctrl-C ends")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            messages.note("ended")


def _listening(port: int) -> _Server:
    """Return a server that listens on loopback.

    Raises
    ------
    FcsError
        The port cannot be had.
    """
    try:
        return _Server(port)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"cannot be had: {error.strerror}"
        raise FcsError(f"port {port} {why}; name another with --port") from error


class _Server(ThreadingHTTPServer):
    """Serves files in memory by name."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((_HOST, port), _Files)
        self.files: dict[str, bytes] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone away."""


class _Files(BaseHTTPRequestHandler):
    """Answers with one of the server's files, and to nothing else."""

    server: _Server
    server_version = "fcs-edge"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Send a file."""
        self._answer(True)

    def do_HEAD(self) -> None:
        """Send what a file is."""
        self._answer(False)

    def _answer(self, with_content: bool) -> None:
        # Another site's name may lead here, but its page may not read this one.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in (_HOST, "localhost"):
            self._send(421, "text/plain; charset=utf-8", b"Not this host.\n", with_content)
            return
        try:
            name = urlsplit(self.path).path[1:] or "index.html"
        except ValueError:  # //[
            name = ""
        content = self.server.files.get(name)
        if content is None:
            self._send(404, "text/plain; charset=utf-8", b"No such file.\n", with_content)
            return
        kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        self._send(200, kind, content, with_content)

    def _send(self, status: int, kind: str, content: bytes, with_content: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, format: str, *values: object) -> None:
        """Write no line for each request."""
