"""The preflight of a Dask cluster: scheduler and workers are compared with this machine."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from fcs_edge.corpus import dask_task
from fcs_edge.corpus.dask_cluster import Cluster
from fcs_edge.corpus.job import Recipe
from fcs_edge.corpus.model_cache import PART_BYTES
from fcs_edge.corpus.preflight import Setup
from fcs_edge.corpus.wire import to_json
from fcs_edge.errors import CorpusError, reason
from fcs_edge.modelfile import catalogue
from fcs_edge.text import counted

CHECK_SECONDS = 1200
"""That the workers' check may take: small boards compile kernels."""

Order = dict[str, Any]
"""What `preflight.examine` takes, and ``run``, the run's name."""


def order_of(run: str, recipe: Recipe, own: Setup, seen: str, mixed_cpus: bool) -> Order:
    """Return what each worker is asked to be like."""
    return {
        "run": run,
        "recipe": json.loads(to_json(recipe)),
        "expected": vars(own),
        "seen": seen,
        "mixed_cpus": mixed_cpus,
    }


def check_scheduler(cluster: Cluster, own: Setup) -> None:
    """Refuse a scheduler without this release, which it needs to read what it schedules.

    Raises
    ------
    CorpusError
        It has none, or another one.
    """
    here = own.versions["fcs-edge"]
    try:
        there = cluster.call_scheduler(dask_task.fcs_edge_version)
    except CorpusError:
        raise
    except Exception as error:
        raise CorpusError(
            f"the scheduler {cluster.address} has no fcs-edge {here} ({reason(error)}): "
            "install it there"
        ) from error
    if there != here:
        raise CorpusError(
            f"the scheduler {cluster.address} has fcs-edge {there}: install {here} there"
        )


def unfit_workers(cluster: Cluster, order: Order, workers: Collection[str]) -> dict[str, str]:
    """Return what is wrong with workers, a line each, by address; those that fit are left out.

    A worker that lacks the model's file alone receives it.
    """
    answers = _answers(cluster, order, workers)
    for address in [a for a in workers if lacks_model(answers.get(a, {}))]:
        # Another worker of its machine may have received the model meanwhile.
        again = _answers(cluster, order, [address])
        if lacks_model(again.get(address, {})):
            send_model(cluster, order, address)
            again = _answers(cluster, order, [address])
        answers.update(again)
    lines = {address: fault_of(answer) for address, answer in answers.items()}
    return {address: line for address, line in lines.items() if line is not None}


def _answers(
    cluster: Cluster, order: Order, workers: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    if not workers:
        return {}
    answers = cluster.call(
        dask_task.check, json.dumps(order), workers=workers, seconds=CHECK_SECONDS
    )
    return {address: _read(answer, order) for address, answer in answers.items()}


def _read(answer: str | BaseException, order: Order) -> Mapping[str, Any]:
    if not isinstance(answer, BaseException):
        read: Mapping[str, Any] = json.loads(answer)
        return read
    if isinstance(answer, ImportError | AttributeError):
        expected = order["expected"]["versions"]["fcs-edge"]
        return {"wrong": [f"has no fcs-edge {expected} ({reason(answer)}): install it there"]}
    if isinstance(answer, OSError):
        # It left while it was asked.
        return {"model": ""}
    return {"error": f"{type(answer).__name__}: {reason(answer)}"}


def lacks_model(answer: Mapping[str, Any]) -> bool:
    """Return whether a worker lacks the model's file alone."""
    return bool(answer.get("lacks"))


def fault_of(answer: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a worker, as the rest of a line that names it; None if it fits."""
    if lacks_model(answer):
        return "cannot keep the model: its cache folder is not writable"
    if "error" in answer:
        return f"cannot work: {answer['error']}"
    return "; ".join(answer.get("wrong", ())) or None


def summary(faults: Mapping[str, str]) -> str:
    """Return the faults of workers as one line: each fault once, with a worker that has it."""
    by_line: dict[str, list[str]] = {}
    for address, line in sorted(faults.items()):
        by_line.setdefault(line, []).append(address)
    return "; ".join(f"{_named(addresses)} {line}" for line, addresses in by_line.items())


def _named(addresses: Iterable[str]) -> str:
    first, *more = addresses
    return f"the worker {first}" + (f" (and {counted(len(more), 'other')})" if more else "")


def send_model(cluster: Cluster, order: Order, address: str) -> None:
    """Send the model's file to the machine of a worker, which stores it by its hash.

    Raises
    ------
    CorpusError
        The worker cannot store it.
    """
    recipe = order["recipe"]
    sha256, sender = recipe["model_sha256"], secrets.token_hex(8)
    path, offset, digest = catalogue.find(recipe["model"]).path, 0, hashlib.sha256()
    with Path(path).open("rb") as file:
        while data := file.read(PART_BYTES):
            _call(cluster, address, dask_task.receive_model, sha256, sender, offset, data)
            digest.update(data)
            offset += len(data)
    _call(cluster, address, dask_task.complete_model, sha256, sender, digest.hexdigest())


def _call(cluster: Cluster, address: str, function: Any, *arguments: Any) -> None:
    answer = cluster.call(function, *arguments, workers=[address]).get(address)
    if isinstance(answer, BaseException):
        raise CorpusError(
            f"the worker {address} cannot store the model: {reason(answer)}"
        ) from answer
