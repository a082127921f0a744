"""Put weights into a run: ``python -m train.merge_weights RUN/last.pt WEIGHTS.pt NEW_RUN``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from train.engine.trainer import write_atomically


def merged(state: dict[str, Any], weights: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a run's state in which weights replace its own and its averaged ones.

    Optimizers and discriminators do not change. The best held-out loss is forgotten. Where the
    weights add a search that the run did not have, optimizers restart.

    Parameters
    ----------
    state : dict
        A ``last.pt``.
    weights : dict
        A ``best.pt`` or ``average.pt`` of a stage with the same codec.

    Returns
    -------
    state : dict
    changed : int
        Number of tensors that differ from the averaged ones before.

    Raises
    ------
    ValueError
        The codecs differ, or the latents of one are whitened.
    """
    tensors = {f"codec.{name}": tensor for name, tensor in weights["codec"].items()}
    own = {name: t.shape for name, t in state["model"].items() if name.startswith("codec.")}
    new_parts = tensors.keys() - own.keys()
    if own != {name: tensor.shape for name, tensor in tensors.items() if name in own} or any(
        not name.startswith("codec.search.") for name in new_parts
    ):
        raise ValueError("they are of different codecs, or one of them whitens latents")
    probes = {f"objective.{name}": tensor for name, tensor in weights["objective"].items()}
    tensors |= {n: t for n, t in probes.items() if n in state["model"]}
    dropped = {"best_of", "optimizers"} if new_parts else {"best_of"}
    new = {key: value for key, value in state.items() if key not in dropped}
    new |= {part: state[part] | tensors for part in ("model", "average")}
    average = state["average"]
    changed = sum(n not in average or not torch.equal(average[n], t) for n, t in tensors.items())
    return new, changed


@click.command()
@click.argument("last", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", metavar="NEW_RUN", type=click.Path(file_okay=False, path_type=Path))
def main(last: Path, weights: Path, folder: Path) -> None:
    """Start NEW_RUN with the state in LAST and the weights in WEIGHTS."""
    target = folder / "last.pt"
    if target.exists():
        raise click.ClickException(f"{target} exists; name a new folder")
    state, overlay = (
        torch.load(path, map_location="cpu", weights_only=True) for path in (last, weights)
    )
    try:
        state, changed = merged(state, overlay)
    except (KeyError, ValueError) as error:
        raise click.ClickException(f"{weights} does not fit {last}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(target, state)
    click.echo(f"{target}: {changed} tensors of {weights} put into step {state['step']}")


if __name__ == "__main__":
    main()
