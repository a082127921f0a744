"""Try `fcs-edge corpus encode` with kills at random: nothing is lost, doubled or left behind.

    python scripts/make_corpus.py CORPUS --files 5000
    python scripts/try_corpus.py CORPUS/sound FOLDER [--kills 40] [--seed 0]

An undisturbed run of two workers writes FOLDER/whole. Then a dataset FOLDER/killed grows under
kills, at random times, of a worker (SIGKILL) or of the driver (SIGKILL, SIGTERM, SIGHUP, SIGINT
once and twice); each run goes on where the last one ended. After each end of a driver no process
of it is left within 5 s, and no file but of whole shards. At the end both datasets must be equal,
to the byte. With --workers 1,4 so must undisturbed runs of other numbers of workers be. It
prints what it does, and ends with 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

COMMAND = [sys.executable, "-m", "fcs_edge.cli", "corpus", "encode", "-q"]
SECONDS_TO_END = 5.0
"""That processes may outlive their driver."""
ENDS = {
    "driver SIGKILL": (signal.SIGKILL,),
    "driver SIGTERM": (signal.SIGTERM,),
    "driver SIGHUP": (signal.SIGHUP,),
    "driver SIGINT": (signal.SIGINT,),
    "driver SIGINT twice": (signal.SIGINT, signal.SIGINT),
}
WORKER = "worker SIGKILL"


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, hidden ones too, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def children(pid: int) -> list[int]:
    """Return the child processes of a process that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if parent == str(pid) and state != "Z":
            found.append(int(path.parent.name))
    return found


def runs(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start(source: Path, out: Path, workers: int, options: list[str]) -> subprocess.Popen[bytes]:
    """Start a run."""
    return subprocess.Popen(
        [*COMMAND, "--workers", str(workers), *options, str(source), str(out)],
        # nohup, or the & of a shell, may have started this script with some ignored.
        preexec_fn=_heed_signals,
    )


def _heed_signals() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def disturb(driver: subprocess.Popen[bytes], kind: str, chance: random.Random) -> bool:
    """Kill what a kind says; return whether there was something to kill."""
    workers = children(driver.pid)
    if driver.poll() is not None or not workers:
        return False
    if kind == WORKER:
        os.kill(chance.choice(workers), signal.SIGKILL)
        return True
    for number in ENDS[kind]:
        driver.send_signal(number)
        time.sleep(0.2)
    driver.wait()
    end = time.monotonic() + SECONDS_TO_END
    while left := [pid for pid in workers if runs(pid)]:
        if time.monotonic() > end:
            raise SystemExit(f"after {kind} processes are left: {left}")
        time.sleep(0.05)
    return True


def leftovers(out: Path, kind: str) -> list[str]:
    """Return files that should not be there after a driver's end."""
    # Only its lock outlives a driver that is killed; the next run removes it.
    allowed = {".lock"} if kind == "driver SIGKILL" else set()
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    hidden = {name for name in names if Path(name).name.startswith(".")} - allowed
    return sorted(hidden | (names & {"dataset.json"}))


def grow(source: Path, out: Path, kills: int, seed: int, options: list[str]) -> Counter[str]:
    """Write a dataset under kills; return how many there were of each kind."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    while True:
        driver = start(source, out, 2, options)
        while driver.poll() is None and done.total() < kills:
            time.sleep(chance.uniform(0.2, 6.0))
            kind = chance.choice([WORKER, WORKER, *ENDS])
            if not disturb(driver, kind, chance):
                continue
            done[kind] += 1
            shards = len(list((out / "data").glob("*.parquet")))
            print(f"{kind}: {shards} shards are written", flush=True)
            if kind != WORKER and driver.returncode not in (0, 1):
                if left := leftovers(out, kind):
                    raise SystemExit(f"after {kind} files are left: {left}")
                break
        if driver.wait() in (0, 1):
            return done


def compare(name: str, whole: dict[str, str], out: Path) -> bool:
    """Say whether a dataset is the undisturbed one, and how it differs; return whether it is."""
    found = digests(out)
    other = sorted(
        path for path in whole.keys() | found.keys() if whole.get(path) != found.get(path)
    )
    print(f"{name}: {'the same bytes' if not other else f'differs in {other[:5]}'}", flush=True)
    return not other


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="SOUND", help="a folder of sound files")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="receives the datasets")
    parser.add_argument("--kills", type=int, default=40, help="how many, at most [40]")
    parser.add_argument("--seed", type=int, default=0, help="another one, other kills [0]")
    parser.add_argument("--workers", default="", help="further numbers of workers: 1,4 [none]")
    parser.add_argument("--options", default="", help="of each run: '--shard-rows 100' [none]")
    chosen = parser.parse_args()
    options = shlex.split(chosen.options)
    began = time.monotonic()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name in ("whole", "killed", "counted"):
        shutil.rmtree(chosen.folder / name, ignore_errors=True)
    whole = chosen.folder / "whole"
    start(chosen.source, whole, 2, options).wait()
    expected = digests(whole)
    print(f"whole: {len(expected)} files in {time.monotonic() - began:.0f} s", flush=True)
    done = grow(chosen.source, chosen.folder / "killed", chosen.kills, chosen.seed, options)
    print(", ".join(f"{count} x {kind}" for kind, count in sorted(done.items())))
    is_same = compare("killed", expected, chosen.folder / "killed")
    for number in filter(None, chosen.workers.split(",")):
        out = chosen.folder / "counted"
        shutil.rmtree(out, ignore_errors=True)
        start(chosen.source, out, int(number), options).wait()
        is_same &= compare(f"{number} workers", expected, out)
    sys.exit(0 if is_same else 1)


if __name__ == "__main__":
    main()
