"""``fcs-edge info``: facts about tokens, a model or a sound file."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from fcs_edge.bitstream.cell_layout import MAGIC as PROTECTED_MAGIC
from fcs_edge.bitstream.header import MAGIC
from fcs_edge.cli import bitstream_facts, file_facts
from fcs_edge.cli.bitstream_facts import Record
from fcs_edge.cli.file_facts import Found
from fcs_edge.cli.options import common_options
from fcs_edge.cli.output_files import check_input
from fcs_edge.cli.token_copy import open_file
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.errors import FcsError, ModelFileError
from fcs_edge.modelfile.facts import Facts
from fcs_edge.stand_ins import HEAD_BYTES, stand_in
from fcs_edge.text import counted, printable

_NPY, _ZIP = b"\x93NUMPY", b"PK\3\4"
_FILES = (".fcs", ".npy", ".npz", ".wav", ".flac", ".ogg", ".mp3", ".voice")
"""Suffixes that no model's name has."""
_CHECKPOINTS = (".pt", ".pth", ".bin", ".ckpt")
_NO_BITSTREAMS = (".npy", ".npz", ".safetensors")


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in plain units.")
@click.option("--records", "by_record", is_flag=True, help="List the records of a bitstream.")
@common_options
def info(file: str, as_json: bool, by_record: bool, quiet: bool) -> None:
    """Describe the tokens, model or sound FILE.

    FILE is a .fcs bitstream, or - for one on standard input. It may also be an .npz or .npy of
    tokens, a model file, a model's name, a voice, or a sound file.

    The command verifies the SHA-256 of a model, and each CRC of a bitstream or .npz. The exit
    code is 1 if one does not match.

    --records prints a line a record: offset and size in bytes, position and number of tokens,
    coding, and whether its CRC holds. Bytes of no whole record are a line too.

    \b
    Examples:
      fcs-edge info speech.fcs
      fcs-edge info --records speech.fcs
      fcs-edge info edge-65k
    """
    messages = Messages(quiet)
    if by_record:
        click.get_current_context().exit(_list_records(file, as_json, messages))
    with spinner(messages, f"Checking {file} ..."):
        facts, problems = _found(file)
    if as_json:
        click.echo(json.dumps(_json(facts, problems), indent=2))
    else:
        _print(file, facts)
    for remark in facts.get("remarks", ()):
        messages.warn(f"{file}: {remark}")
    if facts["kind"] == "sound":
        messages.note(f"encode it: fcs-edge encode {shlex.quote(file)} speech.fcs")
    for problem in problems:
        messages.warn(f"{file}: {problem}")
    if problems:
        click.get_current_context().exit(1)


def _list_records(file: str, as_json: bool, messages: Messages) -> int:
    """Print the records of a bitstream; return the exit code."""
    if Path(file).suffix.lower() in _NO_BITSTREAMS:
        raise click.UsageError("--records is for a bitstream only.")
    check_input(file)
    opened = sys.stdin.buffer if file == "-" else open_file(file)
    label = "standard input" if file == "-" else file
    with nullcontext(opened) if file == "-" else opened:
        found = bitstream_facts.RecordList(opened, label)
        if as_json:
            click.echo(json.dumps([record._asdict() for record in found], indent=2))
        else:
            for number, record in enumerate(found):
                if number == 0:
                    click.echo(_ROW.format(*_COLUMNS))
                click.echo(_row(record))
    for problem in found.problems:
        messages.warn(f"{label}: {problem}")
    return 1 if found.problems else 0


_COLUMNS = ("offset", "type", "size", "position", "tokens", "check", "coding")
_ROW = "{:>10}  {:9} {:>6} {:>9} {:>6}  {:6}  {}"


def _row(record: Record) -> str:
    values = (record.position, record.tokens)
    place = ("-" if value is None else str(value) for value in values)
    check = "ok" if record.intact else "FAILED"
    return _ROW.format(record.offset, record.kind, record.size, *place, check, record.coding or "-")


def _json(facts: Facts, problems: list[str]) -> Facts:
    """Return the facts for JSON; the key ``sound`` is an alias of ``intact``."""
    return {**facts, "sound": facts["intact"], "problems": problems}


def _found(file: str) -> Found:
    """Return what a file holds, by its first bytes and its suffix."""
    path = Path(file)
    suffix = path.suffix.lower()
    if file == "-":
        return bitstream_facts.bitstream(sys.stdin.buffer, "standard input")
    if not os.path.exists(file) and suffix in _FILES:
        raise FcsError(f"{file}: no such file")
    if (path / "dataset.json").is_file():
        raise FcsError(f"{file}: is a dataset of tokens; use fcs-edge corpus stats {file}")
    if not os.path.exists(file) or path.is_dir():
        return file_facts.model(file)
    with path.open("rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            return bitstream_facts.bitstream(opened, file)
        head = opened.read(HEAD_BYTES)
        if head.startswith((MAGIC, PROTECTED_MAGIC)) or suffix == ".fcs":
            opened.seek(0)
            return bitstream_facts.bitstream(opened, file)
    if what := stand_in(head, "tokens, weights or sound"):
        raise FcsError(f"{file}: {what}")
    if head.startswith(_ZIP) and suffix in _CHECKPOINTS:
        raise FcsError(f"{file}: a PyTorch checkpoint; convert its folder with fcs-edge convert")
    if head.startswith(_NPY) or suffix == ".npy":
        return file_facts.npy(path)
    if head.startswith(_ZIP) or suffix == ".npz":
        return file_facts.npz(path)
    if suffix == ".voice":
        return file_facts.voice(path)
    try:
        return file_facts.model(file)
    except ModelFileError:
        if suffix == ".safetensors":
            raise
    return file_facts.sound(file)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _rates(rates: dict[str, float | None]) -> str:
    kbps = [f"{name} {rate / 1000:.2f}" for name, rate in rates.items() if rate is not None]
    return f"{', '.join(kbps)} kbps" if kbps else ""


def _prior(prior: dict[str, Any] | None) -> str:
    if prior is None:
        return "none"
    return (
        f"{prior['check']}, {'known' if prior['known'] else 'not in a model that has a name'} here"
    )


def _protection(facts: dict[str, Any]) -> str:
    where = f"{counted(facts['groups'], 'group')}, {counted(facts['cells'], 'cell')}"
    lost = counted(facts["lost_cells"], "cell")
    return (
        f"{facts['share']:.1%} more bytes in {where} of {facts['cell_bytes']} bytes; "
        f"{counted(facts['corrected'], 'byte')} corrected, {lost} missing"
    )


_UNITS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "kind": ("", str),
    "model": ("", lambda v: v or "unknown; fcs-edge models lists the known ones"),
    "note": ("", str),
    "source": ("converted from", str),
    "fingerprint": ("", str),
    "sha256": ("SHA-256", str),
    "weights": ("", lambda v: f"{v / 1e6:.2f} M"),
    "part": ("", lambda v: f"the {v} half of the model"),
    "stored_as": ("stored as", str),
    "settings": (
        "",
        lambda v: ", ".join(f"{key} {value}" for key, value in v.items()) or "not stated",
    ),
    "bytes": ("size", lambda v: f"{v:,} bytes"),
    "bytes_skipped": ("bytes skipped", "{:,}".format),
    "sample_rate_in": ("input", lambda v: f"{v} Hz"),
    "sample_rate_out": ("output", lambda v: f"{v} Hz"),
    "bits_per_token": ("bits per token", str),
    "token_rate": ("token rate", lambda v: f"{v:g} Hz"),
    "bitrate": ("raw bitrate", lambda v: f"{v / 1000:.2f} kbps"),
    "latency": ("", lambda v: "the whole signal" if v is None else f"{v * 1000:g} ms"),
    "causal": ("", _yes),
    "encodes_streams": ("encodes streams", _yes),
    "decodes_streams": ("decodes streams", _yes),
    "chunk_size": ("chunk", lambda v: f"{v} samples"),
    "chunk_tokens": ("tokens per chunk", str),
    "samples_per_token": ("samples per token", str),
    "samples_out_per_token": ("output samples", lambda v: f"{v} per token"),
    "seconds": ("duration", lambda v: "unknown" if v is None else f"{v:.2f} s"),
    "samples": ("input samples", lambda v: "unknown: no end record" if v is None else f"{v:,}"),
    "tokens": ("", "{:,}".format),
    "dtype": ("stored as", str),
    "lowest": ("lowest token", str),
    "highest": ("highest token", str),
    "sample_rate": ("sample rate", lambda v: f"{v} Hz"),
    "channels": ("", str),
    "rows": ("", "{:,}".format),
    "width": ("values of a row", str),
    "from_stage": ("features of", lambda v: f"the {v}"),
    "tokens_lost": ("tokens lost", "{:,}".format),
    "pauses": ("", lambda v: "none" if not v else f"{v:.0%} of the tokens"),
    "blocks": ("", lambda v: ", ".join(f"{n:,} {coding}" for coding, n in v.items()) or "none"),
    "stored_bits": ("bits a token", lambda v: "" if v is None else f"{v:.2f} as stored"),
    "overhead": ("", lambda v: "" if v is None else f"{v:.2%} of the payload"),
    "rates": ("rate", _rates),
    "parts": ("", str),
    "prior": ("", _prior),
    "priors": ("", lambda v: ", ".join(v) or "none"),
    "metadata": ("", lambda v: "; ".join(f"{key}: {value}" for key, value in v.items()) or "none"),
    "protection": ("protected", _protection),
    "intact": ("checks", lambda v: "all pass" if v else "FAILED"),
}
_OPTIONAL = ("note", "protection", "part", "encodes_streams", "decodes_streams")
"""Facts that are shown where there is something to say."""
_OF_CHUNKS = ("latency", "chunk_size", "chunk_tokens")
"""Facts that a model which needs the whole sound has in JSON only."""
_LABEL = max(len(label or key) for key, (label, _) in _UNITS.items())


def _print(file: str, facts: Facts) -> None:
    """Print a fact a line, without a break in long values, which a reader may copy."""
    click.echo(printable(file))
    further = facts.get("further_parts", [])
    for number, part in enumerate([facts, *further], 1):
        if number > 1:
            click.echo(f"part {number} of {facts['parts']}")
        _print_facts(part)


def _print_facts(facts: Facts) -> None:
    for key, value in facts.items():
        if (key in _OPTIONAL and value is None) or key in ("remarks", "further_parts"):
            continue
        if key in _OF_CHUNKS and "latency" in facts and facts["latency"] is None:
            continue
        if key == "metadata":
            # Windows are shown as settings, in seconds.
            value = {k: v for k, v in value.items() if k not in facts["settings"]}
        label, show = _UNITS[key]
        click.echo(f"  {label or key:<{_LABEL}}  {printable(show(value))}")
