"""The connection to a Dask cluster: each fault of it is one line."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Any, TypeVar

from fcs_edge.errors import CorpusError, reason

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
CLOSE_SECONDS = 5

_LOGGERS = "distributed", "tornado"

T = TypeVar("T")


def address_of(engine: str) -> str | None:
    """Return the scheduler's address of ``dask://HOST:PORT``; None for ``dask``.

    Raises
    ------
    ValueError
        It is another text.
    """
    if engine == "dask":
        return None
    address = engine.removeprefix("dask://")
    if address == engine or not address.rpartition(":")[2].isdecimal():
        raise ValueError(f"engine is 'local', 'dask' or 'dask://HOST:PORT', not {engine!r}")
    return address


class Cluster:
    """A Dask cluster, connected while a block runs.

    Parameters
    ----------
    address : str, optional
        The scheduler's: ``host:8786``, ``tls://host:8786``. Absent: the one that Dask's
        configuration or DASK_SCHEDULER_ADDRESS names.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Cluster:
        """Connect.

        Raises
        ------
        CorpusError
            Dask is not installed, no cluster is named, or no scheduler answers.
        """
        dask, distributed = libraries()
        address = self._address or dask.config.get("scheduler-address", None)
        if not address:
            raise CorpusError(
                "no cluster is named: set DASK_SCHEDULER_ADDRESS, or use --engine dask://HOST:PORT"
            )
        self.address = str(address)
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            try:
                self._client = distributed.Client(
                    self.address, timeout=CONNECT_SECONDS, set_as_default=False, name="fcs-edge"
                )
            except Exception as error:
                raise CorpusError(
                    f"{self.address}: no Dask scheduler answers there ({reason(error)})"
                ) from error
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._stack.close()

    def _close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=CLOSE_SECONDS)

    @property
    def is_connected(self) -> bool:
        """Whether the scheduler was there a moment ago."""
        return bool(self._client.status == "running")

    def require(self) -> None:
        """Raise CorpusError if the scheduler is gone."""
        if not self.is_connected:
            raise CorpusError(
                f"{self.address}: the connection to the Dask scheduler is lost; shards that are "
                "written stay: run the command again"
            )

    def threads(self) -> dict[str, int]:
        """Return the number of threads of each worker by its address."""
        return dict(self._answer(self._client.nthreads))

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        workers: Collection[str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Call a function beside the tasks of workers; return what it returns, or its exception."""

        def run() -> Any:
            chosen = None if workers is None else list(workers)
            return self._client.run(function, *arguments, workers=chosen, on_error="return")

        return dict(self._answer(run, seconds))

    def call_scheduler(self, function: Callable[..., T]) -> T:
        """Call a function on the scheduler; raise what it raises."""
        result: T = self._answer(lambda: self._client.run_on_scheduler(function))
        return result

    def submit(
        self, function: Callable[[str], str], text: str, key: str, workers: Sequence[str] | None
    ) -> Any:
        """Return the future of a task, which Dask never repeats after an exception."""
        where = {} if workers is None else {"workers": list(workers), "allow_other_workers": False}
        return self._client.submit(function, text, key=key, retries=0, pure=False, **where)

    def cancel(self, futures: Sequence[Any]) -> None:
        """Cancel tasks; what runs goes on, and its result is dropped."""
        if futures and self.is_connected:
            self._answer(lambda: self._client.cancel(list(futures)))

    def subscribe(self, topic: str, on_message: Callable[[Mapping[str, Any]], None]) -> None:
        """Call a function, in a thread of Dask's, with the message of each event of a topic."""
        self._client.subscribe_topic(topic, lambda event: on_message(event[1]))

    def unsubscribe(self, topic: str) -> None:
        """End what `subscribe` began."""
        with suppress(Exception):
            self._client.unsubscribe_topic(topic)

    def _answer(self, call: Callable[[], T], seconds: float = ANSWER_SECONDS) -> T:
        """Return what a call returns; raise what it raises, or CorpusError if it takes too long."""
        self.require()
        box: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def run() -> None:
            try:
                box.put((True, call()))
            except BaseException as error:
                box.put((False, error))

        threading.Thread(target=run, name="dask-call", daemon=True).start()
        deadline = time.monotonic() + seconds
        while True:
            try:
                succeeded, value = box.get(timeout=0.2)
                break
            except queue.Empty:
                self.require()
                if time.monotonic() > deadline:
                    raise CorpusError(
                        f"{self.address}: the Dask cluster did not answer within {seconds:.0f} s"
                    ) from None
        if succeeded:
            result: T = value
            return result
        self.require()
        if isinstance(value, OSError | asyncio.TimeoutError):
            raise CorpusError(
                f"{self.address}: the Dask scheduler does not answer ({reason(value)}); shards "
                "that are written stay: run the command again"
            ) from value
        raise value


def libraries() -> tuple[ModuleType, ModuleType]:
    """Return dask and distributed.

    Raises
    ------
    CorpusError
        They are not installed.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise CorpusError("--engine dask needs distributed: pip install distributed") from error
    return dask, distributed


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's loggers silent: what they would say, an error or a note says in one line."""
    names = [n for n in list(logging.root.manager.loggerDict) if n.split(".")[0] in _LOGGERS]
    loggers = [logging.getLogger(name) for name in {*names, *_LOGGERS}]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
