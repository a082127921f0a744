"""Write weights as a published checkpoint: ``python -m train.export WEIGHTS.pt STAGE.toml OUT``.

OUT gets ``config.json`` and ``model.safetensors``, for ``fcs-edge convert OUT MODEL``. An OUT that
ends in .safetensors gets the trained parts of the stage as float16, for
``python -m train.fit --start OUT``. With ``--beside`` it gets probes and discriminators too.

``--half-way`` blends two sets of weights. Blended with the last weights of the run, an average
covers fewer steps. Blended with the weights that the run started from, it changes less.
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
from train.model.decoder import scaled_features


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("stage", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--half-way",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Blend WEIGHTS with the weights in FILE: the last.pt of the same run, "
    "or the .safetensors file that it started from.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of WEIGHTS in that blend.",
)
@click.option(
    "--beside",
    metavar="LAST.pt",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="State of the same run, for the probes and discriminators in OUT.safetensors.",
)
def main(
    weights: Path,
    stage: Path,
    out: Path,
    half_way: Path | None,
    share: float,
    beside: Path | None,
) -> None:
    """Write WEIGHTS as a checkpoint in the published layout, or as a file to start from."""
    settings = _read(stage)
    config = settings.model
    state = torch.load(weights, map_location="cpu", weights_only=True)
    if half_way is not None:
        state["codec"] = _blend(state["codec"], _other_weights(half_way), share)
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
        raise click.ClickException(f"{out}: a checkpoint has no probes; name it OUT.safetensors")
    shapes = tensor_shapes(config)
    codec = scaled_features(state["codec"])
    tensors = {name: codec[name].float().contiguous() for name in shapes}
    wrong = [name for name, shape in shapes.items() if tuple(tensors[name].shape) != shape]
    if wrong:
        raise click.ClickException(f"{weights}: {wrong[0]} does not fit the model of {stage}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config_json.to_dict(config), indent=2) + "\n")
    save_file(tensors, out / "model.safetensors")
    total = sum(t.numel() for t in tensors.values())
    click.echo(f"{out}: step {state['step']}, {total / 1e6:.2f} M weights")


def _read(stage: Path) -> stages.TrainingStage:
    try:
        return stages.read(stage)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _other_weights(last: Path) -> dict[str, Tensor]:
    """Return the codec's weights in a run's state, not averaged, or in a file to start from."""
    if last.suffix == ".safetensors":
        started: dict[str, Tensor] = initialise.read_all((last,), torch.device("cpu"))["codec"]
        return started
    model = torch.load(last, map_location="cpu", weights_only=True)["model"]
    codec: dict[str, Tensor] = initialise.by_part(model)["codec"]
    if any(".whitening." in name for name in codec):
        raise click.ClickException(
            f"{last}: of a stage that whitens; its weights cannot be blended"
        )
    return codec


def _beside(state: dict[str, Any], last: Path) -> dict[str, Tensor]:
    """Return averaged probes and a run's discriminators as float16, named by their part."""
    perceptual = torch.load(last, map_location="cpu", weights_only=True)["perceptual"]
    parts = {"discriminators": perceptual.get("discriminators", {})}
    # Probes of a run without teacher features are empty.
    probes = state["objective"]
    if all(tensor.numel() for name, tensor in probes.items() if name.endswith("weight")):
        parts["objective"] = probes
    return {
        f"{part}.{name}": tensor.half().contiguous()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
        if tensor.numel()
    }


def _blend(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return share * first + (1 - share) * second, by name."""
    if first.keys() != second.keys():
        raise click.ClickException("--half-way has weights of another model")
    return {name: torch.lerp(second[name], one, share) for name, one in first.items()}


if __name__ == "__main__":
    main()
