"""Write weights as a published checkpoint: ``python -m train.export WEIGHTS.pt STAGE.toml OUT``.

OUT gets ``config.json`` and ``model.safetensors``, which ``fcs-edge convert OUT MODEL`` takes. An
OUT that ends in .safetensors gets the parts that the stage has trained, as float16: what
``python -m train.fit --start OUT`` begins with; with ``--beside``, what has learnt beside the codec
as well, readers and discriminators. ``--half-way`` is for averaged weights that lag behind a rate
that fell, half way to the last ones is an average over a shorter time; and for those that went too
far from where they started; ``--share`` is for any other part of the way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save_file
from torch import Tensor

from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.tensor_layout import tensor_shapes
from train import config as stages
from train.engine import initialise


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("stage", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--half-way",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the mean of WEIGHTS and of those in FILE: the LAST.pt of the same run, as they are, "
    "or the .safetensors that it started from.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="How much of that mean is of WEIGHTS.",
)
@click.option(
    "--beside",
    metavar="LAST.pt",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The state of the same run, of which OUT.safetensors gets readers and discriminators.",
)
def main(
    weights: Path,
    stage: Path,
    out: Path,
    half_way: Path | None,
    share: float,
    beside: Path | None,
) -> None:
    """Write weights as a checkpoint in the published layout, or as a file to start from."""
    settings = stages.read(stage)
    config = settings.model
    state = torch.load(weights, map_location="cpu", weights_only=True)
    if half_way is not None:
        state["codec"] = _mean(state["codec"], _as_they_are(half_way), share)
    if out.suffix == ".safetensors":
        trained = {
            name: tensor.half().contiguous()
            for name, tensor in state["codec"].items()
            if name.split(".")[0] in settings.parts
        }
        if beside is not None:
            trained |= _beside(state, beside)
        save_file(trained, out)
        click.echo(f"{out}: step {state['step']}, {len(trained)} tensors")
        return
    if beside is not None:
        raise click.ClickException(f"{out}: a checkpoint has no readers; name it OUT.safetensors")
    wanted = tensor_shapes(config)
    tensors = {name: state["codec"][name].float().contiguous() for name in wanted}
    wrong = [name for name, shape in wanted.items() if tuple(tensors[name].shape) != shape]
    if wrong:
        raise click.ClickException(f"{weights}: {wrong[0]} does not fit the model of {stage}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config_json.to_dict(config), indent=2) + "\n")
    save_file(tensors, out / "model.safetensors")
    total = sum(t.numel() for t in tensors.values())
    click.echo(f"{out}: step {state['step']}, {total / 1e6:.2f} M weights")


def _as_they_are(last: Path) -> dict[str, Tensor]:
    """Return the codec's weights of a run's state, not averaged; or of a file to start from."""
    if last.suffix == ".safetensors":
        started: dict[str, Tensor] = initialise.read_all((last,), torch.device("cpu"))["codec"]
        return started
    whole = torch.load(last, map_location="cpu", weights_only=True)["whole"]
    codec: dict[str, Tensor] = initialise.by_part(whole)["codec"]
    if any(".whitening." in name for name in codec):
        raise click.ClickException(f"{last}: of a stage that whitens; its weights have no mean")
    return codec


def _beside(state: dict[str, Any], last: Path) -> dict[str, Tensor]:
    """Return readers, averaged, and a run's discriminators, as float16, by names of their own."""
    hearers = torch.load(last, map_location="cpu", weights_only=True)["hearers"]
    parts = {"judges": hearers.get("judges", {})}
    # Readers of a run whose corpus had no teacher's features have learnt nothing.
    readers = state["objective"]
    if all(tensor.numel() for name, tensor in readers.items() if name.endswith("weight")):
        parts["objective"] = readers
    return {
        f"{part}.{name}": tensor.half().contiguous()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
        if tensor.numel()
    }


def _mean(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the mean of weights of the same names, of which so much is the first."""
    if first.keys() != second.keys():
        raise click.ClickException("--half-way is not of the same model as the weights")
    return {name: torch.lerp(second[name], one, share) for name, one in first.items()}


if __name__ == "__main__":
    main()
