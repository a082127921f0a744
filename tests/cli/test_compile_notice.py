"""What is said of compiling: "once" only where kernels are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fcs_edge.bench import host
from fcs_edge.cli import warmup
from fcs_edge.cli.ui import compile_notice
from fcs_edge.cli.ui.messages import Messages


@pytest.mark.parametrize("folder", ["/kernels", None])
def test_once_only_where_kernels_are_stored(
    folder: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compile_notice, "kernel_cache", lambda: folder)
    with compile_notice.compile_notice(Messages(), None) as compilation:
        for _ in range(2):
            compilation.on_start()
            compilation.on_end()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("compiling kernels for this CPU (")
    assert ("once" in line) == (folder is not None)
    assert compilation.n_kernels == 2


@pytest.mark.parametrize(
    ("n", "folder", "code", "text"),
    [
        (2, "/kernels", 0, "compiled 2 kernels in "),
        (1, "/kernels", 0, "they are stored in /kernels"),
        (2, None, 1, "they are not stored"),
        (0, "/kernels", 0, "nothing to compile: all kernels are stored in /kernels"),
        # A complete folder that is read-only.
        (0, None, 0, "nothing to compile: all kernels are stored ("),
    ],
)
def test_warmup_says_whether_kernels_are_stored(
    n: int,
    folder: str | None,
    code: int,
    text: str,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def noticed(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(n_kernels=n)

    monkeypatch.setattr(warmup, "compile_notice", noticed)
    monkeypatch.setattr(warmup, "_run", lambda codec: None)
    monkeypatch.setattr(host, "kernel_cache", lambda: folder)
    result = run("warmup")
    assert (result.code, text in result.err) == (code, True)
