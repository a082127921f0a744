"""``fcs-edge models``: the models that have a name."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from fcs_edge.cli.options import common_options
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError
from fcs_edge.modelfile import catalogue, model_file
from fcs_edge.modelfile.catalogue import Named
from fcs_edge.text import printable

Facts = dict[str, Any]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in plain units.")
@common_options
def models(as_json: bool, quiet: bool) -> None:
    """List the models that --model finds by name.

    They are the built-in models and the model files of one folder, whose names have no suffix
    here. That folder is $XDG_DATA_HOME/fcs-edge/models, by default
    ~/.local/share/fcs-edge/models. The command ends with its path.

    FCS_EDGE_MODEL in the environment names the default model.

    \b
    Examples:
      fcs-edge models
      mkdir -p ~/.local/share/fcs-edge/models
      cp 4k.safetensors ~/.local/share/fcs-edge/models/
      fcs-edge encode --model 4k speech.wav speech.fcs
    """
    messages = Messages(quiet)
    default, folder = catalogue.default_model(), catalogue.models_folder()
    found = [_facts(named, default) for named in catalogue.listed()]
    if as_json:
        stated = None if folder is None else str(folder)
        click.echo(json.dumps({"default": default, "folder": stated, "models": found}, indent=2))
    else:
        _print(found)
        if folder is None:
            messages.note("there is no folder of models: neither XDG_DATA_HOME nor HOME is set")
        else:
            messages.note(f"the folder of models is {folder}{_absent(str(folder))}")
    if not any(facts["default"] for facts in found):
        stated = f"the default is {default}, of {catalogue.VARIABLE}"
        if os.path.exists(default):
            messages.note(stated)
        else:
            messages.warn(f"{stated}; there is no such model")
    if folder is not None and folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        messages.warn(f"{folder}: cannot be read")


def _absent(folder: str) -> str:
    return "" if os.path.isdir(folder) else "; it does not exist yet"


def _facts(named: Named, default: str) -> Facts:
    """Return what is known of a model; `problem` says why it cannot be used."""
    facts: Facts = {
        "name": named.name,
        "default": named.name == default and not named.hidden and not os.path.exists(default),
        "built_in": named.built_in,
        "path": str(named.path),
        "bytes": None,
        "bitrate": None,
        "stored_as": None,
        "part": None,
        "fingerprint": None,
        "problem": None,
    }
    if named.hidden:
        return facts | {"problem": "hidden by the built-in model of this name: rename the file"}
    try:
        facts["bytes"] = named.path.stat().st_size
        model = model_file.read(named.path)
        codec = Codec(model)
    except (FcsError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        facts["problem"] = str(reason).removeprefix(f"{named.path}: ")
        return facts
    facts["bitrate"], facts["stored_as"] = codec.bitrate, model.scheme
    facts["fingerprint"], facts["part"] = model.fingerprint.hex(), model.part
    return facts


def _print(found: list[Facts]) -> None:
    rows = [("name", "", "size", "bit rate", "weights", "")]
    for facts in found:
        rate = facts["bitrate"]
        half = f"{facts['part']} half" if facts["part"] else None
        notes = (facts["problem"], half, "default" if facts["default"] else None)
        row = (
            printable(facts["name"]),
            "built in" if facts["built_in"] else "",
            "" if facts["bytes"] is None else f"{facts['bytes'] / 1e6:.1f} MB",
            "" if rate is None else f"{rate / 1000:.2f} kbps",
            facts["stored_as"] or "",
            printable("; ".join(note for note in notes if note)),
        )
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        # The last column has any length.
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
