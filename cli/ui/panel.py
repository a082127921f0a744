"""The live panel: redrawn in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fcs_edge.cli.ui.messages import plain
from fcs_edge.codec import Codec
from fcs_edge.live.loop import Loopback
from fcs_edge.live.opened import OpenDevice
from fcs_edge.live.speaker import Speaker
from fcs_edge.live.statistics import ChunkTimes
from fcs_edge.text import counted, printable

_METER_DB, _METER_CELLS = 60, 30
_LINE_SECONDS = 5.0

Show = Callable[[], None]


def meter(peak_db: float) -> Text:
    """Return a bar for a peak from -60 to 0 dB."""
    share = max(0.0, min(1.0, 1 + peak_db / _METER_DB)) if math.isfinite(peak_db) else 0.0
    n = round(share * _METER_CELLS)
    colour = "red" if peak_db > -1 else "green"
    bar = Text("█" * n, colour)
    bar.append("░" * (_METER_CELLS - n), "dim")
    bar.append(f" {peak_db:6.1f} dB" if math.isfinite(peak_db) else "   -inf dB")
    return bar


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, rounded."""
    return f"{1e3 * seconds:.0f} ms"


def latencies(loop: Loopback, codec: Codec) -> dict[str, float]:
    """Return the parts of the delay from microphone to speaker, and their sum, in seconds.

    Playback holds two delays: that of the queue before the speaker, and the device's own.
    """
    microphone, speaker = loop.microphone, loop.speaker
    compute = loop.statistics.times.percentile_ms(50) / 1e3
    parts = {
        "capture": microphone.latency if microphone is not None else math.nan,
        "chunk": codec.latency,
        "compute": compute,
        "playback": speaker.playout.delay + speaker.latency if speaker is not None else 0.0,
    }
    return {**parts, "total": sum(parts.values())}


def times_text(times: ChunkTimes) -> str:
    """Return the compute times of a chunk, or that there are none yet."""
    if not times.n:
        return "no chunk yet"
    return f"p50 {times.percentile_ms(50):.1f} p99 {times.percentile_ms(99):.1f} ms"


def gaps_text(device: OpenDevice) -> str:
    """Return how many gaps a device left without a report of its own; empty without one."""
    gaps = device.gaps
    if not gaps.n:
        return ""
    return f"{counted(gaps.n, f'gap of the {device.name}')} ({1e3 * gaps.seconds:.1f} ms)"


def speaker_losses(speaker: Speaker) -> str:
    """Return a text about what a speaker did not play; empty where it played all."""
    losses = []
    if speaker.n_underruns:
        underruns = counted(speaker.n_underruns, "underrun of the speaker")
        losses.append(f"{underruns} ({speaker.seconds_silent:.2f} s silent)")
    losses.append(gaps_text(speaker))
    if speaker.seconds_skipped:
        losses.append(f"{speaker.seconds_skipped:.2f} s not played")
    return ", ".join(filter(None, losses))


def troubles(loop: Loopback) -> str:
    """Return a text about all losses so far; empty without a loss."""
    s, mic, speaker = loop.statistics, loop.microphone, loop.speaker
    losses = []
    if mic is not None:
        if mic.n_overruns:
            losses.append(counted(mic.n_overruns, "overrun of the microphone"))
        losses.append(gaps_text(mic))
    if s.n_dropped:
        losses.append(f"{s.n_dropped:.2f} s not encoded")
    if s.n_late:
        losses.append(f"{s.n_late} late {'chunk' if s.n_late == 1 else 'chunks'}")
    if speaker is not None:
        losses.append(speaker_losses(speaker))
    if s.n_lost_devices:
        losses.append(f"{counted(s.n_lost_devices, 'time')} without a device")
    return ", ".join(filter(None, losses))


def cancelled(loop: Loopback) -> str:
    """Return a text where the microphone's channels cancel each other; empty where they do not."""
    if not loop.statistics.cancelling:
        return ""
    return (
        "the mean of the microphone's channels has 20 dB less energy than the louder channel: "
        "choose one, as with --channel 1"
    )


def suspended(loop: Loopback) -> str:
    """Return a text about suspended devices; empty where all devices run."""
    idle = []
    if loop.microphone is not None and loop.microphone.suspended:
        idle.append("the microphone delivers no sound (suspended?)")
    if loop.speaker is not None and loop.speaker.suspended:
        idle.append("the speaker plays no sound (suspended?)")
    return ", ".join(idle)


def shortfall(loop: Loopback, codec: Codec) -> str:
    """Return what to do on a machine that is too slow; empty on one that is fast enough."""
    p50 = loop.statistics.times.percentile_ms(50)
    chunk = 1e3 * codec.latency
    if not p50 > chunk:
        return ""
    return (
        f"too slow: a chunk of {chunk:.0f} ms takes {p50:.0f} ms, {p50 / chunk:.2f} times its "
        "duration; use a smaller model, convert it with --weights int4, or decode elsewhere"
    )


class Lines:
    """A line of text every few seconds."""

    def __init__(self, line: Callable[[], str], quiet: bool) -> None:
        self._line, self._quiet = line, quiet
        self._due = time.monotonic() + _LINE_SECONDS

    def show(self) -> None:
        """Print the line when it is due."""
        if self._quiet or time.monotonic() < self._due:
            return
        self._due += _LINE_SECONDS
        click.echo(printable(self._line()), err=True)


class Panel:
    """Shows a loopback.

    Parameters
    ----------
    loop : Loopback
        What the panel shows.
    codec : Codec
        The model.
    quiet : bool
        Whether nothing is shown.
    names : dict of str to str
        The devices' names by what they are, shown before the devices open.
    """

    def __init__(self, loop: Loopback, codec: Codec, quiet: bool, names: dict[str, str]) -> None:
        self._loop, self._codec, self._quiet = loop, codec, quiet
        self._names = names
        self._start = time.monotonic()
        self._lines = Lines(self.line, quiet)

    @contextmanager
    def showing(self) -> Iterator[Show]:
        """Yield a function that updates the display; call it a few times a second."""
        console = Console(stderr=True)
        if self._quiet:
            yield lambda: None
        elif not console.is_terminal:
            names = ", ".join(f"{label}: {name}" for label, name in self._names.items())
            click.echo(printable(names), err=True)
            yield self._lines.show
        else:
            with Live(self._drawn(), console=console, auto_refresh=False) as live:
                yield lambda: live.update(self._drawn(), refresh=True)

    def line(self) -> str:
        """Return all facts in one line."""
        loop, times = self._loop, self._loop.statistics.times
        parts = latencies(loop, self._codec)
        shown = [f"{name} {milliseconds(s)}" for name, s in parts.items() if math.isfinite(s)]
        text = (
            f"{time.monotonic() - self._start:.0f} s: {loop.statistics.n_tokens} tokens, chunk "
            f"{times_text(times)}, latency {', '.join(shown)}; {troubles(loop) or 'nothing lost'}"
        )
        now = [cancelled(loop), suspended(loop), shortfall(loop, self._codec)]
        return "; ".join([text, *filter(None, now)])

    def _drawn(self) -> Group:
        loop, codec, s = self._loop, self._codec, self._loop.statistics
        table = Table.grid(padding=(0, 2))
        for label, name in self._names.items():
            table.add_row(label, plain(name if loop.microphone else f"{name} (opening)"))
        table.add_row("in", meter(s.input_meter.peak_db))
        if loop.speaker is not None:
            table.add_row("out", meter(s.output_meter.peak_db))
        seconds = time.monotonic() - self._start
        bits = f"{codec.bitrate:g} bit/s, {s.n_tokens} tokens, the last one {s.last_token}"
        table.add_row(f"{seconds:.0f} s", plain(f"{codec.name}: {bits}"))
        longest = f", longest {s.times.longest_ms:.1f} of {1e3 * codec.latency:.0f} ms"
        table.add_row("chunk", times_text(s.times) + (longest if s.times.n else ""))
        parts = {n: v for n, v in latencies(loop, codec).items() if math.isfinite(v)}
        table.add_row("latency", "  ".join(f"{n} {1e3 * v:.0f}" for n, v in parts.items()) + " ms")
        if loop.speaker is not None:
            correction = 1e6 * (loop.speaker.playout.speed - 1)
            table.add_row("clock", f"{correction:+.0f} ppm")
        lost = troubles(loop)
        table.add_row("lost", plain(lost or "nothing", "yellow" if lost else ""))
        hint = "Ctrl-C or q ends"
        if loop.speaker is not None:
            played, other = ("uncoded", "decoded") if loop.bypass else ("decoded", "uncoded")
            hint += f"; you hear {played} sound, b changes to {other}"
        rows: list[Table | Text] = [table, Text(hint, "dim")]
        for text in (cancelled(loop), suspended(loop), shortfall(loop, codec)):
            if text:
                rows.append(plain(text, "bold red"))
        return Group(*rows)
