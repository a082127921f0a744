"""``fcs-edge info``: facts about a model file or a bitstream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fcs_edge.bitstream.reader import BitstreamReader, Damage, End, Tokens, read_batches
from fcs_edge.bitstream.writer import MAGIC
from fcs_edge.cli.options import common_options
from fcs_edge.cli.ui.messages import Messages, Repeated
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError, FcsError, ModelFileError
from fcs_edge.modelfile.catalogue import BUILT_IN, find
from fcs_edge.text import printable

Facts = dict[str, Any]


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in plain units.")
@common_options
def info(file: str, as_json: bool, quiet: bool) -> None:
    """Describe the model or bitstream FILE.

    FILE is a model file, a built-in model's name, or a .fcs bitstream.

    The command verifies the SHA-256 of a model, or each CRC of a bitstream. The exit code is 1
    if one does not match.

    \b
    Examples:
      fcs-edge info speech.fcs
      fcs-edge info edge-65k
    """
    messages = Messages(quiet)
    path = Path(file)
    if _starts_like_bitstream(path):
        facts, problems = _bitstream(path)
    else:
        with spinner(messages, f"Checking {file} ..."):
            facts, problems = _model_facts(file)
    if as_json:
        click.echo(json.dumps(_json(facts, problems), indent=2))
    else:
        _print(file, facts)
    for problem in problems:
        messages.warn(f"{file}: {problem}")
    if problems:
        click.get_current_context().exit(1)


def _json(facts: Facts, problems: list[str]) -> Facts:
    """Return the facts for JSON; the key ``sound`` is an alias of ``intact``."""
    return {**facts, "sound": facts["intact"], "problems": problems}


def _starts_like_bitstream(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _model_facts(file: str) -> tuple[Facts, list[str]]:
    try:
        return _model(file)
    except ModelFileError:
        if Path(file).is_file() and Path(file).suffix != ".safetensors":
            raise FcsError(f"{file}: neither a .fcs bitstream nor a model file") from None
        raise


def _bitstream(path: Path) -> tuple[Facts, list[str]]:
    reader = BitstreamReader()
    problems: list[str] = []
    damage = Repeated(problems.append)
    tokens = lost = 0
    n_samples: int | None = None
    try:
        with path.open("rb") as file:
            for events in read_batches(file, reader):
                for event in events:
                    if isinstance(event, Tokens):
                        tokens += event.tokens.size
                    elif isinstance(event, Damage):
                        lost += event.n_tokens
                        damage.add(event.message)
                    elif isinstance(event, End):
                        n_samples = event.n_samples
    except BitstreamError as error:
        raise BitstreamError(f"{path}: {error}") from None
    damage.close()
    header = reader.header
    assert header is not None  # the reader raises an error without a header
    samples = (tokens + lost) * header.samples_per_token if n_samples is None else n_samples
    seconds = samples / header.input_rate
    size = path.stat().st_size
    payload = tokens * header.bits / 8
    built_in = [n for n in BUILT_IN if find(n).fingerprint == header.fingerprint]
    facts: Facts = {
        "kind": "bitstream",
        "model": built_in[0] if built_in else None,
        "fingerprint": header.fingerprint.hex(),
        "sample_rate_in": header.input_rate,
        "sample_rate_out": header.output_rate,
        "bits_per_token": header.bits,
        "token_rate": header.input_rate / header.samples_per_token,
        "bitrate": header.bits * header.input_rate / header.samples_per_token,
        "seconds": seconds,
        "samples": n_samples,
        "tokens": tokens,
        "tokens_lost": lost,
        "block_tokens": header.block_tokens,
        "bytes": size,
        "overhead": (size - payload) / payload if payload else None,
        "intact": not problems,
    }
    return facts, problems


def _model(name: str) -> tuple[Facts, list[str]]:
    model = find(name)
    codec = Codec(model)
    problems: list[str] = []
    try:
        model.verify()
    except ModelFileError as error:
        problems.append(str(error))
    facts: Facts = {
        "kind": "model",
        "model": model.name,
        "note": BUILT_IN.get(model.name),
        "source": model.source,
        "fingerprint": model.fingerprint.hex(),
        "sha256": model.sha256,
        "weights": model.weights,
        "stored_as": model.scheme,
        "bytes": model.path.stat().st_size,
        "sample_rate_in": codec.sample_rate_in,
        "sample_rate_out": codec.sample_rate_out,
        "bits_per_token": codec.bits_per_token,
        "token_rate": codec.token_rate,
        "bitrate": codec.bitrate,
        "latency": codec.latency,
        "intact": not problems,
    }
    return facts, problems


_UNITS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "kind": ("", str),
    "model": ("", lambda v: v or "none of the built-in models"),
    "note": ("", str),
    "source": ("converted from", str),
    "fingerprint": ("", str),
    "sha256": ("SHA-256", str),
    "weights": ("", lambda v: f"{v / 1e6:.2f} M"),
    "stored_as": ("stored as", str),
    "bytes": ("size", lambda v: f"{v:,} bytes"),
    "sample_rate_in": ("input", lambda v: f"{v} Hz"),
    "sample_rate_out": ("output", lambda v: f"{v} Hz"),
    "bits_per_token": ("bits per token", str),
    "token_rate": ("token rate", lambda v: f"{v:g} Hz"),
    "bitrate": ("", lambda v: f"{v / 1000:.2f} kbps"),
    "latency": ("", lambda v: f"{v * 1000:g} ms"),
    "seconds": ("duration", lambda v: f"{v:.2f} s"),
    "samples": ("input samples", lambda v: "unknown: no end record" if v is None else f"{v:,}"),
    "tokens": ("", "{:,}".format),
    "tokens_lost": ("tokens lost", "{:,}".format),
    "block_tokens": ("tokens a block", str),
    "overhead": ("", lambda v: "" if v is None else f"{v:.2%} of the payload"),
    "intact": ("checks", lambda v: "all pass" if v else "FAILED"),
}
_LABEL = max(len(label or key) for key, (label, _) in _UNITS.items())


def _print(file: str, facts: Facts) -> None:
    """Print a fact a line, without a break in long values, which a reader may copy."""
    click.echo(printable(file))
    for key, value in facts.items():
        if key == "note" and value is None:
            continue
        label, show = _UNITS[key]
        click.echo(f"  {label or key:<{_LABEL}}  {printable(show(value))}")
