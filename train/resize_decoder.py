"""Start a stage whose decoder has other sizes: ``python -m train.resize_decoder``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.modelfile.config import CodecConfig, DecoderConfig
from train import config as stages
from train.data.augment import Acoustics
from train.data.batches import Crops
from train.data.corpus import Corpus
from train.engine import initialise
from train.model import FocalCodecStream

_NOISE_SHARE = 0.1
"""Size of the noise in the embedding's output when training starts, relative to the features'."""
_BATCHES = 4
_RIDGE = 1e-3
"""Damping of the fit of a row's continuation, relative to the mean square of its inputs."""


@dataclass
class Statistics:
    """What a decoder computes on some crops.

    Attributes
    ----------
    importance : list of torch.Tensor
        (hidden values,) for each block: the standard deviation of a hidden value times the norm of
        its column of ``pwconv2``.
    rows : torch.Tensor
        (batch, rows, dim), the inputs of the head.
    feature_size, embedded_size : float
        Standard deviations of the features and of the embedding's output.
    """

    importance: list[Tensor]
    rows: Tensor
    feature_size: float
    embedded_size: float


def resized(
    tensors: dict[str, Tensor], codec: FocalCodecStream, statistics: Statistics
) -> dict[str, Tensor]:
    """Return a decoder's tensors in the sizes of a codec; those of other parts are unchanged.

    Noise gets the size of the features, and small random weights. Hidden values of least
    importance are left out. Where the new head overlaps, each row fades in over half of the
    overlap, and the row before it fades out: its continuation is a linear fit of the next row's
    samples.

    Parameters
    ----------
    tensors : dict of torch.Tensor
        Of a codec with no noise, no overlap and at least as many hidden values.
    codec : FocalCodecStream
        The new codec.
    statistics : Statistics
        Of the former decoder.
    """
    shapes = {name: tensor.shape for name, tensor in codec.state_dict().items()}
    new = dict(tensors)
    name = "decoder.backbone.embedding.weight"
    width_out, width_in, taps = shapes[name]
    channels = width_in - new[name].shape[1]
    if channels:
        scale = 2.0 ** round(math.log2(statistics.feature_size))
        new["decoder.noise_scale"] = torch.tensor(scale)
        # Uniform noise in [-scale, scale) has a variance of scale^2 / 3.
        size = _NOISE_SHARE * statistics.embedded_size / scale * (3 / (channels * taps)) ** 0.5
        new[name] = torch.cat([new[name], size * torch.randn(width_out, channels, taps)], 1)
    overlap = shapes["decoder.head.proj.bias"][0] - len(new["decoder.head.proj.bias"])
    if overlap:
        new |= overlapping_head(new, statistics.rows, overlap)
    for i, values in enumerate(statistics.importance):
        block = f"decoder.backbone.layers.{i}"
        count = shapes[f"{block}.pwconv1.bias"][0]
        chosen = values.topk(count).indices.sort().values
        for part in ("pwconv1.weight", "pwconv1.bias"):
            new[f"{block}.{part}"] = new[f"{block}.{part}"][chosen]
        new[f"{block}.pwconv2.weight"] = new[f"{block}.pwconv2.weight"][:, chosen]
    return new


def overlapping_head(tensors: dict[str, Tensor], rows: Tensor, overlap: int) -> dict[str, Tensor]:
    """Return a head whose rows overlap, from one whose rows do not.

    Parameters
    ----------
    tensors : dict of torch.Tensor
        The former head, ``decoder.head.proj.weight`` and ``.bias``.
    rows : torch.Tensor
        (batch, rows, dim), its inputs on some crops.
    overlap : int
        Samples of a row that are added to the next one.
    """
    name = "decoder.head.proj"
    former = torch.cat([tensors[f"{name}.weight"], tensors[f"{name}.bias"][:, None]], 1).double()
    inputs = functional.pad(rows.double(), (0, 1), value=1.0)
    before, after = inputs[:, :-1].flatten(0, 1), inputs[:, 1:].flatten(0, 1)
    length = overlap // 2
    gram = before.T @ before
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    continuation = torch.linalg.solve(gram, before.T @ (after @ former[:length].T)).T
    fade = torch.cos(torch.arange(length) / length * math.pi / 2).double().square()[:, None]
    head = torch.cat([former, former.new_zeros(overlap, former.shape[1])])
    head[:length] *= 1 - fade
    head[len(former) : len(former) + length] = fade * continuation
    return {f"{name}.weight": head[:, :-1].float(), f"{name}.bias": head[:, -1].float()}


@torch.no_grad()
def statistics_of(codec: FocalCodecStream, crops: Crops) -> Statistics:
    """Return the statistics of a codec's decoder on some crops."""
    blocks = list(codec.decoder.backbone.layers)
    moments = [torch.zeros(2, block.pwconv2.in_features) for block in blocks]
    rows: list[Tensor] = []
    sizes: list[Tensor] = []

    def add_to(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            hidden = inputs[0].flatten(0, 1)
            total.add_(torch.stack([hidden.mean(0), hidden.square().mean(0)]) / _BATCHES)

        return hook

    for block, total in zip(blocks, moments, strict=True):
        block.pwconv2.register_forward_pre_hook(add_to(total))
    codec.decoder.head.proj.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0]))
    codec.decoder.backbone.embedding.register_forward_hook(
        lambda _, inputs, output: sizes.append(torch.stack([inputs[0].std(), output.std()]))
    )
    codec.eval()
    for i in range(_BATCHES):
        codec(crops.at(i).input)
    deviations = [(square - mean.square()).clamp(min=0).sqrt() for mean, square in moments]
    norms = [block.pwconv2.weight.norm(dim=0) for block in blocks]
    importance = [d * n for d, n in zip(deviations, norms, strict=True)]
    features, embedded = torch.stack(sizes).mean(0).tolist()
    return Statistics(importance, torch.cat(rows), features, embedded)


def former_codec(tensors: dict[str, Tensor], config: CodecConfig) -> FocalCodecStream:
    """Return a codec with these tensors, whose decoder has no noise and no overlap.

    Raises
    ------
    ValueError
        The tensors are of another codec, or the new decoder has more hidden values.
    """
    decoder = config.decoder
    if not isinstance(decoder, DecoderConfig):
        raise ValueError("the stage's model has another decoder than WaveNeXt")
    bias = tensors.get("decoder.backbone.layers.0.pwconv1.bias")
    hidden = decoder.ffn_dim if bias is None else len(bias)
    if hidden < decoder.ffn_dim:
        raise ValueError(f"the start has {hidden} hidden values, the stage's {decoder.ffn_dim}")
    decoder = replace(decoder, ffn_dim=hidden, noise_channels=0, win_length=None)
    codec = FocalCodecStream(replace(config, decoder=decoder))
    shapes = {name: tensor.shape for name, tensor in codec.state_dict().items()}
    wrong = [n for n, shape in shapes.items() if n not in tensors or tensors[n].shape != shape]
    if wrong:
        raise ValueError(f"the start does not fit the stage's model: {wrong[0]}")
    codec.load_state_dict({name: tensors[name] for name in shapes})
    return codec


@click.command()
@click.argument("start", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("stage", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--corpus", required=True, type=click.Path(exists=True, path_type=Path))
def main(start: Path, stage: Path, out: Path, corpus: Path) -> None:
    """Write START for the decoder of STAGE: noise, overlap, and fewer hidden values."""
    try:
        settings = stages.read(stage)
        parts = initialise.read_all((start,), torch.device("cpu"))
        former = former_codec(parts["codec"], settings.model)
        data = settings.data
        shards, share = Corpus(corpus, settings.teacher, data.real_weight, data.weights).now()
    except (ValueError, SafetensorError) as error:
        raise click.ClickException(str(error)) from None
    crops = Crops(shards, share, Acoustics(corpus), data.augmentation, data.frames, 8, (1,))
    statistics = statistics_of(former, crops)
    torch.manual_seed(settings.seed)
    codec = FocalCodecStream(settings.model)
    tensors = resized(parts["codec"], codec, statistics)
    codec.load_state_dict(tensors)
    others = parts.get("perceptual", {}).get("discriminators", {})
    tensors |= {f"discriminators.{name}": tensor for name, tensor in others.items()}
    save_file({name: t.half().contiguous() for name, t in tensors.items()}, out)
    click.echo(f"{out}: {sum(t.numel() for t in codec.parameters()) / 1e6:.2f} M weights")


if __name__ == "__main__":
    main()
