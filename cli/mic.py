"""``fcs-edge mic``: the microphone through the codec to the speaker, live."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

import fcs_edge
from fcs_edge.cli.live_threads import prepared
from fcs_edge.cli.options import (
    activations_option,
    channel_option,
    common_options,
    duration_option,
    force_option,
    input_option,
    latency_option,
    live_threads_option,
    model_option,
    monitor_option,
    output_option,
    reconnect_option,
    refuse_unused,
)
from fcs_edge.cli.output_files import check_distinct, check_output
from fcs_edge.cli.ui.device_table import print_devices
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.panel import Panel, cancelled, shortfall, troubles
from fcs_edge.cli.ui.terminal_keys import TerminalKeys
from fcs_edge.cli.voice_options import VOICE_OPTIONS, VoiceChoice, voice_options
from fcs_edge.cli.whole_sound import require_streams
from fcs_edge.codec import Codec
from fcs_edge.live import devices
from fcs_edge.live.latency import Latency
from fcs_edge.live.loop import Loopback
from fcs_edge.live.recorder import RECORDINGS_REMAIN, Recorder
from fcs_edge.live.session import (
    DeviceRequest,
    SilenceGuard,
    Worker,
    prompt_threads,
    run_loopback,
    run_with_devices,
    stop_on_signals,
    watch,
)


@click.command()
@model_option
@activations_option
@voice_options
@input_option
@channel_option
@output_option
@click.option("--list-devices", "listing", is_flag=True, help="List microphones and speakers.")
@latency_option
@click.option("--record-bitstream", metavar="FILE.fcs", help="Record the tokens as a bitstream.")
@click.option("--record-input", metavar="FILE.wav", help="Record the input of the encoder.")
@click.option("--record-output", metavar="FILE.wav", help="Record the output of the decoder.")
@duration_option
@monitor_option("Play the decoded sound; off opens no speaker.")
@click.option("--bypass", is_flag=True, help="Start with the uncoded sound; the key b changes it.")
@reconnect_option
@live_threads_option
@force_option
@common_options
def mic(
    model: str | None,
    activations: int | None,
    voice: VoiceChoice,
    microphone: str | None,
    channel: int | str,
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
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Send the microphone through the codec and play the decoded sound, live.

    Use headphones: the microphone picks up a speaker. Recordings stay intact, however the
    command ends. --duration counts the sound that is encoded, so start-up does not shorten it.

    \b
    Examples:
      fcs-edge mic
      fcs-edge mic --list-devices
      fcs-edge mic --input USB --output 3 --voice anna.voice
      fcs-edge mic --monitor off --record-bitstream diary.fcs
    """
    if listing:
        print_devices()
        return
    messages = Messages(quiet)
    recordings = _recordings(record_bitstream, record_input, record_output, force)
    playing = monitor == "on"
    decoding = playing or recordings[2] is not None
    refuse_unused(("sound that is decoded", decoding, VOICE_OPTIONS))
    # Before the model, so that a missing device shows at once.
    names = _device_names(microphone, speaker, playing)
    codec = voice.applied(fcs_edge.load(model, activations=activations))
    require_streams(codec, decoder=decoding)
    codec = prepared(codec, threads, messages, encoder=True, decoder=decoding)
    with ExitStack() as stack:
        recorder = _recorder(recordings, codec, messages, force)
        stack.callback(recorder.close)
        loop = Loopback(codec, recorder.put, decoding, duration)
        loop.bypass = bypass
        stack.enter_context(prompt_threads())
        stack.enter_context(stop_on_signals(loop.stop, RECORDINGS_REMAIN))
        show = stack.enter_context(Panel(loop, codec, quiet, names).showing())
        guard = SilenceGuard(loop, lambda: loop.microphone, duration is not None and not reconnect)
        wait = _waiter(loop, show, guard, stack)
        request = DeviceRequest(microphone, speaker, latency, playing, channel, reconnect)
        session = partial(run_loopback, loop, codec, request, wait)
        run_with_devices(session, loop, reconnect, messages.warn)
    _report(loop, codec, recorder, messages)
    _end(guard, recorder, messages)


def _end(guard: SilenceGuard, recorder: Recorder, messages: Messages) -> None:
    """Exit with 1 where sound is missing; say why."""
    if guard.warning:
        messages.warn(guard.warning)
    if guard.warning or recorder.failed:
        click.get_current_context().exit(1)


def _device_names(microphone: str | None, speaker: str | None, playing: bool) -> dict[str, str]:
    """Return the names of the devices that will be opened."""
    names = {"microphone": devices.find("input", microphone).name}
    if playing:
        names["speaker"] = devices.find("output", speaker).name
    return names


def _recorder(
    paths: tuple[Path | None, Path | None, Path | None],
    codec: Codec,
    messages: Messages,
    force: bool,
) -> Recorder:
    """Open the recordings: of the tokens, the encoder's input and the decoder's output."""
    return Recorder(*paths, codec, messages.warn, force)


def _waiter(
    loop: Loopback, show: Callable[[], None], guard: SilenceGuard, stack: ExitStack
) -> Callable[[Worker], None]:
    """Return what shows the panel and reads keys until a worker ends."""
    keys = stack.enter_context(TerminalKeys())

    def on_key(key: str) -> None:
        if key == "b":
            loop.bypass = not loop.bypass

    def show_and_guard() -> None:
        show()
        guard.check()

    def wait(worker: Worker) -> None:
        watch(worker, keys.read, show_and_guard, loop.stop, on_key=on_key)

    return wait


def _recordings(
    bitstream: str | None, sound_in: str | None, sound_out: str | None, force: bool
) -> tuple[Path | None, Path | None, Path | None]:
    """Check the recordings' files before any work; return their paths."""
    files = (bitstream, ".fcs"), (sound_in, ".wav"), (sound_out, ".wav")
    for path, suffix in files:
        if path is None:
            continue
        if Path(path).suffix.lower() != suffix:
            raise click.UsageError(f"{path}: must end in {suffix}.")
        check_output(path, force)
    check_distinct(path for path, _ in files)
    paths = [Path(path) if path is not None else None for path, _ in files]
    return paths[0], paths[1], paths[2]


def _report(loop: Loopback, codec: Codec, recorder: Recorder, messages: Messages) -> None:
    """Report the duration and the losses."""
    seconds = loop.statistics.n_tokens / codec.token_rate
    messages.note(f"{seconds:.2f} s at {codec.bitrate:g} bit/s")
    if lost := troubles(loop):
        messages.warn(lost)
    if recorder.n_lost:
        messages.warn(f"the disk is too slow: chunks that were not recorded: {recorder.n_lost}")
    for text in (cancelled(loop), shortfall(loop, codec)):
        if text:
            messages.warn(text)
