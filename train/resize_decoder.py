"""Start a stage whose decoder has other sizes: ``python -m train.resize_decoder``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor

from train import config as stages
from train.data.augment import Acoustics
from train.data.batches import Crops
from train.data.corpus import Corpus
from train.engine import initialise
from train.model import FocalCodecStream

_NOISE_SCALE = 0.1
"""Standard deviation of new weights of noise, relative to those of features."""
_BATCHES = 4


def resized(
    tensors: dict[str, Tensor], codec: FocalCodecStream, importance: list[Tensor]
) -> dict[str, Tensor]:
    """Return a decoder's tensors in the sizes of a codec; those of other parts are unchanged.

    Noise columns get small random weights, and samples of the head that overlap get zeros, so that
    the sound is nearly the same. Hidden values of least importance are left out.

    Parameters
    ----------
    tensors : dict of torch.Tensor
        Of a codec with no noise, no overlap and at least as many hidden values.
    codec : FocalCodecStream
        The new codec.
    importance : list of torch.Tensor
        (hidden values,) for each block of the decoder.
    """
    shapes = {name: tensor.shape for name, tensor in codec.state_dict().items()}
    new = dict(tensors)
    name = "decoder.backbone.embedding.weight"
    width_out, width_in, taps = shapes[name]
    noise = torch.randn(width_out, width_in - new[name].shape[1], taps)
    new[name] = torch.cat([new[name], _NOISE_SCALE * new[name].std() * noise], 1)
    for name in ("decoder.head.proj.weight", "decoder.head.proj.bias"):
        zeros = new[name].new_zeros(shapes[name][0] - len(new[name]), *shapes[name][1:])
        new[name] = torch.cat([new[name], zeros])
    for i, values in enumerate(importance):
        block = f"decoder.backbone.layers.{i}"
        count = shapes[f"{block}.pwconv1.bias"][0]
        chosen = values.topk(count).indices.sort().values
        for part in ("pwconv1.weight", "pwconv1.bias"):
            new[f"{block}.{part}"] = new[f"{block}.{part}"][chosen]
        new[f"{block}.pwconv2.weight"] = new[f"{block}.pwconv2.weight"][:, chosen]
    return new


@torch.no_grad()
def hidden_importance(codec: FocalCodecStream, crops: Crops) -> list[Tensor]:
    """Return how much each hidden value of each block adds to its output, on some crops.

    It is the standard deviation of the value times the norm of its column of ``pwconv2``.
    """
    blocks = list(codec.decoder.backbone.layers)
    sums = [torch.zeros(2, block.pwconv2.in_features) for block in blocks]

    def add_to(total: Tensor) -> object:
        def hook(_module: object, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].flatten(0, 1)
            total.add_(torch.stack([rows.mean(0), rows.square().mean(0)]) / _BATCHES)

        return hook

    for block, total in zip(blocks, sums, strict=True):
        block.pwconv2.register_forward_pre_hook(add_to(total))
    codec.eval()
    for i in range(_BATCHES):
        codec(crops.at(i).input)
    deviations = [(square - mean.square()).clamp(min=0).sqrt() for mean, square in sums]
    return [d * b.pwconv2.weight.norm(dim=0) for d, b in zip(deviations, blocks, strict=True)]


@click.command()
@click.argument("start", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("stage", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--corpus", required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--hidden", type=int, required=True, help="Hidden values of a block in START (ffn_dim)."
)
def main(start: Path, stage: Path, out: Path, corpus: Path, hidden: int) -> None:
    """Write START for the decoder of STAGE: noise, overlap, and fewer hidden values."""
    settings = stages.read(stage)
    decoder = replace(settings.model.decoder, ffn_dim=hidden, noise_channels=0, win_length=None)
    former = FocalCodecStream(replace(settings.model, decoder=decoder))
    parts = initialise.read_all((start,), torch.device("cpu"))
    former.load_state_dict(parts["codec"])
    data = settings.data
    shards, share = Corpus(corpus, settings.teacher, data.real_weight, data.weights).now()
    crops = Crops(shards, share, Acoustics(corpus), data.augmentation, data.frames, 8, (1,))
    importance = hidden_importance(former, crops)
    torch.manual_seed(settings.seed)
    codec = FocalCodecStream(settings.model)
    tensors = resized(parts["codec"], codec, importance)
    codec.load_state_dict(tensors)
    others = parts.get("perceptual", {}).get("discriminators", {})
    tensors |= {f"discriminators.{name}": tensor for name, tensor in others.items()}
    save_file({name: t.half().contiguous() for name, t in tensors.items()}, out)
    click.echo(f"{out}: {sum(t.numel() for t in codec.parameters()) / 1e6:.2f} M weights")


if __name__ == "__main__":
    main()
