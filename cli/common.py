"""What the commands share: messages, progress, outputs, options."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fcs_edge.bench.host import uses_numba
from fcs_edge.codec import Codec
from fcs_edge.errors import AudioError
from fcs_edge.files import replacing

_F = TypeVar("_F", bound=Callable[..., Any])

COMPILING = "compiling kernels for this CPU (once; about a minute on a small board) ..."


class Compilation:
    """Counts the kernels that Numba compiles; those in its cache make no event."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self.n_kernels = 0
        self._tell = tell

    def on_start(self) -> None:
        """Tell that a kernel is being compiled."""
        self._tell(self.n_kernels)

    def on_end(self) -> None:
        """Count it."""
        self.n_kernels += 1
        self._tell(self.n_kernels)


def _listening(compilation: Compilation) -> AbstractContextManager[Any]:
    """Tell what Numba compiles, where it does."""
    if not uses_numba():
        return nullcontext()
    from numba.core import event as events

    class Listener(events.Listener):
        def on_start(self, event: Any) -> None:
            if _is_kernel(event):
                compilation.on_start()

        def on_end(self, event: Any) -> None:
            if _is_kernel(event):
                compilation.on_end()

    listening: AbstractContextManager[Any] = events.install_listener("numba:compile", Listener())
    return listening


def _is_kernel(event: Any) -> bool:
    """Tell a kernel from the helpers, ours and Numba's, that are compiled on the way."""
    dispatcher = event.data["dispatcher"]
    ours = str(dispatcher.py_func.__module__).startswith("fcs_edge.")
    return ours and dispatcher.targetoptions.get("inline") != "always"


@dataclass
class Messages:
    """Lines on standard error; nothing else goes there, and no message goes to standard output."""

    quiet: bool = False

    def note(self, text: str) -> None:
        """Say something good to know."""
        if not self.quiet:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Say what went wrong without ending the command."""
        click.echo(f"fcs-edge: warning: {text}", err=True)

    @contextmanager
    def progress(self, what: str, seconds: float | None) -> Iterator[Callable[[float], None]]:
        """Show a bar while the block runs; call the yielded function with the seconds done."""
        console = Console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield lambda _: None
            return
        columns = (
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed:.1f} s of sound"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=seconds)
            yield lambda done: bar.update(task, completed=done)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show a spinner while the block runs."""
        console = Console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield
            return
        with console.status(what):
            yield

    @contextmanager
    def preparing(self, what: str | None) -> Iterator[Compilation]:
        """Say, once, where kernels are compiled in the block; with `what` show a spinner, too."""
        console = Console(stderr=True)
        told = False
        with ExitStack() as stack:
            spinner = None
            if what is not None and console.is_terminal and not self.quiet:
                spinner = stack.enter_context(console.status(what))

            def tell(n_kernels: int) -> None:
                nonlocal told
                if spinner is not None:
                    spinner.update(f"{COMPILING} {n_kernels} done")
                elif not told:
                    self.note(COMPILING)
                told = True

            compilation = Compilation(tell)
            stack.enter_context(_listening(compilation))
            yield compilation


def check_output(path: str, force: bool) -> None:
    """Refuse an output that exists already or has no folder to be in, before any work."""
    out = Path(path)
    if path == "-" and sys.stdout.isatty():
        raise click.UsageError("OUT is -, but standard output is a terminal; use a pipe or a file.")
    if path == "-" or is_special(out):
        return
    if out.is_dir():
        raise AudioError(f"{path}: is a folder; give a file name")
    if not out.parent.is_dir():
        raise AudioError(f"{out.parent}: no such folder")
    if out.exists() and not force:
        raise AudioError(f"{path}: exists already; --force overwrites it")


@contextmanager
def output_path(path: str) -> Iterator[Path]:
    """Give the path to write to: a temporary one that is renamed at the end, or a device itself."""
    out = Path(path)
    if is_special(out):
        yield out
        return
    with replacing(out) as temporary:
        yield temporary


@contextmanager
def output_file(path: str) -> Iterator[BinaryIO]:
    """Open an output for bytes; ``-`` is standard output."""
    if path == "-":
        standard = sys.stdout.buffer
        if not isinstance(standard, io.RawIOBase):
            yield standard
            return
        # PYTHONUNBUFFERED leaves it raw, and a raw write that a signal interrupts may be short.
        with open(standard.fileno(), "wb", closefd=False) as file:
            yield file
        return
    with output_path(path) as temporary, temporary.open("wb") as file:
        yield file


def is_special(path: Path) -> bool:
    """Tell a device, pipe or socket, which is written to where it is, from a file or folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def model_option(command: _F) -> _F:
    """Add --model."""
    decorate: Callable[[_F], _F] = click.option(
        "-m",
        "--model",
        metavar="NAME|FILE",
        help="A built-in model's name or a model file; the built-in one where it is not given.",
    )
    return decorate(command)


def common_options(command: _F) -> _F:
    """Add --quiet and --debug; the command receives `quiet`."""
    debug: Callable[[_F], _F] = click.option(
        "--debug", is_flag=True, expose_value=False, help="Show a traceback where one helps."
    )
    quiet: Callable[[_F], _F] = click.option(
        "-q", "--quiet", is_flag=True, help="Say only what goes wrong."
    )
    return debug(quiet(command))


def force_option(command: _F) -> _F:
    """Add --force."""
    decorate: Callable[[_F], _F] = click.option(
        "-f", "--force", is_flag=True, help="Overwrite an output that exists."
    )
    return decorate(command)


def prepare(
    codec: Codec, messages: Messages, *, encoder: bool = False, decoder: bool = False
) -> None:
    """Read the weights and compile the kernels now, not under the first chunk of sound."""
    with messages.preparing(f"Preparing {codec.name} ..."):
        if encoder:
            codec.stream_encoder().push(np.zeros(codec.chunk_size, np.float32))
        if decoder:
            codec.stream_decoder().push(np.zeros(codec.chunk_tokens, np.uint16))
