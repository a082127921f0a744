"""The ``fcs-edge`` command."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from fcs_edge import __version__
from fcs_edge.cli.bench import bench
from fcs_edge.cli.convert import convert
from fcs_edge.cli.decode import decode
from fcs_edge.cli.demo import demo
from fcs_edge.cli.encode import encode
from fcs_edge.cli.info import info
from fcs_edge.cli.key import key
from fcs_edge.cli.mic import mic
from fcs_edge.cli.receive import receive
from fcs_edge.cli.send import send
from fcs_edge.cli.warmup import warmup
from fcs_edge.errors import FcsError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fcs-edge")
def cli() -> None:
    """Speech at 0.55 to 0.80 kbps: FocalCodec-Stream on one CPU core.

    \b
    Try it:
      fcs-edge demo
      fcs-edge encode speech.wav speech.fcs
      fcs-edge decode speech.fcs decoded.wav
    """


for _command in (convert, encode, decode, info, mic, send, receive, key, demo, bench, warmup):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with 0 for success, 1 for a failure, 2 for a wrong call.

    Where standard output is closed early, the exit code is 1, as under `head`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    code = 1
    try:
        code = cli.main(arguments, "fcs-edge", standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        _print_error("interrupted; no output was written")
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        _print_error(_line(error))
    sys.exit(_finish_output(code))


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
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    return (
        f"internal error, {type(error).__name__}: {error}; run the command again with --debug "
        "and report its output"
    )


def _print_error(text: str) -> None:
    click.echo(f"fcs-edge: error: {' '.join(text.split())}", err=True)
