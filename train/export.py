"""Write weights as a published checkpoint: ``python -m train.export WEIGHTS.pt STAGE.toml OUT``.

OUT gets ``config.json`` and ``model.safetensors``, which ``fcs-edge convert OUT MODEL`` takes. An
OUT that ends in .safetensors gets the parts that the stage has trained, as float16: what
``python -m train.fit --start OUT`` begins with.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from fcs_edge.layout import tensor_shapes
from train import stage as stages


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("stage", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(weights: Path, stage: Path, out: Path) -> None:
    """Write weights as a checkpoint in the published layout, or as a file to start from."""
    settings = stages.read(stage)
    config = settings.model
    state = torch.load(weights, map_location="cpu", weights_only=True)
    if out.suffix == ".safetensors":
        trained = {
            name: tensor.half().contiguous()
            for name, tensor in state["codec"].items()
            if name.split(".")[0] in settings.parts
        }
        save_file(trained, out)
        click.echo(f"{out}: step {state['step']}, {len(trained)} tensors")
        return
    wanted = tensor_shapes(config)
    tensors = {name: state["codec"][name].float().contiguous() for name in wanted}
    wrong = [name for name, shape in wanted.items() if tuple(tensors[name].shape) != shape]
    if wrong:
        raise click.ClickException(f"{weights}: {wrong[0]} does not fit the model of {stage}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    save_file(tensors, out / "model.safetensors")
    total = sum(t.numel() for t in tensors.values())
    click.echo(f"{out}: step {state['step']}, {total / 1e6:.2f} M weights")


if __name__ == "__main__":
    main()
