"""``fcs-edge receive``: packets from another machine, played."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np

import fcs_edge
from fcs_edge.cli.common import (
    Messages,
    check_output,
    common_options,
    force_option,
    model_option,
    prepare,
)
from fcs_edge.cli.live import (
    Keys,
    Worker,
    ending,
    key_option,
    latency_option,
    open_speaker,
    output_option,
    prompt_threads,
    reconnect_option,
    say_open,
    watch,
    with_devices,
)
from fcs_edge.cli.tokens import LIVE_BLOCK_SECONDS, header_of
from fcs_edge.cli.ui.panel import Lines
from fcs_edge.link.receiver import Receiver, Timer
from fcs_edge.link.sockets import ListeningSocket, parse
from fcs_edge.live import devices
from fcs_edge.live.opened import Latency
from fcs_edge.live.recorder import Recorder
from fcs_edge.live.speaker import Speaker
from fcs_edge.model.layers import F32, new

_NO_SAMPLES, _NO_TOKENS = new(0), np.zeros(0, np.uint16)


@click.command()
@click.argument("address", metavar="[HOST:]PORT")
@model_option
@output_option
@click.option("--record-output", metavar="FILE.wav", help="Keep what is played.")
@click.option(
    "--monitor",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Whether to play it; off for no speaker.",
)
@click.option(
    "--buffer-ms",
    type=click.IntRange(1, 4000),
    default=160,
    show_default=True,
    help="Sound that waits for packets that come late: more bears a worse network.",
)
@click.option(
    "--duration", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds."
)
@key_option
@latency_option
@reconnect_option
@force_option
@common_options
def receive(
    address: str,
    model: str | None,
    speaker: str | None,
    record_output: str | None,
    monitor: str,
    buffer_ms: int,
    duration: float | None,
    key: str | None,
    latency: Latency,
    reconnect: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Play what `fcs-edge send` sends to this machine.

    It listens to programs on this machine alone where no HOST is given: 0.0.0.0:PORT listens to
    all networks, the address of one of this machine's interfaces to that one's.

    \b
    Examples:
      fcs-edge receive 0.0.0.0:5004 --key voice.key
      fcs-edge receive 5004 --monitor off --record-output heard.wav
    """
    messages = Messages(quiet)
    host, port = parse(address, listening=True)
    if record_output is not None:
        if Path(record_output).suffix.lower() != ".wav":
            raise click.UsageError(f"{record_output}: must end in .wav.")
        check_output(record_output, force)
    if monitor == "on":
        devices.find("output", speaker)
    codec = fcs_edge.load(model)
    key_path = Path(key) if key is not None else None
    say_open(key_path, messages)
    buffered = math.ceil(buffer_ms / 1e3 / codec.latency)
    with ExitStack() as stack:
        listening = ListeningSocket(host, port)
        stack.callback(listening.close)
        prepare(codec, messages, decoder=True)
        path = Path(record_output) if record_output is not None else None
        header = header_of(codec, LIVE_BLOCK_SECONDS)
        rates = codec.sample_rate_in, codec.sample_rate_out
        recorder = Recorder(None, None, path, header, *rates)
        stack.callback(recorder.close)

        def record(sound: F32) -> None:
            recorder.put(_NO_SAMPLES, _NO_TOKENS, sound)

        receiver = Receiver(codec, listening, key_path, buffered, record)
        stack.enter_context(prompt_threads())
        stack.enter_context(ending(receiver.stop))
        keys = stack.enter_context(Keys())
        lines = Lines(lambda: _line(receiver), quiet)
        deadline = math.inf if duration is None else time.monotonic() + duration
        messages.note(f"listening at {host}:{listening.port}; Ctrl-C ends")
        listener = Worker(receiver.listen)

        def session() -> None:
            with ExitStack() as opened:
                output: Speaker | Timer = Timer(codec.sample_rate_out, codec.latency)
                if monitor == "on":
                    output = open_speaker(codec, speaker, latency)
                    opened.callback(output.close)
                worker = Worker(lambda: _play(receiver, output))
                watch(worker, keys, lines.show, receiver.stop, deadline)

        try:
            with_devices(session, receiver, reconnect, messages)
        finally:
            receiver.stop()
            listener.join()
    messages.note(_line(receiver))
    if receiver.warning:
        messages.warn(receiver.warning)


def _play(receiver: Receiver, output: Speaker | Timer) -> None:
    """Play until stopped."""
    if isinstance(output, Timer):
        receiver.play(output, lambda: None)
        return
    receiver.play(output.playout, output.check)
    output.playout.finish()


def _line(receiver: Receiver) -> str:
    """Return what was received so far, in one line."""
    counts, s = receiver.buffer.counts, receiver.statistics
    heard = counts.played + counts.lost
    share = 100 * counts.lost / heard if heard else 0.0
    text = (
        f"{counts.received} packets, {receiver.n_bytes} bytes; {counts.played} chunks played, "
        f"{counts.lost} lost ({share:.1f} %), {counts.late} late, {counts.duplicate} twice, "
        f"{counts.skipped} skipped, {counts.reordered} packets out of order; jitter "
        f"{receiver.buffer.jitter:.1f} ms, {receiver.buffer.level} chunks wait, "
        f"clock {1e6 * (receiver.speed - 1):+.0f} ppm; chunk p50 {s.times.percentile_ms(50):.1f} "
        f"p99 {s.times.percentile_ms(99):.1f} ms"
    )
    strange = counts.foreign + counts.strays
    refused = ", ".join(f"{n} ({reason})" for reason, n in receiver.refused.items())
    if strange:
        refused = f"{refused}, {strange} (of another stream)".removeprefix(", ")
    return f"{text}; refused: {refused}" if refused else text
