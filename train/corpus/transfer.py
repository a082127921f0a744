"""Transfer a corpus in small loads, to a machine where training starts before all have arrived.

    python -m train.corpus.transfer pack CORPUS LOADS        writes LOADS/00, LOADS/01, ...
    python -m train.corpus.transfer unpack LOADS CORPUS      there: unpacks each load as it arrives

A shard without a band above 7.6 kHz travels at 16 kHz. The teacher travels with the first load, its
matrices in 8 bits: its features are larger than the audio and are computed again at the other end.
The encoder of the recogniser travels with it.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click
import numpy as np

from train.corpus.pack import pieces, write_loads
from train.corpus.packed_teacher import PackedTeacher
from train.corpus.unpack import unpack_first, unpack_piece

_POLL_SECONDS = 0.2


@click.group()
def main() -> None:
    """Transfer a corpus in small loads."""


@main.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("loads", type=click.Path(file_okay=False, path_type=Path))
@click.option("--mb", default=60.0, show_default=True, help="Most megabytes of a load.")
@click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A model.bin in floats. [default: CORPUS/models/whisper-base/model.bin]",
)
@click.option(
    "--recogniser",
    "--listener",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The model.bin of the recogniser. [default: Whisper tiny.en, from its package]",
)
def pack(
    corpus: Path, loads: Path, mb: float, teacher: Path | None, recogniser: Path | None
) -> None:
    """Pack CORPUS into folders of LOADS: held-out shards first, then the others by turns."""
    if loads.exists() and any(loads.iterdir()):
        raise click.ClickException(f"{loads} is not empty: give a new folder")
    packed = pieces(corpus)
    if not packed:
        raise click.ClickException(f"{corpus}: no shards")
    try:
        n = write_loads(packed, corpus, loads, mb, teacher, recogniser)
    except ValueError as error:
        shutil.rmtree(loads)
        raise click.ClickException(str(error)) from None
    click.echo(f"{len(packed)} pieces of {len({p[0] for p in packed})} shards in {n} loads")


@main.command()
@click.argument("loads", type=click.Path(file_okay=False, path_type=Path))
@click.argument("corpus", type=click.Path(file_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="Unpack the pieces that are present, and end.")
def unpack(loads: Path, corpus: Path, once: bool) -> None:
    """Unpack what arrives in LOADS into CORPUS, each piece once its .json is present."""
    corpus.mkdir(parents=True, exist_ok=True)
    teacher: PackedTeacher | None = None
    done: set[Path] = set()
    random = np.random.default_rng(1)
    while True:
        try:
            teacher = teacher or unpack_first(loads, corpus)
            for path in sorted(set(loads.rglob("*.json")) - done):
                unpack_piece(path, corpus, teacher, random)
                done.add(path)
                click.echo(f"{len(done)} {path.stem}")
        except ValueError as error:
            # A file that is still being copied is complete at a later turn.
            if once:
                raise click.ClickException(str(error)) from None
        if once:
            return
        time.sleep(_POLL_SECONDS)


main.add_command(unpack, "take")

if __name__ == "__main__":
    main()
