"""``fcs-edge receive``: packets from another machine, played."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import click
import numpy as np

import fcs_edge
from fcs_edge.cli.live_threads import prepared
from fcs_edge.cli.options import (
    Seconds,
    activations_option,
    common_options,
    duration_option,
    force_option,
    key_option,
    latency_option,
    live_threads_option,
    model_option,
    monitor_option,
    output_option,
    reconnect_option,
)
from fcs_edge.cli.output_files import check_output
from fcs_edge.cli.ui.compile_notice import compile_notice
from fcs_edge.cli.ui.link_notice import chunk_text, report_security
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.panel import Lines, speaker_losses
from fcs_edge.cli.ui.terminal_keys import TerminalKeys
from fcs_edge.cli.voice_options import VoiceChoice, voice_options
from fcs_edge.cli.whole_sound import require_streams
from fcs_edge.codec import Codec
from fcs_edge.link.receiver import Receiver, Timer
from fcs_edge.link.sockets import ListeningSocket, address_text, parse
from fcs_edge.live import devices
from fcs_edge.live.latency import BUFFER_MILLISECONDS, Latency, buffer_chunks, duration_chunks
from fcs_edge.live.recorder import RECORDINGS_REMAIN, Recorder
from fcs_edge.live.session import (
    SilenceGuard,
    Worker,
    open_speaker,
    prompt_threads,
    run_with_devices,
    stop_on_signals,
    watch,
)
from fcs_edge.live.speaker import Speaker
from fcs_edge.model.layers import F32, new
from fcs_edge.text import counted

_DRAIN_SECONDS = 1.0
_NO_SAMPLES, _NO_TOKENS = new(0), np.zeros(0, np.uint16)


@click.command()
@click.argument("address", metavar="[HOST:]PORT")
@model_option
@activations_option
@voice_options
@output_option
@click.option("--record-output", metavar="FILE.wav", help="Record what is played.")
@monitor_option("Play the received sound; off opens no speaker.")
@click.option(
    "--buffer-ms",
    type=click.IntRange(1, 4000),
    default=BUFFER_MILLISECONDS,
    show_default=True,
    help="Sound to hold ready for late packets; a larger value tolerates a worse network.",
)
@duration_option
@key_option
@click.option(
    "--max-age",
    type=Seconds(),
    metavar="SECONDS",
    help="Refuse packets whose time differs by more from this machine's clock; needs --key.",
)
@latency_option
@reconnect_option
@live_threads_option
@force_option
@common_options
def receive(
    address: str,
    model: str | None,
    activations: int | None,
    voice: VoiceChoice,
    speaker: str | None,
    record_output: str | None,
    monitor: str,
    buffer_ms: int,
    duration: float | None,
    key: str | None,
    max_age: float | None,
    latency: Latency,
    reconnect: bool,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Play what `fcs-edge send` sends to this machine.

    Without a HOST, the command accepts packets from this machine only. 0.0.0.0:PORT accepts
    packets from all networks; an interface's address accepts those of its network.

    \b
    Examples:
      fcs-edge receive 0.0.0.0:5004 --key voice.key
      fcs-edge receive 5004 --monitor off --record-output received.wav
    """
    messages = Messages(quiet)
    host, port = parse(address, listening=True)
    _check_age(max_age, key)
    path = _recording(record_output, force)
    playing = monitor == "on"
    if playing:
        devices.find("output", speaker)
    codec = voice.applied(fcs_edge.load(model, activations=activations))
    # A link has two ends of one model: what cannot send has nobody to receive from.
    require_streams(codec, encoder=False)
    key_path = Path(key) if key is not None else None
    report_security(key_path, messages)
    with ExitStack() as stack:
        listening = stack.enter_context(closing(ListeningSocket(host, port)))
        codec = prepared(codec, threads, messages, decoder=True)
        recorder = stack.enter_context(closing(_recorder(path, codec, messages, force)))
        buffered = buffer_chunks(buffer_ms, codec.latency)
        receiver = _receiver(codec, listening, key_path, buffered, recorder, max_age, messages)
        receiver.limit = duration_chunks(duration, codec.latency)
        stack.enter_context(prompt_threads())
        stack.enter_context(stop_on_signals(receiver.stop, RECORDINGS_REMAIN))
        messages.note(f"listening at {address_text(host, listening.port)}; Ctrl-C ends")
        timer = None if playing else Timer(codec.sample_rate_out, codec.latency)
        outputs = _Outputs(timer, partial(open_speaker, codec, speaker, latency, reconnect))
        limited = duration is not None and not reconnect
        guard = SilenceGuard(receiver, lambda: outputs.speaker, limited)
        wait = _waiter(receiver, outputs, guard, quiet, stack)
        with _listening(receiver):
            session = partial(_session, receiver, outputs, wait)
            run_with_devices(session, receiver, reconnect, messages.warn)
    messages.note(_line(receiver, outputs))
    _end(guard, recorder, messages)


def _end(guard: SilenceGuard, recorder: Recorder, messages: Messages) -> None:
    """Exit with 1 where sound is missing; say why."""
    if guard.warning:
        messages.warn(guard.warning)
    if guard.warning or recorder.failed:
        click.get_current_context().exit(1)


class _Outputs:
    """The timer, or the speakers one after another: the last one has the losses of all.

    Parameters
    ----------
    timer : Timer or None
        What takes the place of a speaker.
    open_speaker : callable
        Opens a speaker, where there is no timer.
    """

    def __init__(self, timer: Timer | None, open_speaker: Callable[[], Speaker]) -> None:
        self._timer, self._open_speaker = timer, open_speaker
        self.speaker: Speaker | None = None

    def open(self) -> Speaker | Timer:
        """Return an open output."""
        if self._timer is not None:
            return self._timer
        speaker = self._open_speaker()
        if self.speaker is not None:
            speaker.add_losses(self.speaker)
        self.speaker = speaker
        return speaker

    def troubles(self) -> str:
        """Return a text about what was not played; empty where all was."""
        if self.speaker is None:
            return ""
        silent = "the speaker plays no sound (suspended?)" if self.speaker.suspended else ""
        return ", ".join(filter(None, (speaker_losses(self.speaker), silent)))


def _check_age(max_age: float | None, key: str | None) -> None:
    """Refuse --max-age without --key."""
    if max_age is not None and key is None:
        raise click.UsageError("--max-age needs --key: without one, any time can be forged.")


def _recording(path: str | None, force: bool) -> Path | None:
    """Check the recording's file before any work; return its path."""
    if path is None:
        return None
    if Path(path).suffix.lower() != ".wav":
        raise click.UsageError(f"{path}: must end in .wav.")
    check_output(path, force)
    return Path(path)


def _recorder(path: Path | None, codec: Codec, messages: Messages, force: bool) -> Recorder:
    """Return a recorder of the output only."""
    return Recorder(None, None, path, codec, messages.warn, force)


def _receiver(
    codec: Codec,
    listening: ListeningSocket,
    key: Path | None,
    buffered: int,
    recorder: Recorder,
    max_age: float | None,
    messages: Messages,
) -> Receiver:
    """Return a receiver that reports its problems at once."""
    age = math.inf if max_age is None else max_age
    sink = _sink(recorder)
    with compile_notice(messages, None):
        receiver = Receiver(codec, listening, key, buffered, sink, age, messages.warn)
    if receiver.starts_record and max_age is None:
        messages.note(
            f"{key}.seen is new: a stream recorded earlier would be accepted once; --max-age "
            "refuses old ones"
        )
    return receiver


def _sink(recorder: Recorder) -> Callable[[F32], None]:
    """Return what records decoded samples."""
    return lambda samples: recorder.put(_NO_SAMPLES, _NO_TOKENS, samples)


def _session(
    receiver: Receiver,
    outputs: _Outputs,
    wait: Callable[[Worker], None],
) -> None:
    """Open an output, play until stopped, and close the output."""
    output = outputs.open()
    try:
        wait(Worker(lambda: _play(receiver, output)))
        if isinstance(output, Speaker):
            output.drain(_DRAIN_SECONDS)
    finally:
        if isinstance(output, Speaker):
            output.close()


def _waiter(
    receiver: Receiver, outputs: _Outputs, guard: SilenceGuard, quiet: bool, stack: ExitStack
) -> Callable[[Worker], None]:
    """Return what prints the statistics and reads keys until a worker ends."""
    keys = stack.enter_context(TerminalKeys())
    lines = Lines(lambda: _line(receiver, outputs), quiet)

    def show() -> None:
        lines.show()
        guard.check()

    return lambda worker: watch(worker, keys.read, show, receiver.stop)


@contextmanager
def _listening(receiver: Receiver) -> Iterator[None]:
    """Accept packets while the block runs; raise what ends the listening early."""
    network = Worker(receiver.listen)
    try:
        yield
    finally:
        receiver.stop()
        network.join()


def _play(receiver: Receiver, output: Speaker | Timer) -> None:
    """Play until stopped."""
    if isinstance(output, Timer):
        receiver.play(output, lambda: None)
        return
    receiver.play(output.playout, output.check)
    output.playout.finish()


def _line(receiver: Receiver, outputs: _Outputs) -> str:
    """Return the statistics so far, in one line."""
    counts, s = receiver.buffer.counts, receiver.statistics
    due = counts.played + counts.lost
    share = 100 * counts.lost / due if due else 0.0
    repaired = f", {counts.repaired} repaired" if counts.repaired else ""
    text = (
        f"{counted(counts.received, 'packet')}, {receiver.n_bytes} bytes; "
        f"{counted(counts.played, 'chunk')} played, "
        f"{counts.lost} lost ({share:.1f} %){repaired}, "
        f"{counts.late} late, {counts.duplicate} twice, "
        f"{counts.skipped} skipped, {counted(counts.reordered, 'packet')} out of order; jitter "
        f"{receiver.buffer.jitter:.1f} ms, {receiver.buffer.level} waiting, "
        f"clock {1e6 * (receiver.speed - 1):+.0f} ppm; {chunk_text(s.times)}"
    )
    parts = [text, outputs.troubles()]
    if counts.paused:
        parts.append(f"{counted(counts.paused, 'chunk')} of pauses")
    if s.n_lost_devices:
        parts.append(f"{counted(s.n_lost_devices, 'time')} without a device")
    # A copy, as the other thread may add a reason meanwhile.
    refused = [f"{n} ({reason})" for reason, n in receiver.refused.copy().items()]
    if foreign := counts.foreign + counts.strays:
        refused.append(f"{foreign} (of another stream)")
    if refused:
        parts.append(f"refused: {', '.join(refused)}")
    if dropped := receiver.n_dropped:
        parts.append(f"{dropped} dropped by the system before they were read")
    return "; ".join(filter(None, parts))
