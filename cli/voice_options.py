"""The options of commands that decode with a voice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import click

import fcs_edge
from fcs_edge.codec import TOPK, Codec
from fcs_edge.model.voice_rows import MAX_TOPK

_F = TypeVar("_F", bound=Callable[..., Any])

VOICE_OPTIONS = ("voice_file", "topk", "any_voice")
"""Parameters of `voice_options`."""


class VoiceChoice(NamedTuple):
    """The voice that a command decodes with, or none."""

    path: str | None
    topk: int
    any_voice: bool

    def applied(self, codec: Codec) -> Codec:
        """Return the codec with the voice, which is read now; or the codec as it is."""
        if self.path is None:
            return codec
        voice = fcs_edge.load_voice(self.path)
        return codec.with_voice(voice, self.topk, any_voice=self.any_voice)


def voice_options(command: _F) -> _F:
    """Add --voice and what belongs to it; the command receives `voice`, a `VoiceChoice`."""

    @functools.wraps(command)
    def run(voice_file: str | None, topk: int | None, any_voice: bool, **values: Any) -> Any:
        if voice_file is None and (topk is not None or any_voice):
            raise click.UsageError("--topk and --any-voice are for --voice only.")
        return command(voice=VoiceChoice(voice_file, topk or TOPK, any_voice), **values)

    options = (
        click.option(
            "--voice",
            "voice_file",
            metavar="FILE.voice",
            help="Decode with another voice; see fcs-edge voice.",
        ),
        click.option(
            "--topk",
            type=click.IntRange(1, MAX_TOPK),
            help=f"Rows of the voice that are averaged. [default: {TOPK}]",
        ),
        click.option(
            "--any-voice", is_flag=True, help="Use the voice even if another model made it."
        ),
    )
    for add in reversed(options):
        run = add(run)
    return cast(_F, run)
