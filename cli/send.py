"""``fcs-edge send``: the microphone, or a sound file, to another machine as packets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import click
import numpy as np

import fcs_edge
from fcs_edge.audio.reader import AudioInput, Channel, open_input
from fcs_edge.cli.live_threads import prepared
from fcs_edge.cli.options import (
    activations_option,
    channel_option,
    common_options,
    dtx_option,
    duration_option,
    input_option,
    key_option,
    latency_option,
    live_threads_option,
    model_option,
    reconnect_option,
    refuse_unused,
    resampler_option,
)
from fcs_edge.cli.ui.compile_notice import compile_notice
from fcs_edge.cli.ui.link_notice import chunk_text, rate_text, report_security
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.panel import Lines, cancelled, shortfall, troubles
from fcs_edge.cli.ui.terminal_keys import TerminalKeys
from fcs_edge.cli.whole_sound import require_streams
from fcs_edge.codec import Codec
from fcs_edge.link.packets import PacketFormat
from fcs_edge.link.pausing_sender import PausingSender
from fcs_edge.link.rates import Framing, longest_packet
from fcs_edge.link.sender import Sender
from fcs_edge.link.sockets import PacketSocket, parse
from fcs_edge.live import devices
from fcs_edge.live.latency import Latency
from fcs_edge.live.loop import Loopback
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
from fcs_edge.model.layers import F32, new
from fcs_edge.text import counted
from fcs_edge.tokens.fcs import newest_coder

_SHOW_SECONDS = 0.2
_CATCH_UP_SECONDS = 1.0
"""How late a sound file may be sent, with chunks that follow at once."""


@click.command()
@click.argument("address", metavar="HOST:PORT")
@model_option
@activations_option
@input_option
@channel_option
@click.option(
    "--from",
    "source",
    metavar="FILE",
    help="Send a sound file in place of the microphone; zeros fill its last chunk.",
)
@resampler_option
@click.option(
    "--packet-ms",
    type=click.IntRange(min=1),
    default=80,
    show_default=True,
    help="Sound in a packet, in full chunks, up to 1 s: longer packets cost fewer bytes and more "
    "delay.",
)
@click.option(
    "--coded",
    is_flag=True,
    help="Code the tokens in fewer bytes. The sizes of sealed packets then tell something of "
    "what is spoken.",
)
@click.option(
    "--redundancy",
    is_flag=True,
    help="Let each packet carry the one before as well: a single lost packet costs no sound. The "
    "receiver waits for one packet more.",
)
@dtx_option
@duration_option
@key_option
@latency_option
@reconnect_option
@live_threads_option
@common_options
def send(
    address: str,
    model: str | None,
    activations: int | None,
    microphone: str | None,
    channel: Channel,
    source: str | None,
    resampler: str,
    packet_ms: int,
    coded: bool,
    redundancy: bool,
    dtx: bool,
    duration: float | None,
    key: str | None,
    latency: Latency,
    reconnect: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Send the microphone to another machine, where `fcs-edge receive` plays it.

    The packets are UDP; the other end conceals lost packets. Without --key, others on the
    network can listen. Of a FILE that is cut, what is intact is sent, and the exit code is 1.

    \b
    Examples:
      fcs-edge send pi.local:5004
      fcs-edge send --key voice.peer.key --packet-ms 240 10.0.0.2:5004
      fcs-edge send --from speech.wav [::1]:5004
    """
    messages = Messages(quiet)
    host, port = parse(address)
    _check(source, microphone)
    codec = require_streams(fcs_edge.load(model, activations=activations), decoder=dtx)
    framing = _framing(codec, packet_ms, key is not None, coded, redundancy)
    key_path = None if key is None else Path(key)
    report_security(key_path, messages)
    with ExitStack() as stack:
        socket = stack.enter_context(closing(PacketSocket(host, port, messages.warn)))
        sender = _sender(socket, codec, framing, key_path, messages)
        codec = prepared(codec, threads, messages, encoder=True)
        loop, finish = _loop(sender, codec, dtx, duration)
        stack.enter_context(prompt_threads())
        stack.enter_context(stop_on_signals(loop.stop, "sending ends"))
        lines = Lines(lambda: _line(loop, codec, sender), quiet)
        guard = SilenceGuard(loop, lambda: loop.microphone, duration is not None and not reconnect)
        if source is not None:
            opened = open_input(source, None, 1, 1, channel=channel, resampler=resampler)
            is_whole = _send_file(stack.enter_context(opened), loop, codec, lines, messages)
        else:
            is_whole = True
            request = DeviceRequest(microphone, None, latency, False, channel, reconnect)
            start = partial(run_loopback, loop, codec, request, _waiter(loop, lines, guard, stack))
            run_with_devices(start, loop, reconnect, messages.warn)
        finish()
    messages.note(_line(loop, codec, sender))
    for text in (cancelled(loop), shortfall(loop, codec), guard.warning):
        if text:
            messages.warn(text)
    click.get_current_context().exit(1 if guard.warning or not is_whole else 0)


def _loop(
    sender: Sender, codec: Codec, dtx: bool, duration: float | None
) -> tuple[Loopback, Callable[[], None]]:
    """Return what encodes and sends each chunk, and what sends the rest."""
    if not dtx:
        loop = Loopback(codec, lambda _, tokens, __: sender.send(tokens), False, duration)
        return loop, sender.finish
    pausing = PausingSender(sender, codec)
    take = pausing.send
    return Loopback(codec, lambda s, tokens, _: take(s, tokens), False, duration), pausing.finish


def _waiter(
    loop: Loopback, lines: Lines, guard: SilenceGuard, stack: ExitStack
) -> Callable[[Worker], None]:
    """Return what prints the statistics and reads keys until a worker ends."""
    keys = stack.enter_context(TerminalKeys())

    def show() -> None:
        lines.show()
        guard.check()

    return lambda worker: watch(worker, keys.read, show, loop.stop)


def _check(source: str | None, microphone: str | None) -> None:
    """Refuse a microphone that is not there, two sources, and an option that changes nothing."""
    refuse_unused(("--from", source is not None, ("resampler",)))
    if source is None:
        devices.find("input", microphone)
    elif microphone is not None:
        raise click.UsageError("--from takes the place of the microphone: leave out --input.")


def _sender(
    socket: PacketSocket, codec: Codec, framing: Framing, key: Path | None, messages: Messages
) -> Sender:
    """Return what sends the packets; note what they take on the wire."""
    with compile_notice(messages, None):
        coder = newest_coder(codec) if framing.coded else None
    messages.note(rate_text(framing, socket.ip_bytes))
    return Sender(
        *(socket, codec, framing.chunks, key, messages.warn),
        coder=coder,
        redundant=framing.redundant,
    )


def _framing(codec: Codec, packet_ms: int, sealed: bool, coded: bool, redundant: bool) -> Framing:
    """Return how packets of `packet_ms` milliseconds are made."""
    form, chunk_ms = PacketFormat.of(codec), round(1e3 * codec.latency)
    most = longest_packet(form, codec.latency, redundant)
    if packet_ms % chunk_ms or packet_ms > most * chunk_ms:
        raise click.UsageError(
            f"--packet-ms {packet_ms}: a chunk of {codec.name} is {chunk_ms} ms; give a multiple "
            f"of it, up to {most * chunk_ms}."
        )
    return Framing(form, codec.latency, packet_ms // chunk_ms, sealed, coded, redundant)


def _send_file(
    sound: AudioInput, loop: Loopback, codec: Codec, lines: Lines, messages: Messages
) -> bool:
    """Send a sound file in real time; return whether all of it was there.

    Raises
    ------
    AudioError
        The file holds no sound.
    """
    start, number = time.monotonic(), 0
    chunks = _chunks(sound.at_rate(codec.sample_rate_in), codec.chunk_size)
    for number, samples in enumerate(chunks, 1):
        due = start + number * codec.latency
        if (late := time.monotonic() - due) > _CATCH_UP_SECONDS:
            # This process was stopped, or a pipe was slow: a burst would only be skipped.
            start, due = start + late, due + late
        while not loop.stopped and (remaining := due - time.monotonic()) > 0:
            time.sleep(min(remaining, _SHOW_SECONDS))
            lines.show()
        if loop.stopped:
            break
        loop.step(samples)
    sound.require_sound(number)
    for text in (*sound.losses, *sound.warnings):
        messages.warn(text)
    return not sound.losses


def _chunks(blocks: Iterator[F32], size: int) -> Iterator[F32]:
    """Cut blocks of any size into full chunks; zeros fill the last one."""
    rest = new(0)
    for block in blocks:
        rest = np.concatenate([rest, block])
        n = rest.size // size * size
        yield from rest[:n].reshape(-1, size)
        rest = rest[n:]
    if rest.size:
        yield np.concatenate([rest, new(size - rest.size)])


def _line(loop: Loopback, codec: Codec, sender: Sender) -> str:
    """Return the statistics so far, in one line."""
    socket, s = sender.socket, loop.statistics
    seconds = s.n_tokens / codec.token_rate
    on_wire = (socket.n_bytes + socket.ip_bytes * socket.n_packets) / max(seconds, codec.latency)
    text = (
        f"{seconds:.1f} s sent: {counted(socket.n_packets, 'packet')}, {socket.n_bytes} bytes, "
        f"{on_wire:.0f} bytes/s with IP headers, {chunk_text(s.times)}"
    )
    # A copy, as the other thread may add a reason meanwhile.
    errors = socket.errors.copy().items()
    failed = [f"{counted(n, 'packet')} not sent: {reason}" for reason, n in errors]
    if socket.n_refused:
        failed.append(f"nobody listened for {counted(socket.n_refused, 'packet')}")
    lost = "; ".join(filter(None, (troubles(loop), *failed)))
    return f"{text}; {lost or 'nothing lost here'}"
