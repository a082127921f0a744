"""``fcs-edge convert``: a checkpoint to a model file."""

from __future__ import annotations

from pathlib import Path

import click

from fcs_edge.cli.options import common_options, force_option
from fcs_edge.cli.output_files import check_output
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.modelfile.model_file import SCHEMES


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("out", metavar="OUT")
@click.option("--name", help="Name of the model. [default: the folder's or repository's name]")
@click.option(
    "--weights",
    type=click.Choice(SCHEMES),
    help="Type of the weights. [default: int8 for large models, else unchanged]",
)
@force_option
@common_options
def convert(
    source: str, out: str, name: str | None, weights: str | None, force: bool, quiet: bool
) -> None:
    """Convert the checkpoint SOURCE to the model file OUT.

    SOURCE is a folder with config.json and model.safetensors or model.pt, or the path of a
    config.json. It may also be a hub repository to download, or a model file of float weights.

    Weights of int8 are about four times smaller and faster than f32, and change few tokens.
    Weights of int4 are smaller and faster again, and change more tokens. With f32 no token
    differs from the reference.

    \b
    Examples:
      fcs-edge convert lucadellalib/focalcodec_50hz_4k_causal 4k.safetensors
      fcs-edge convert --weights f32 downloads/focalcodec_50hz_4k_causal 4k.safetensors
      fcs-edge encode --model 4k.safetensors speech.wav speech.fcs
    """
    from fcs_edge.convert import convert_files, locate

    messages = Messages(quiet)
    check_output(out, force)
    checkpoint = locate(source)
    with spinner(messages, f"Converting {source} ..."):
        model = convert_files(checkpoint, Path(out), name, weights)
    messages.note(
        f"{out}: {model.name}, {model.weights / 1e6:.1f} M weights as {model.scheme}, "
        f"fingerprint {model.fingerprint.hex()}"
    )
