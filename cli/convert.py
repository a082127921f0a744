"""``fcs-edge convert``: a checkpoint to a model file."""

from __future__ import annotations

import os
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fcs_edge.cli.options import common_options, force_option
from fcs_edge.cli.output_files import check_distinct, check_output
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.modelfile.model_file import SCHEMES, ModelFile
from fcs_edge.modelfile.parts import PARTS

if TYPE_CHECKING:
    from fcs_edge.convert import LayerErrors, Source


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("out", metavar="OUT")
@click.option(
    "--name", help="Name of the model. [default: the file's, folder's or repository's name]"
)
@click.option(
    "--weights",
    type=click.Choice(SCHEMES),
    help="Type of the weights. [default: int8 for large models, else unchanged]",
)
@click.option(
    "--part",
    type=click.Choice(list(PARTS)),
    help="Write this half of the model alone: what makes tokens, or what makes sound of them.",
)
@click.option(
    "--check", is_flag=True, help="Compare the tokens of a clip with those of float32 weights."
)
@click.option(
    "--to-checkpoint",
    "backwards",
    is_flag=True,
    help="Write a checkpoint of the reference. OUT is x.json, and x.safetensors is put beside it, "
    "or a folder for the files of a hub repository.",
)
@force_option
@common_options
def convert(
    source: str,
    out: str,
    name: str | None,
    weights: str | None,
    part: str | None,
    check: bool,
    backwards: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Convert the checkpoint SOURCE to the model file OUT.

    SOURCE is a folder with config.json and model.safetensors or model.pt, or the path of x.json,
    or of the weights beside it. It may also be a hub repository to download, a JSON file in one,
    or a model file. Checkpoints of FocalCodec 0.0.1 and 0.0.2 are read.

    Weights of int8 are about four times smaller and faster than f32, and change few tokens.
    Weights of int4 are smaller and faster again, and change more tokens. With f32 no token
    differs from the reference.

    A half of --part has the fingerprint of the whole model, and fits the other half.

    The command ends with the size, and with the relative error of each kind of layer.

    \b
    Examples:
      fcs-edge convert lucadellalib/focalcodec_50hz_4k_causal 4k.safetensors
      fcs-edge convert --weights f32 downloads/focalcodec_50hz_4k_causal 4k.safetensors
      fcs-edge convert --part decoder --weights int4 4k.safetensors 4k-decoder.safetensors
      fcs-edge convert --to-checkpoint 4k.safetensors checkpoint.json
      fcs-edge encode --model 4k.safetensors speech.wav speech.fcs
    """
    from fcs_edge.convert import LayerErrors, convert_files, locate

    messages = Messages(quiet)
    if part is not None and check:
        raise click.UsageError("--check is for a whole model, without --part.")
    if backwards:
        if name or weights or part or check:
            raise click.UsageError("--to-checkpoint goes with --force and --quiet only.")
        _write_checkpoint(source, out, force, messages)
        return
    check_output(out, force)
    checkpoint, errors = locate(source), LayerErrors()
    check_distinct([out], map(str, _files(checkpoint)))
    with spinner(messages, f"Converting {source} ..."):
        model = convert_files(
            *(checkpoint, Path(out), name, weights, errors, force), part=part, report=messages
        )
    _print_sizes(out, model, sum(path.stat().st_size for path in _files(checkpoint)), messages)
    _print_errors(errors, messages)
    if check:
        _check_tokens(checkpoint, model, messages)
    then = "decode -m {} speech.fcs decoded.wav" if model.part == "decoder" else _ENCODING
    messages.note(f"next: fcs-edge {then.format(shlex.quote(out))}")


_ENCODING = "encode -m {} speech.wav speech.fcs"


def _print_sizes(out: str, model: ModelFile, before: int, messages: Messages) -> None:
    """Print what was written, beside the bytes of its source."""
    half = f", the {model.part} half" if model.part else ""
    messages.note(
        f"{out}: {model.name}{half}, {model.weights / 1e6:.1f} M weights as {model.scheme}, "
        f"fingerprint {model.fingerprint.hex()}"
    )
    size = model.path.stat().st_size
    messages.note(f"{size / 1e6:.1f} MB, {size / before:.0%} of the source's {before / 1e6:.1f} MB")


def _write_checkpoint(source: str, out: str, force: bool, messages: Messages) -> None:
    """Write the files of --to-checkpoint."""
    from fcs_edge.convert import locate, write_reference
    from fcs_edge.convert.reference_layout import Target, check_target
    from fcs_edge.convert.source import WEIGHTS
    from fcs_edge.modelfile.catalogue import find

    if Path(out).suffix in WEIGHTS and not os.path.isdir(out):
        raise click.UsageError(
            "--to-checkpoint writes two files: OUT is x.json, or the folder for both."
        )
    target = Target.of(Path(out))
    check_target(target, force)
    is_path = os.path.exists(source) or "/" in source
    found = locate(source) if is_path else find(source)
    check_distinct(map(str, target), map(str, _files(found)))
    with spinner(messages, f"Writing {out} ..."):
        write_reference(found, target, messages, overwrite=force)
    size = target.weights.stat().st_size
    messages.note(f"{target.config} and {target.weights.name}, {size / 1e6:.1f} MB")


def _files(source: Source | ModelFile) -> tuple[Path, ...]:
    return (source.path,) if isinstance(source, ModelFile) else source.files


def _print_errors(errors: LayerErrors, messages: Messages) -> None:
    rows = errors.rows()
    if not rows:
        messages.note("every weight has the value that it has in the source")
        return
    messages.note("layer           weights  stored as  relative error")
    for row in rows:
        messages.note(
            f"{row.kind:13} {row.n_weights / 1e6:7.2f} M  {row.stored_as:9}  {row.relative:14.2%}"
        )


def _check_tokens(source: Source | ModelFile, model: ModelFile, messages: Messages) -> None:
    """Compare tokens with those of float32 weights, where the memory is there."""
    import soundfile
    import soxr

    from fcs_edge.bench.host import memory_available
    from fcs_edge.convert import agreement, float_model

    needed, free = agreement.memory_needed(model), memory_available()
    if needed > free:
        messages.warn(
            f"tokens are not compared: float32 weights take {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; run --check on a larger machine"
        )
        return
    clip = str(resources.files("fcs_edge") / "data/demo.flac")
    sound, rate = soundfile.read(clip, dtype="float32")
    signal = soxr.resample(sound, rate, SAMPLE_RATE_IN, "VHQ")
    with spinner(messages, "Comparing tokens with those of float32 weights ..."):
        found = agreement.compare(model, float_model(source), signal)
    messages.note(
        f"{found.equal_tokens:.1%} of {found.n_tokens} tokens and {found.equal_bits:.2%} of their "
        "bits are those of float32 weights"
    )
