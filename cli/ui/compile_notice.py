"""The notice that kernels are being compiled, and the chunk that compiles them in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
from rich.console import Console

from fcs_edge.bench.host import kernel_cache, uses_numba
from fcs_edge.cli.memory import check_address_space
from fcs_edge.cli.ui.messages import Messages, plain
from fcs_edge.codec import Codec

COMPILING = "compiling kernels for this CPU (once; about a minute on a small board) ..."
COMPILING_EACH_TIME = "compiling kernels for this CPU (about a minute on a small board) ..."
"""Where no folder keeps them; a warning says so, and what to do."""


class Compilation:
    """Counts the kernels that Numba compiles; kernels in its cache cause no event."""

    def __init__(self, notify: Callable[[int], None]) -> None:
        self.n_kernels = 0
        self._notify = notify

    def on_start(self) -> None:
        """Report that a kernel is being compiled."""
        self._notify(self.n_kernels)

    def on_end(self) -> None:
        """Count the kernel."""
        self.n_kernels += 1
        self._notify(self.n_kernels)


@contextmanager
def compile_notice(messages: Messages, label: str | None) -> Iterator[Compilation]:
    """Report once where kernels are compiled in the block; with a label, show a spinner too."""
    console = Console(stderr=True)
    text = ""
    with ExitStack() as stack:
        status = None
        if label is not None and console.is_terminal and not messages.quiet:
            status = stack.enter_context(console.status(plain(label)))

        def notify(n_kernels: int) -> None:
            nonlocal text
            reported, text = bool(text), text or _notice()
            if status is not None:
                status.update(f"{text} {n_kernels} done")
            elif not reported:
                messages.note(text)

        compilation = Compilation(notify)
        stack.enter_context(_compile_events(compilation))
        yield compilation


def _notice() -> str:
    return COMPILING if kernel_cache() else COMPILING_EACH_TIME


def prepare(
    codec: Codec, messages: Messages, *, encoder: bool = False, decoder: bool = False
) -> None:
    """Read the weights and compile the kernels now, not during the first chunk of sound."""
    if uses_numba():
        check_address_space()
    with compile_notice(messages, f"Preparing {codec.name} ..."):
        run_once(codec, encoder=encoder, decoder=decoder)


def run_once(codec: Codec, *, encoder: bool, decoder: bool) -> None:
    """Encode and decode a chunk; of a model that does not stream, the sound of a token."""
    if encoder and codec.encodes_streams:
        codec.stream_encoder().push(np.zeros(codec.chunk_size, np.float32))
    elif encoder:
        codec.encode(np.zeros(codec.samples_per_token, np.float32))
    if decoder and codec.decodes_streams:
        n_tokens = codec.model.config.decoded_tokens
        codec.stream_decoder().push(np.zeros(n_tokens, np.uint16))
    elif decoder:
        codec.decode(np.zeros(1, np.uint16))


def _compile_events(compilation: Compilation) -> AbstractContextManager[Any]:
    """Pass Numba's compile events to `compilation`, where Numba is used."""
    if not uses_numba():
        return nullcontext()
    from numba.core import event as events

    class CompileListener(events.Listener):
        def on_start(self, event: Any) -> None:
            if _is_kernel(event):
                compilation.on_start()

        def on_end(self, event: Any) -> None:
            if _is_kernel(event):
                compilation.on_end()

    installed: AbstractContextManager[Any] = events.install_listener(
        "numba:compile", CompileListener()
    )
    return installed


def _is_kernel(event: Any) -> bool:
    """Return whether an event is about a kernel, not about an inlined helper."""
    dispatcher = event.data["dispatcher"]
    ours = str(dispatcher.py_func.__module__).startswith("fcs_edge.")
    return ours and dispatcher.targetoptions.get("inline") != "always"
