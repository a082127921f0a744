"""A Dask cluster: the bytes of one machine, whatever is killed, and one line for each fault."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from corpus_cases import SerialEngine, sound_of, tree
from fcs_edge import CorpusError
from fcs_edge.corpus import dask_cluster, dask_engine, run
from fcs_edge.corpus.dask_cluster import address_of
from fcs_edge.corpus.dask_engine import DaskEngine
from fcs_edge.corpus.job import Job, Outcome, Recipe, Report
from fcs_edge.corpus.preflight import Setup, setup_in_child
from fcs_edge.corpus.watcher import Watcher
from loopback_cluster import LoopbackCluster, wait_for

pytest.importorskip("distributed")

SHARDS = 9


class Lines(Watcher):
    """Keeps what a run says, and acts at some of it."""

    def __init__(self, **actions: Callable[[], object]) -> None:
        self.lines: list[str] = []
        self.n_finished = 0
        self._actions = actions

    def report(self, report: Report) -> None:
        self._act("report")

    def started(self, job: Job) -> None:
        self._act("started")

    def finished(self, outcome: Outcome) -> None:
        self.n_finished += 1
        self._act(f"finished_{self.n_finished}")

    def note(self, text: str) -> None:
        self.lines.append(text)
        self._act("note")

    def warn(self, text: str) -> None:
        self.lines.append(text)

    def _act(self, name: str) -> None:
        action = self._actions.pop(name, None)
        if action is not None:
            action()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    """Return a scheduler with two workers."""
    cluster = LoopbackCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.add_worker()
        cluster.add_worker()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of sounds that take a moment each."""
    folder = tmp_path_factory.mktemp("speech")
    for seed in range(SHARDS):
        sound = np.tile(sound_of(seed, 16000, 2.0), (15, 1))
        soundfile.write(folder / f"{seed}.wav", sound, 16000)
    return folder


@pytest.fixture(scope="module")
def whole(
    speech_folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Return the dataset that one process writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run.encode(speech_folder, out, model=model, engine=SerialEngine(), shard_rows=1)
    return tree(out)


@pytest.fixture(autouse=True, scope="module")
def one_setup(model: Path) -> Iterator[None]:
    """Find this machine's own setup once; test_preflight.py tests how."""
    setups: dict[str, Setup] = {}

    def setup(recipe: Recipe) -> Setup:
        if recipe.model_sha256 not in setups:
            setups[recipe.model_sha256] = setup_in_child(recipe)
        return setups[recipe.model_sha256]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_engine, "setup_in_child", setup)
        yield


@pytest.fixture
def encode(
    cluster: LoopbackCluster, speech_folder: Path, model: Path, tmp_path: Path
) -> Callable[..., run.Run]:
    """Return what encodes the sounds on the cluster, a shard each, into tmp_path/out."""

    def call(watcher: Watcher | None = None, **options: Any) -> run.Run:
        fields = {"model": model, "engine": f"dask://{cluster.address}", "shard_rows": 1}
        return run.encode(
            speech_folder, tmp_path / "out", **{**fields, **options}, watcher=watcher or Lines()
        )

    return call


def test_a_cluster_writes_the_bytes_of_one_machine(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    engine = DaskEngine(cluster.address)

    def cancel() -> None:
        engine._flights[-1].future.cancel()

    # Whoever cancels a task changes nothing: it goes again.
    done = encode(Lines(started=cancel), engine=engine)
    assert done.exit_code == 0
    assert tree(tmp_path / "out") == whole
    wait_for(lambda: cluster.encoders() == [], "the end of all children", 10)
    # A second run has nothing to do.
    assert encode(engine="dask://127.0.0.1:1").resumed == done.shards


def test_killed_children_workers_and_nannies_leave_no_trace(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    first, second = cluster.workers[:2]
    watcher = Lines(
        started=lambda: kill(*cluster.encoders()),
        finished_1=lambda: kill(cluster.worker_of(first)),
        finished_3=lambda: kill(second.pid),
        finished_4=lambda: cluster.add_worker(),
    )
    done = encode(watcher)
    assert done.exit_code == 0
    assert done.lost == ()
    assert tree(tmp_path / "out") == whole
    wait_for(lambda: cluster.encoders() == [], "the end of all children", 10)
    # The first nanny starts its worker again; the second has a follower.
    wait_for(lambda: cluster.n_workers() == 2, "the workers' return")


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_one_interrupt_lets_the_running_shards_end(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    done = encode(Lines(started=interrupt))
    assert done.exit_code == 130
    assert 1 <= done.files <= 4
    wait_for(lambda: cluster.encoders() == [], "the end of all children", 10)
    written = tree(tmp_path / "out")
    assert written.keys() <= whole.keys()
    assert "dataset.json" not in written
    # The cluster is free for the rest.
    assert encode().resumed == done.files
    assert tree(tmp_path / "out") == whole


def test_two_interrupts_end_the_run_at_once(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        encode(Lines(started=twice))
    wait_for(lambda: cluster.encoders() == [], "the end of all children", 10)
    assert tree(tmp_path / "out").keys() <= whole.keys()


def test_a_killed_driver_leaves_no_process_and_doubles_nothing(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    speech_folder: Path,
    model: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from fcs_edge.corpus import encode; inputs, out, model, engine = sys.argv[1:]"
        "; encode(inputs, out, model=model, engine=engine, shard_rows=1)"
    )
    engine = f"dask://{cluster.address}"
    arguments = [str(speech_folder), str(tmp_path / "out"), str(model), engine]
    driver = subprocess.Popen([sys.executable, "-c", code, *arguments])
    wait_for(lambda: list((tmp_path / "out").glob("data/*.parquet")), "the first shard")
    driver.kill()
    driver.wait()
    # What runs may end; then the children wait for 5 s.
    wait_for(lambda: cluster.encoders() == [], "the end of all children", 30)
    done = encode()
    assert done.resumed >= 1
    assert done.exit_code == 0
    assert tree(tmp_path / "out") == whole


PRELOAD = """
from fcs_edge.corpus import dask_task
dask_task.fcs_edge_version = lambda: "0.0.9"
"""
"""Makes a worker one of another release."""


def test_workers_that_differ_are_refused_and_named(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    preload = tmp_path / "another_release.py"
    preload.write_text(PRELOAD)
    joined: list[subprocess.Popen[bytes]] = []

    def join() -> None:
        joined.append(cluster.add_worker(FCS_EDGE_KERNELS="plain"))
        joined.append(cluster.add_worker(DASK_DISTRIBUTED__WORKER__PRELOAD=str(preload)))
        wait_for(lambda: cluster.n_workers() == before + 2, "the workers' start")

    before = cluster.n_workers()
    try:
        # They join a run that goes on: it goes on without them.
        late = Lines(started=join)
        done = encode(late)
        assert done.exit_code == 0
        assert tree(tmp_path / "out") == whole
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(CorpusError) as caught:
            encode()
        line = str(caught.value)
        assert "computes other latents" in line
        assert "--mixed-cpus" in line
        assert "has fcs-edge 0.0.9: install" in line
        assert line.count("the worker tcp://127.0.0.1:") == 2
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.parquet"))
        kill(joined[1].pid)
        wait_for(lambda: cluster.n_workers() == before + 1, "the worker's end")
        assert encode(mixed_cpus=True).exit_code == 0
    finally:
        kill(*(nanny.pid for nanny in joined if nanny.poll() is None))
        wait_for(lambda: cluster.n_workers() == before, "the workers' end")


def test_a_model_that_a_machine_lacks_is_sent_there(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    model: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each process has a file of this name where it runs; the cluster's folder has none.
    shutil.copy(model, tmp_path / "tiny.safetensors")
    monkeypatch.chdir(tmp_path)
    done = encode(model="/proc/self/cwd/tiny.safetensors")
    assert done.exit_code == 0
    copies = list((cluster.folder / "cache").rglob("*.safetensors"))
    assert len(copies) == 1
    assert copies[0].read_bytes() == model.read_bytes()
    assert tree(tmp_path / "out").keys() == whole.keys()


def test_a_scheduler_without_fcs_edge_is_refused(
    encode: Callable[..., run.Run], tmp_path: Path
) -> None:
    bare = LoopbackCluster(tmp_path, with_fcs_edge=False)
    try:
        with pytest.raises(CorpusError) as caught:
            encode(engine=f"dask://{bare.address}")
    finally:
        bare.stop()
    assert f"the scheduler {bare.address} has no fcs-edge" in str(caught.value)
    assert "install it there" in str(caught.value)


def test_a_run_waits_for_workers_and_then_ends(
    encode: Callable[..., run.Run], tmp_path: Path
) -> None:
    empty = LoopbackCluster(tmp_path)
    watcher = Lines()
    try:
        with pytest.raises(CorpusError, match="no workers came within 0 s; start some: dask"):
            encode(watcher, engine=DaskEngine(empty.address, watcher=watcher, wait=0.1))
    finally:
        empty.stop()
    assert any("has no workers; the run waits" in line for line in watcher.lines)


def test_no_scheduler_is_one_line(
    encode: Callable[..., run.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.3)
    with pytest.raises(CorpusError, match=r"127.0.0.1:1: no Dask scheduler answers there"):
        encode(engine="dask://127.0.0.1:1")


def test_the_environment_names_a_cluster(
    cluster: LoopbackCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask

    with (
        dask.config.set({"scheduler-address": None}),
        pytest.raises(CorpusError, match="set DASK_SCHEDULER_ADDRESS"),
        DaskEngine(None),
    ):
        pass
    with dask.config.set({"scheduler-address": cluster.address}), DaskEngine(None) as engine:
        assert engine.workers == cluster.n_workers()


@pytest.mark.parametrize(
    ("engine", "address"),
    [
        ("dask", None),
        ("dask://host:8786", "host:8786"),
        ("dask://tls://host:8786", "tls://host:8786"),
        ("dask://[::1]:8786", "[::1]:8786"),
    ],
)
def test_an_engine_names_a_scheduler(engine: str, address: str | None) -> None:
    assert address_of(engine) == address


@pytest.mark.parametrize("engine", ["dask:/host:8786", "dask://", "dask://host", "dask://host:x"])
def test_an_engine_without_a_port_is_refused(engine: str) -> None:
    with pytest.raises(ValueError, match=r"'dask' or 'dask://HOST:PORT'"):
        address_of(engine)


def test_a_killed_scheduler_is_one_line_and_the_run_goes_on_elsewhere(
    cluster: LoopbackCluster,
    encode: Callable[..., run.Run],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """The last test: the cluster is gone after it."""
    with pytest.raises(CorpusError) as caught:
        encode(Lines(finished_2=lambda: kill(cluster.scheduler.pid)))
    assert str(caught.value) == (
        f"{cluster.address}: the connection to the Dask scheduler is lost; shards that are written "
        "stay: run the command again"
    )
    wait_for(lambda: cluster.encoders() == [], "the end of all children")
    done = encode(engine=SerialEngine())
    assert done.resumed >= 2
    assert tree(tmp_path / "out") == whole
