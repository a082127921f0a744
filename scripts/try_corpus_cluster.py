"""Encode a corpus on a Dask cluster of this machine while its processes are killed at random.

    python scripts/try_corpus_cluster.py IN... FOLDER [--workers N] [--seconds S] [--seed N]

FOLDER is new. First one process encodes IN to FOLDER/local. Then a scheduler and workers run, and
the command encodes IN to FOLDER/cluster. Every few seconds one process dies by SIGKILL: a child
that encodes, a Dask worker, a nanny, the scheduler or the command. What died starts again. At the
end both datasets must hold the same bytes, and no process may be left; else the exit code is 1.

fcs-edge must be installed with its extra `cluster`, or be a checkout.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from loopback_cluster import LoopbackCluster

COMMAND = [sys.executable, "-m", "fcs_edge.cli", "corpus", "encode"]


class Trial:
    """A cluster, the command that uses it, and what kills them."""

    def __init__(self, inputs: list[str], folder: Path, options: list[str], workers: int) -> None:
        self._inputs, self._folder, self._options = inputs, folder, options
        self._n_workers = workers
        self.clusters: list[LoopbackCluster] = []
        self.start_cluster()
        self.start_driver()

    @property
    def cluster(self) -> LoopbackCluster:
        """The cluster that runs now."""
        return self.clusters[-1]

    def start_cluster(self) -> None:
        """Start a scheduler and its workers."""
        folder = self._folder / f"cluster-{len(self.clusters)}"
        folder.mkdir()
        self.clusters.append(LoopbackCluster(folder))
        for _ in range(self._n_workers):
            self.cluster.add_worker()

    def start_driver(self) -> None:
        """Start the command, which goes on where the last one ended."""
        engine = ["--engine", f"dask://{self.cluster.address}", "--quiet"]
        out = str(self._folder / "cluster")
        self.driver = subprocess.Popen([*COMMAND, *self._options, *engine, *self._inputs, out])

    def kill_child(self) -> None:
        """End a process that encodes."""
        for pid in self.cluster.encoders()[:1]:
            os.kill(pid, signal.SIGKILL)

    def kill_worker(self) -> None:
        """End a Dask worker, which its nanny starts again."""
        nannies = [nanny for nanny in self.cluster.workers if nanny.poll() is None]
        os.kill(self.cluster.worker_of(random.choice(nannies)), signal.SIGKILL)

    def kill_nanny(self) -> None:
        """End a nanny, and start another one."""
        nannies = [nanny for nanny in self.cluster.workers if nanny.poll() is None]
        random.choice(nannies).kill()
        self.cluster.add_worker()

    def kill_scheduler(self) -> None:
        """End the scheduler; the command must end by itself, and another cluster starts."""
        self.cluster.scheduler.kill()
        self.driver.wait(60)
        self.cluster.stop()
        self.start_cluster()
        self.start_driver()

    def kill_driver(self) -> None:
        """End the command, and start it again."""
        self.driver.kill()
        self.driver.wait()
        self.start_driver()

    def run(self, seconds: float) -> int:
        """Kill until the command ends by itself; return its exit code."""
        kills: list[Callable[[], None]] = [
            *(self.kill_child, self.kill_worker, self.kill_nanny),
            *(self.kill_scheduler, self.kill_driver),
        ]
        begin = time.monotonic()
        while True:
            try:
                code = self.driver.wait(random.uniform(0.5, 1.5) * seconds)
            except subprocess.TimeoutExpired:
                kill = random.choice(kills)
                print(f"{time.monotonic() - begin:6.1f} s  {kill.__name__}", flush=True)
                kill()
                continue
            if (self._folder / "cluster" / "dataset.json").exists():
                return code
            print(f"the command ended with {code}; it starts again", flush=True)
            self.start_driver()


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder, hidden ones too, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> None:
    """Encode twice, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", metavar="IN", nargs="+", help="what the command takes as IN")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder")
    parser.add_argument("--workers", type=int, default=2, help="Dask workers of one thread")
    parser.add_argument("--seconds", type=float, default=10, help="between kills, in the mean")
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    parser.add_argument("--shard-rows", default="50", help="as the command takes it")
    parser.add_argument("--expected", type=Path, help="a dataset of IN to compare with")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True)
    options = ["--shard-rows", arguments.shard_rows]
    local: Path = arguments.expected or folder / "local"
    if not arguments.expected:
        one_process = [*COMMAND, *options, "--workers", "1", "--quiet"]
        code = subprocess.run([*one_process, *arguments.inputs, str(local)]).returncode
        print(f"one process: exit code {code}", flush=True)
    trial = Trial(arguments.inputs, folder, options, arguments.workers)
    try:
        code = trial.run(arguments.seconds)
        time.sleep(6)
        left = [pid for cluster in trial.clusters for pid in cluster.encoders()]
    finally:
        for cluster in trial.clusters:
            cluster.stop()
    one, other = tree(local), tree(folder / "cluster")
    differing = sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
    print(f"the cluster: exit code {code}, {len(other)} files, {len(differing)} that differ")
    print(f"processes that are left: {len(left)}")
    for name in differing[:10]:
        print(f"  {name}")
    sys.exit(1 if differing or left else 0)


if __name__ == "__main__":
    main()
