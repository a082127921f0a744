"""Measure `fcs-edge corpus encode` beside a shell loop and beside encoding alone.

    python scripts/make_corpus.py CORPUS --files 5000
    python scripts/measure_corpus.py CORPUS/sound [--parts loop,overhead,...] [--json FILE]

It prints a table, and what each figure is to reach. The parts:

    loop      CPU seconds a file of `fcs-edge encode` in a shell loop, on a sample of the files
    overhead  CPU seconds of `corpus encode` with one worker, all processes together, beside those
              of reading and encoding the same files in one process
    workers   sound a second of two workers, beside that of two runs of one worker at a time
    memory    resident memory of a worker after a minute and after an hour of sound
    rows      bytes a token at 1,000 rows a shard
    resume    seconds of a second run over --rows finished files of 0.02 s
    scan      resident memory and seconds of planning --paths files

CPU seconds are user and system time. Rounds of what is compared alternate; figures are medians,
the smallest and the largest beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import fcs_edge
from fcs_edge.audio.reader import open_input
from fcs_edge.corpus.run import planned
from fcs_edge.corpus.worker_process import WorkerProcess
from fcs_edge.errors import AudioError

Facts = dict[str, Any]
COMMAND = (sys.executable, "-m", "fcs_edge.cli")
_ALONE = "--alone"
_PLAN = "--plan"
_TINY_SECONDS = 0.02
_LINKS = 30000
"""Names that one file has at most."""


def spread(values: Sequence[float]) -> Facts:
    """Return the median, the smallest and the largest."""
    return {"median": float(np.median(values)), "least": min(values), "most": max(values)}


def cpu_of(command: Sequence[str], **how: Any) -> float:
    """Run a command; return the CPU seconds of it and of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **how)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def own_output(*arguments: str) -> Facts:
    """Run this script in a process of its own, and return the JSON that it prints."""
    command = [sys.executable, __file__, *arguments]
    found: Facts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def sounds(folder: Path) -> list[Path]:
    """Return the files of a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def encode_command(folder: Path, out: Path, options: argparse.Namespace, *more: str) -> list[str]:
    """Return the command that encodes a folder anew."""
    shutil.rmtree(out, ignore_errors=True)
    model = ("-m", options.model) if options.model else ()
    return [*COMMAND, "corpus", "encode", "-q", *model, *more, str(folder), str(out)]


def alone(folder: Path, model: str | None) -> None:
    """Read and encode all files with one encoder; print what that takes, without the start."""
    codec = fcs_edge.load(model)
    encoder = codec.signal_encoder()
    # Compiled, loaded, and recorded.
    encoder.push(np.zeros(codec.sample_rate_in * 5, np.float32))
    encoder.flush()
    n_samples = 0
    start = time.process_time()
    for path in sounds(folder):
        try:
            with open_input(str(path), None, 1, 1) as sound:
                for block in sound.at_rate(codec.sample_rate_in):
                    encoder.push(block)
                    n_samples += block.size
        except (AudioError, OSError, soundfile.LibsndfileError):
            pass
        encoder.flush()
    seconds = time.process_time() - start
    print(json.dumps({"cpu": seconds, "sound": n_samples / codec.sample_rate_in}))


def measure_loop(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Encode every so many files with a command of its own."""
    paths = [path for path in sounds(folder) if path.suffix in (".wav", ".flac", ".mp3", ".ogg")]
    sample = paths[:: max(len(paths) // options.loop, 1)][: options.loop]
    model = ("-m", options.model) if options.model else ()
    commands = ([*COMMAND, "encode", "-q", "-y", *model, str(p), work / "x.npy"] for p in sample)
    return {"loop_cpu_a_file": spread([cpu_of(command) for command in commands])}


def measure_overhead(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Compare a run of one worker with reading and encoding alone."""
    count, model = len(sounds(folder)), ((options.model,) if options.model else ())
    pure: list[float] = []
    whole: list[float] = []
    for _ in range(options.rounds):
        found = own_output(_ALONE, str(folder), *model)
        pure.append(found["cpu"])
        whole.append(cpu_of(encode_command(folder, work / "one", options, "--workers", "1")))
    ratios = [(b / a - 1) * 100 for a, b in zip(pure, whole, strict=True)]
    return {
        "files": count,
        "hours": found["sound"] / 3600,
        "alone_cpu_a_file": spread([each / count for each in pure]),
        "corpus_cpu_a_file": spread([each / count for each in whole]),
        "overhead_percent": spread(ratios),
    }


def measure_workers(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Compare the rate of two workers with that of two runs of one worker at a time."""
    halves = [work / "half-0", work / "half-1"]
    paths = sounds(folder)
    for number, path in enumerate(paths):
        place = halves[number % 2] / f"{number:07}{path.suffix}"
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            os.link(path, place)
    rows = ("--shard-rows", str(max(len(paths) // 20, 1)))
    ratios = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        run(encode_command(folder, work / "two", options, "--workers", "2", *rows))
        together = time.perf_counter() - start
        start = time.perf_counter()
        commands = (
            encode_command(half, work / f"out-{half.name}", options, "--workers", "1", *rows)
            for half in halves
        )
        others = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
        for other in others:
            other.wait()
        ratios.append((time.perf_counter() - start) / together)
    return {"two_workers_share": spread(ratios)}


def run(command: Sequence[str]) -> None:
    """Run a command, whose exit code may say that files are bad."""
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


def memory_of(pid: int) -> float:
    """Return the most resident memory that a process has had, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def child_of(pid: int) -> int:
    """Return the only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def measure_memory(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Encode a minute and an hour of the corpus's sound, in a worker each."""
    speech = np.concatenate([soundfile.read(path)[0] for path in _plain_wavs(folder)])
    found: Facts = {}
    for name, seconds in (("minute", 60), ("hour", 3600)):
        place = work / name / f"{name}.wav"
        place.parent.mkdir()
        soundfile.write(place, np.resize(speech, 16000 * seconds), 16000, "PCM_16")
        out = work / f"out-{name}"
        (out / "data").mkdir(parents=True)
        plan = planned([place.parent], out, model=options.model)
        with WorkerProcess(plan.recipe) as worker:
            for shard in plan.shards:
                worker.run(shard.job(), lambda report: None)
            found[f"worker_mb_{name}"] = memory_of(child_of(os.getpid()))
    found["worker_mb_grown"] = found["worker_mb_hour"] - found["worker_mb_minute"]
    return found


def _plain_wavs(folder: Path) -> list[Path]:
    """Return WAVs of 16 kHz and one channel: any speech will do."""
    found = []
    for path in sounds(folder):
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError:
            continue
        if (info.samplerate, info.channels) == (16000, 1) and info.frames > 16000:
            found.append(path)
    return found[:20]


def measure_rows(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Return the bytes of a token on disk."""
    out = work / "rows"
    run(encode_command(folder, out, options, "--shard-rows", "1000", "--shard-hours", "1000"))
    size = sum(path.stat().st_size for path in (out / "data").iterdir())
    totals = json.loads((out / "dataset.json").read_text())["totals"]
    return {"bytes_a_token": size / totals["tokens"], "rows": totals["files"]}


def link_files(place: Path, count: int) -> None:
    """Fill a folder with names of short sounds."""
    noise = np.random.default_rng(0).standard_normal(round(16000 * _TINY_SECONDS)) * 0.1
    for number in range(count):
        if number % 1000 == 0:
            folder = place / f"{number // 1000:05}"
            folder.mkdir(parents=True)
        if number % _LINKS == 0:
            first = folder / f"{number:07}.wav"
            soundfile.write(first, noise, 16000, "PCM_16")
        else:
            os.link(first, folder / f"{number:07}.wav")


def measure_resume(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Encode many short files, and run the same command again."""
    place, out = work / "short", work / "short-out"
    link_files(place, options.rows)
    command = encode_command(place, out, options)
    found: Facts = {}
    for name in ("first", "resume"):
        start = time.perf_counter()
        found[f"{name}_cpu"] = cpu_of(command)
        found[f"{name}_seconds"] = time.perf_counter() - start
    return found


def plan_alone(folder: Path, model: str | None) -> None:
    """Plan a corpus; print the most resident memory, and the seconds."""
    start = time.perf_counter()
    plan = planned([folder], folder.parent / "nowhere", model=model)
    facts = {
        "paths": plan.n_items,
        # Not ru_maxrss, which is that of the parent at first.
        "scan_mb": memory_of(os.getpid()),
        "scan_seconds": time.perf_counter() - start,
    }
    print(json.dumps(facts))


def measure_scan(folder: Path, work: Path, options: argparse.Namespace) -> Facts:
    """Plan many files."""
    place = work / "paths"
    link_files(place, options.paths)
    return own_output(_PLAN, str(place))


Part = Callable[[Path, Path, argparse.Namespace], Facts]
PARTS: dict[str, Part] = {
    "loop": measure_loop,
    "overhead": measure_overhead,
    "workers": measure_workers,
    "memory": measure_memory,
    "rows": measure_rows,
    "resume": measure_resume,
    "scan": measure_scan,
}
TARGETS = {
    "overhead_percent": "at most 12",
    "two_workers_share": "at least 0.95",
    "worker_mb_minute": "at most 200 with the built-in model",
    "worker_mb_grown": "at most 1",
    "bytes_a_token": "at most 2.5",
    "resume_seconds": "at most 10 of 100,000",
    "scan_mb": "at most 500 of 1,000,000",
}


def table(facts: Facts) -> str:
    """Return figures as a table."""
    lines = ["| figure | median | least | most | to reach |", "|---|---|---|---|---|"]
    for name, value in facts.items():
        columns = [value] if not isinstance(value, dict) else list(value.values())
        texts = [f"{each:.4g}" if isinstance(each, float) else str(each) for each in columns]
        cells = [name, *texts, *[""] * (3 - len(texts)), TARGETS.get(name, "")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> Facts:
    """Measure all parts that are chosen, and print each as it is known."""
    facts: Facts = {}
    for name in options.parts.split(","):
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            found = PARTS[name](options.folder, Path(work), options)
        facts.update(found)
        print(f"{name}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return facts


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own: dict[str, Callable[[Path, str | None], None]] = {_ALONE: alone, _PLAN: plan_alone}
    if given and given[0] in own:
        own[given[0]](Path(given[1]), given[2] if len(given) > 2 else None)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="a folder of sound files")
    add("-m", "--model", help="a model's name or file [the built-in one]")
    add("--parts", default=",".join(PARTS), help="what to measure, between commas [all]")
    add("--rounds", type=int, default=3, help="of what is compared [3]")
    add("--loop", type=int, default=10, help="files of the shell loop [10]")
    add("--rows", type=int, default=100_000, help="files of the resumed run [100000]")
    add("--paths", type=int, default=1_000_000, help="files of the scan [1000000]")
    add("--work", type=Path, help="the folder for what is written meanwhile [the system's]")
    add("--json", type=Path, help="a file for the figures")
    options = parser.parse_args(given)
    facts = measure(options)
    print(table(facts))
    if options.json is not None:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
