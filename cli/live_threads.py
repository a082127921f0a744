"""The number of threads of live sound: requested, or chosen before the stream starts."""

from __future__ import annotations

from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.codec import Codec
from fcs_edge.live.threads import choose


def prepared(
    codec: Codec,
    requested: int | None,
    messages: Messages,
    *,
    encoder: bool = False,
    decoder: bool = False,
) -> Codec:
    """Prepare encoder, decoder or both; return the codec with the threads that they will have.

    Where none are requested, a measurement says how many they need.
    """
    prepare(codec, messages, encoder=encoder, decoder=decoder)
    if requested is not None:
        return codec.with_threads(requested)
    choice = choose(codec, encoder=encoder, decoder=decoder)
    if choice.threads > 1:
        messages.note(
            f"{choice.threads} threads: a chunk takes {1e3 * choice.seconds:.3g} of "
            f"{1e3 * codec.latency:g} ms, with one thread {1e3 * choice.seconds_alone:.3g} ms"
        )
    return codec.with_threads(choice.threads)
