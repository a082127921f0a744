"""Lay weights over a run: ``python -m train.merge_weights RUN/last.pt WEIGHTS.pt NEW_RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from train.engine.trainer import write_whole


def grafted(state: dict[str, Any], weights: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a run's state with weights laid over its own and its averaged ones.

    Optimizers, discriminators and all else that is not among the weights stay as they were, but for
    the best held-out loss, which is looked for anew. Where weights have parts that the run had not,
    a search for codes, optimizers begin anew, too.

    Parameters
    ----------
    state : dict
        A ``last.pt``.
    weights : dict
        A ``best.pt`` or ``average.pt``: of a stage that trained some parts of the same codec.

    Returns
    -------
    state : dict
    laid : int
        How many tensors differ from the averaged ones before.

    Raises
    ------
    ValueError
        The codec's tensors are not the same in both: of another model, or whitened in one.
    """
    laid = {f"codec.{name}": tensor for name, tensor in weights["codec"].items()}
    own = {name: t.shape for name, t in state["whole"].items() if name.startswith("codec.")}
    new_parts = laid.keys() - own.keys()
    if own != {name: tensor.shape for name, tensor in laid.items() if name in own} or any(
        not name.startswith("codec.search.") for name in new_parts
    ):
        raise ValueError("they are of different codecs, or one of them whitens latents")
    told = {f"objective.{name}": tensor for name, tensor in weights["objective"].items()}
    laid |= {n: t for n, t in told.items() if n in state["whole"]}
    dropped = {"best_of", "optimizers"} if new_parts else {"best_of"}
    new = {key: value for key, value in state.items() if key not in dropped}
    new |= {part: state[part] | laid for part in ("whole", "average")}
    before = state["average"]
    changed = sum(n not in before or not torch.equal(before[n], t) for n, t in laid.items())
    return new, changed


@click.command()
@click.argument("last", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", metavar="NEW_RUN", type=click.Path(file_okay=False, path_type=Path))
def main(last: Path, weights: Path, folder: Path) -> None:
    """Begin NEW_RUN with the state in LAST and the weights in WEIGHTS."""
    target = folder / "last.pt"
    if target.exists():
        raise click.ClickException(f"{target} is there already: name a new folder")
    state, overlay = (
        torch.load(path, map_location="cpu", weights_only=True) for path in (last, weights)
    )
    try:
        state, changed = grafted(state, overlay)
    except (KeyError, ValueError) as error:
        raise click.ClickException(f"{weights} does not fit {last}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(target, state)
    click.echo(f"{target}: {changed} tensors of {weights} laid over step {state['step']}")


if __name__ == "__main__":
    main()
