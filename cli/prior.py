"""``fcs-edge prior``: what a model file knows about the tokens of speech."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

import fcs_edge
from fcs_edge.cli.options import FiniteRange, common_options, force_option, model_option
from fcs_edge.cli.output_files import check_distinct, check_output
from fcs_edge.cli.ui.compile_notice import prepare
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import progress_bar
from fcs_edge.text import counted

if TYPE_CHECKING:
    from fcs_edge.convert.prior_training import Progress

_HIDDEN = click.IntRange(8, 512)


@click.group()
def prior() -> None:
    """Train what codes tokens in fewer bits, for the speech that you encode.

    \b
    Example:
      fcs-edge prior train recordings/ edge-ours.safetensors
    """


@prior.command()
@click.argument("speech", metavar="SPEECH...", nargs=-1, required=True)
@click.argument("out", metavar="OUT")
@model_option
@click.option("--hidden", type=_HIDDEN, help="Hidden values. [default: 64 to 512, by the speech]")
@click.option(
    "--minutes",
    type=FiniteRange(0, 600, min_open=True),
    default=45.0,
    show_default=True,
    help="Most minutes of training; encoding is not counted.",
)
@click.option(
    "--passes", type=FiniteRange(1, 1000), help="How often each token is learnt from at most."
)
@click.option(
    "--varied",
    "copies",
    type=click.IntRange(0, 20),
    default=3,
    show_default=True,
    help="Copies of each sound that are learnt from too, with speed, room, tone, noise and level "
    "varied.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all chance.")
@force_option
@common_options
def train(
    speech: tuple[str, ...],
    out: str,
    model: str | None,
    hidden: int | None,
    minutes: float,
    passes: float | None,
    copies: int,
    seed: int,
    force: bool,
    quiet: bool,
) -> None:
    """Write OUT, a copy of the model file with one more prior, trained on SPEECH.

    SPEECH are sound files, files of the model's tokens (.fcs, .npz, .npy), or folders of them. The
    more voices, the better: an hour at least, of people as different as those to be encoded.

    OUT encodes to the same tokens, and has the same fingerprint. Who decodes .fcs files coded with
    the prior needs OUT too. Earlier priors stay in it, and decode what they coded.

    The command holds back a twentieth of SPEECH, and ends with the bits that its tokens take.

    \b
    Examples:
      fcs-edge prior train recordings/ edge-ours.safetensors
      fcs-edge prior train -m 4k.safetensors --minutes 10 *.wav tokens.npz 4k-ours.safetensors
    """
    from fcs_edge.convert import prior_training, speech_tokens
    from fcs_edge.convert.prior_file import add_prior, integers, measured
    from fcs_edge.convert.prior_kernels import kernels

    messages = Messages(quiet)
    if Path(out).suffix != ".safetensors":
        raise click.UsageError("OUT must end in .safetensors.")
    check_output(out, force)
    files = speech_tokens.find([Path(path) for path in speech])
    codec = fcs_edge.load(model)
    check_distinct([out], [str(codec.model.path)])
    kernels()
    if any(speech_tokens.is_sound(path) for path in files):
        prepare(codec, messages, encoder=True)
    with progress_bar(messages, "Encoding", None) as show:
        read = speech_tokens.read(codec, files, copies, seed, show)
    bits, rate = codec.bits_per_token, codec.token_rate
    plan = prior_training.plan_for(read.n_tokens, rate, hidden, minutes, passes, seed)
    messages.note(
        f"{counted(len(files), 'file')}: {read.n_tokens:,} tokens to learn from; "
        f"{plan.hidden} hidden values"
    )
    report = partial(_report, messages)
    found = integers(prior_training.train(read.recordings, read.held_out, bits, plan, report))
    coded = measured(found, read.held_out, plan.block)
    add_prior(codec.model, found, Path(out), overwrite=force)
    messages.note(
        f"{out}: {codec.name} with the prior {found.check:08x}; tokens held out take {coded:.2f} "
        f"bits of {bits}, {coded * rate:.0f} bit/s"
    )
    messages.note(f"next: fcs-edge encode -m {shlex.quote(out)} speech.wav speech.fcs")


def _report(messages: Messages, progress: Progress) -> None:
    messages.note(
        f"{progress.share:4.0%}: {progress.bits:.2f} bits a token, {progress.held_out:.2f} held out"
    )
