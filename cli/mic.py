"""``fcs-edge mic``: hear yourself through the codec."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path

import click

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
    input_option,
    latency_option,
    list_devices,
    open_microphone,
    open_speaker,
    output_option,
    prompt_threads,
    reconnect_option,
    watch,
    with_devices,
)
from fcs_edge.cli.tokens import LIVE_BLOCK_SECONDS, header_of
from fcs_edge.cli.ui.panel import Panel, shortfall, troubles
from fcs_edge.codec import Codec
from fcs_edge.live import devices
from fcs_edge.live.loop import Loopback
from fcs_edge.live.opened import Latency
from fcs_edge.live.recorder import Recorder

_DRAIN_SECONDS = 1.0


@click.command()
@model_option
@input_option
@output_option
@click.option("--list-devices", "listing", is_flag=True, help="List microphones and speakers.")
@latency_option
@click.option("--record-bitstream", metavar="FILE.fcs", help="Keep the tokens, as a bitstream.")
@click.option("--record-input", metavar="FILE.wav", help="Keep what the encoder hears.")
@click.option("--record-output", metavar="FILE.wav", help="Keep what the decoder says.")
@click.option(
    "--duration", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds."
)
@click.option(
    "--monitor",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Whether to play what is decoded; off for no speaker.",
)
@click.option("--bypass", is_flag=True, help="Start with the dry sound; the key b changes it.")
@reconnect_option
@force_option
@common_options
def mic(
    model: str | None,
    microphone: str | None,
    speaker: str | None,
    listing: bool,
    latency: Latency,
    record_bitstream: str | None,
    record_input: str | None,
    record_output: str | None,
    duration: float | None,
    monitor: str,
    bypass: bool,
    reconnect: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Send the microphone through the codec and play what comes out, live.

    Use headphones: a speaker near the microphone is heard again. Recordings are whole up to
    wherever the command ends, however it does.

    \b
    Examples:
      fcs-edge mic
      fcs-edge mic --list-devices
      fcs-edge mic --input USB --output 3 --latency high
      fcs-edge mic --monitor off --record-bitstream diary.fcs
    """
    if listing:
        list_devices()
        return
    messages = Messages(quiet)
    recordings = _recordings(record_bitstream, record_input, record_output, force)
    playing = monitor == "on"
    # Before the model: that there is no device shows at once.
    devices.find("input", microphone)
    if playing:
        devices.find("output", speaker)
    codec = fcs_edge.load(model)
    decoding = playing or recordings[2] is not None
    prepare(codec, messages, encoder=True, decoder=decoding)
    with ExitStack() as stack:
        recorder = Recorder(
            *recordings,
            header_of(codec, LIVE_BLOCK_SECONDS),
            codec.sample_rate_in,
            codec.sample_rate_out,
        )
        stack.callback(recorder.close)
        loop = Loopback(codec, recorder.put, decoding)
        loop.bypass = bypass
        stack.enter_context(prompt_threads())
        stack.enter_context(ending(loop.stop))
        keys = stack.enter_context(Keys())
        show = stack.enter_context(Panel(loop, codec, quiet).showing())
        deadline = math.inf if duration is None else time.monotonic() + duration

        def pressed(key: str) -> None:
            if key == "b":
                loop.bypass = not loop.bypass

        def session() -> None:
            with ExitStack() as opened:
                heard = open_microphone(codec, microphone, latency)
                opened.callback(heard.close)
                played = open_speaker(codec, speaker, latency) if playing else None
                if played is not None:
                    opened.callback(played.close)
                worker = Worker(lambda: loop.run(heard, played))
                watch(worker, keys, show, loop.stop, deadline, pressed)
                if played is not None:
                    played.drain(_DRAIN_SECONDS)

        with_devices(session, loop, reconnect, messages)
    _report(loop, codec, recorder, messages)


def _recordings(
    bitstream: str | None, sound_in: str | None, sound_out: str | None, force: bool
) -> tuple[Path | None, Path | None, Path | None]:
    """Check where recordings go, before any work."""
    given = (bitstream, ".fcs"), (sound_in, ".wav"), (sound_out, ".wav")
    for path, suffix in given:
        if path is None:
            continue
        if Path(path).suffix.lower() != suffix:
            raise click.UsageError(f"{path}: must end in {suffix}.")
        check_output(path, force)
    paths = [Path(path) if path is not None else None for path, _ in given]
    named = [p for p in paths if p is not None]
    if len(set(named)) < len(named):
        raise click.UsageError("two recordings go to the same file.")
    return paths[0], paths[1], paths[2]


def _report(loop: Loopback, codec: Codec, recorder: Recorder, messages: Messages) -> None:
    """Say how long it was and what was lost."""
    seconds = loop.statistics.n_tokens / codec.token_rate
    messages.note(f"{seconds:.2f} s at {codec.bitrate:g} bit/s")
    if lost := troubles(loop):
        messages.warn(lost)
    if recorder.n_lost:
        messages.warn(f"the disk was too slow: {recorder.n_lost} chunks were not recorded")
    if short := shortfall(loop, codec):
        messages.warn(short)
