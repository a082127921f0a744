"""The number of threads of live sound: requested, or chosen before the stream starts."""

from __future__ import annotations

from fcs_edge.cli.ui.messages import Messages
from fcs_edge.codec import Codec
from fcs_edge.live.threads import choose


def with_threads(
    codec: Codec,
    requested: int | None,
    messages: Messages,
    *,
    encoder: bool = False,
    decoder: bool = False,
) -> Codec:
    """Return the codec with the requested threads; None measures how many it needs.

    The weights of what runs, encoder or decoder, must be prepared.
    """
    if requested is not None:
        return codec.with_threads(requested)
    choice = choose(codec, encoder=encoder, decoder=decoder)
    if choice.threads > 1:
        messages.note(
            f"{choice.threads} threads: a chunk takes {1e3 * choice.seconds:.3g} of "
            f"{1e3 * codec.latency:g} ms, with one thread {1e3 * choice.seconds_alone:.3g} ms"
        )
    return codec.with_threads(choice.threads)
