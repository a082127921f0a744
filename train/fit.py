"""Train one stage: ``python -m train.fit STAGE.toml --corpus DIR --run DIR``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
import torch

from train import config as stages
from train import workers
from train.engine.trainer import Trainer


@click.command()
@click.argument("stage", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--corpus",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A corpus that train.corpus built.",
)
@click.option(
    "--run",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the run: its state, weights and log. A run in it continues.",
)
@click.option(
    "--start",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Start from a .safetensors file, or from best.pt, average.pt or last.pt of another run; "
    "last.pt has discriminators too. Repeat it to replace tensors by those of another file.",
)
@click.option(
    "--minutes",
    type=float,
    default=float("inf"),
    help="Stop after so many minutes; the same command continues.",
)
@click.option(
    "--within",
    type=float,
    help="Train for so many minutes, whatever the stage's steps. "
    "The learning rate follows the clock.",
)
@click.option(
    "--growing", is_flag=True, help="Use shards that are added to the corpus during training."
)
@click.option(
    "--workers",
    "n_workers",
    type=int,
    help="Processes. [default: one for each core, or one on a GPU]",
)
def main(
    stage: Path,
    corpus: Path,
    folder: Path,
    start: tuple[Path, ...],
    minutes: float,
    within: float | None,
    growing: bool,
    n_workers: int | None,
) -> None:
    """Train the stage in the TOML file STAGE, or continue a stopped run."""
    try:
        stages.read(stage)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    spread = within is not None
    until = time.time() + 60 * (within if within is not None else minutes)
    folder.mkdir(parents=True, exist_ok=True)
    if n_workers is None:
        n_workers = 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))
    workers.run(_work, n_workers, folder, stage, corpus, folder, start, growing, until, spread)


def _work(
    index: int,
    stage: Path,
    corpus: Path,
    folder: Path,
    start: tuple[Path, ...],
    growing: bool,
    until: float,
    spread: bool,
) -> None:
    trainer = Trainer(stages.read(stage), corpus, folder, start, growing)
    trainer.run(time.monotonic() + until - time.time(), spread)


if __name__ == "__main__":
    main()
