"""``fcs-edge warmup``: compile the kernels before their first use."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np

import fcs_edge
from fcs_edge.bench import host
from fcs_edge.cli.options import activations_option, common_options, model_option
from fcs_edge.cli.ui.compile_notice import compile_notice, run_once
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.codec import Codec
from fcs_edge.link.coding import packet_coders
from fcs_edge.modelfile.catalogue import find
from fcs_edge.modelfile.model_file import ACTIVATION_BITS, SCHEMES
from fcs_edge.modelfile.tensor_layout import tensor_shapes
from fcs_edge.text import counted


@click.command()
@model_option
@activations_option
@click.option(
    "--all", "every", is_flag=True, help="Compile for all types of weights and activations."
)
@common_options
def warmup(model: str | None, activations: int | None, every: bool, quiet: bool) -> None:
    """Compile the kernels now, so that the first use of a model does not wait.

    This is necessary once for a CPU and a type of weights: compiled kernels stay on disk. The exit
    code is 1 where no folder can keep them.

    \b
    Examples:
      fcs-edge warmup
      fcs-edge warmup --all
    """
    from fcs_edge.convert import write_model

    messages = Messages(quiet)
    start = time.perf_counter()
    codec = fcs_edge.load(model, activations=activations)
    with compile_notice(messages, f"Preparing {codec.name} ...") as compilation:
        _run(codec)
        if every:
            config = find().config
            # The values of the weights do not matter here, only their type.
            zeros = {n: np.zeros(shape, np.float32) for n, shape in tensor_shapes(config).items()}
            with tempfile.TemporaryDirectory() as folder:
                for scheme in SCHEMES:
                    path = Path(folder) / f"{scheme}.safetensors"
                    written = write_model(path, config, zeros, scheme, "zeros", scheme)
                    for bits in ACTIVATION_BITS[scheme]:
                        _run(Codec(written, activations=bits))
    seconds, n, cache = time.perf_counter() - start, compilation.n_kernels, host.kernel_cache()
    some = counted(n, "kernel")
    if not n:
        place = f" in {cache}" if cache else ""
        messages.note(f"nothing to compile: all kernels are stored{place} ({seconds:.1f} s)")
    elif cache:
        messages.note(f"compiled {some} in {seconds:.1f} s; they are stored in {cache}")
    else:
        # A warning has said why.
        messages.note(f"compiled {some} in {seconds:.1f} s; they are not stored")
        click.get_current_context().exit(1)


def _run(codec: Codec) -> None:
    """Encode and decode a chunk, or a token's sound, and use what codes its tokens."""
    packet_coders(codec)
    # A half model does what it can.
    part = codec.model.part
    run_once(codec, encoder=part != "decoder", decoder=part != "encoder")
