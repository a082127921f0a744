"""The ``fcs-edge`` command."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence

import click

from fcs_edge import signals
from fcs_edge.cli import descriptors
from fcs_edge.cli.command_group import CommandGroup
from fcs_edge.cli.memory import shortage
from fcs_edge.cli.ui.messages import print_warning
from fcs_edge.errors import FcsError
from fcs_edge.text import printable

COMMANDS = {
    "bench": "Measure the speed of a model on one core of this machine, or on several.",
    "convert": "Convert the checkpoint SOURCE to the model file OUT.",
    "corpus": "Encode whole corpora of sound to a dataset of tokens, and work with it.",
    "decode": "Decode the tokens IN to the sound OUT.",
    "demo": "Send a clip of speech, or the sound file SOUND, through the codec.",
    "encode": "Encode the sound IN to the bitstream OUT.",
    "export": "Export MODEL to the folder OUT, to run it without Python.",
    "info": "Describe the tokens, model or sound FILE.",
    "join": "Join PACKETS of `fcs-edge split` to the bitstream OUT.",
    "key": "Write a new key, for send --key and receive --key, as two halves.",
    "mic": "Send the microphone through the codec and play the decoded sound, live.",
    "models": "List the models that --model finds by name.",
    "page": "Serve a page that runs a model in a browser, on this machine alone.",
    "prior": "Train what codes tokens in fewer bits, for the speech that you encode.",
    "receive": "Play what `fcs-edge send` sends to this machine.",
    "send": "Send the microphone to another machine, where `fcs-edge receive` plays it.",
    "split": "Split the bitstream FILE into packets of a radio, a file each in OUT_DIR.",
    "voice": "Collect a speaker's features, for decode --voice, mic --voice and receive --voice.",
    "warmup": "Compile the kernels now, so that the first use of a model does not wait.",
}
"""Modules of `fcs_edge.cli`, each with the command of the same name; first lines of their help."""

_NO_ARGUMENTS: type[Exception] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""What a group without its command raises; click below 8.2 prints the help instead."""


@click.group(
    cls=CommandGroup,
    lines=COMMANDS,
    prefix="fcs_edge.cli.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="fcs-edge", prog_name="fcs-edge")
def cli() -> None:
    """Speech at 0.16 to 0.80 kbps: FocalCodec-Stream on one CPU core.

    \b
    Try it:
      fcs-edge demo
      fcs-edge encode speech.wav speech.fcs
      fcs-edge decode speech.fcs decoded.wav
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with 0 for success, 1 for a failure, 2 for a wrong call.

    Where standard output is closed early, the exit code is 1, as under `head`. SIGTERM and SIGHUP
    end the process as they end others, once what is not complete is removed.
    """
    descriptors.open_closed()
    descriptors.be_tolerant()
    descriptors.ignore_forced_colour()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with signals.unwound(), warnings.catch_warnings():
            warnings.showwarning = print_warning
            code = _run(arguments)
    except signals.Terminated as ended:
        name = signal.Signals(ended.number).name
        _print_error(f"ended by {name}; what was not complete is removed")
        signals.end_by(ended.number)
        code = 1
    sys.exit(_finish_output(code))


def _run(arguments: list[str]) -> int:
    """Run the command and report its error; return the exit code."""
    if not arguments:
        # click raises the help as the text of an error.
        context = click.Context(cli, info_name="fcs-edge", **cli.context_settings)
        click.echo(cli.get_help(context), err=True)
        return 2
    try:
        return cli.main(arguments, "fcs-edge", standalone_mode=False) or 0
    except click.UsageError as error:
        if not arguments or isinstance(error, _NO_ARGUMENTS):
            # The error's text is the help, of many lines.
            error.show()
            return 2
        click.UsageError(printable(error.format_message()), error.ctx).show()
        return 2
    except (click.Abort, KeyboardInterrupt) as error:
        # click turns an early end of a file into Abort too. Its first versions name no cause.
        cause = error.__context__ if isinstance(error, click.Abort) else error
        if not isinstance(cause, EOFError):
            remains = "" if cause is None else str(cause)
            _print_error(f"interrupted; {remains or 'no output was written'}")
            # Of a corpus, 1 means that all is done, and some files failed.
            return 130 if arguments[:1] == ["corpus"] else 1
        _report(cause, arguments)
    except Exception as error:
        _report(error, arguments)
    return 1


def _report(error: Exception, arguments: list[str]) -> None:
    if "--debug" in arguments:
        _print_lines("".join(traceback.format_exception(error)))
    _print_error(_line(error))


def _finish_output(code: int) -> int:
    """Flush standard output, and keep the interpreter from flushing it again; return the code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if code == 0 and not isinstance(error, BrokenPipeError):
            _print_error(f"standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _line(error: Exception) -> str:
    if isinstance(error, FcsError):
        return str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror}"
    if short := shortage(error):
        return short
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (
        f"internal error, {type(error).__name__}: {error}; run the command again with --debug "
        "and report its output"
    )


def _print_error(text: str) -> None:
    click.echo(f"fcs-edge: error: {printable(' '.join(text.split()))}", err=True)


def _print_lines(text: str) -> None:
    """Print lines that may quote arguments and names of files."""
    click.echo("\n".join(map(printable, text.splitlines())), err=True)
