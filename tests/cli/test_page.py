"""`fcs-edge page` serves the files of a page on loopback, and nothing else."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fcs_edge.cli import page as command
from fcs_edge.cli.main import cli
from fcs_edge.errors import FcsError
from fcs_edge.export import exporter, libraries, page_files


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installation whose modules and models are a few bytes."""
    for name in page_files.MODULES:
        (tmp_path / name).write_bytes(name.encode())
    library = libraries.Library(tmp_path, bytes(8), ())
    monkeypatch.setattr(libraries, "find", lambda target: library)
    monkeypatch.setattr(exporter, "model_bytes", lambda model, target: b"model")


@pytest.fixture
def server() -> Iterator[command._Server]:
    with command._Server(0) as server:
        server.files = page_files.folder(b"module", b"relaxed", b"model")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Run the command, which Ctrl-C ends at once."""

    def serve_forever(server: command._Server) -> None:
        assert server.server_address[0] == "127.0.0.1"
        assert set(server.files) == set(page_files.NAMES)
        raise KeyboardInterrupt

    monkeypatch.setattr(command._Server, "serve_forever", serve_forever)
    return CliRunner().invoke(cli, ["page", *arguments])


@pytest.mark.usefixtures("exported")
def test_it_prints_one_line_and_ctrl_c_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _ended(monkeypatch, "--port", "0", "--quiet")
    assert result.exit_code == 0, result.output
    line, empty = result.output.split("\n")
    assert line.startswith("http://127.0.0.1:")
    assert line.endswith("/")
    assert not empty


@pytest.mark.usefixtures("exported")
def test_a_port_in_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _ended(monkeypatch, "--port", str(port))
    assert isinstance(result.exception, FcsError)
    assert str(result.exception) == f"port {port} is in use; name another with --port"


def _get(
    server: command._Server, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    kind, content = answer.headers["Content-Type"], answer.read()
    connection.close()
    return answer.status, kind, content


def test_known_files_have_their_types(server: command._Server) -> None:
    types = {name: _get(server, f"/{name}")[1] for name in server.files}
    assert types["index.html"] == "text/html; charset=utf-8"
    assert types["page.css"] == "text/css; charset=utf-8"
    assert types["worker.js"] == types["fcs.js"] == "text/javascript; charset=utf-8"
    assert types["fcs.wasm"] == "application/wasm"
    assert types["demo.flac"] == "audio/flac"
    assert types["model.fcsm"] == "application/octet-stream"
    for name, content in server.files.items():
        assert _get(server, f"/{name}?x=1")[::2] == (200, content)
    assert _get(server, "/")[2] == server.files["index.html"]
    assert _get(server, "/fcs.js", "HEAD")[::2] == (200, b"")


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/web/fcs.js", "//etc/passwd", "/x", "//["])
def test_other_paths_are_not_found(server: command._Server, path: str) -> None:
    assert _get(server, path)[0] == 404


def test_another_host_and_method_are_refused(server: command._Server) -> None:
    assert _get(server, "/", host="example.org")[0] == 421
    assert _get(server, "/", host=f"localhost:{server.server_port}")[0] == 200
    assert _get(server, "/", "POST")[0] == 501
