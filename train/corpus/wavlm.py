"""WavLM as the teacher, from a folder on disk: ``python -m train.corpus.wavlm CORPUS CHECKPOINT``.

Each shard of a built corpus, held-out ones included, gets NAME.wavlm.npy beside what Whisper heard;
a stage whose ``teacher`` is "wavlm" learns from that. The paper's teacher is the sixth layer of
WavLM large (arXiv 2509.16195).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from train.data.pcm import Samples
from train.pretrained.stub_torchaudio import without_torchaudio
from train.pretrained.whisper import in_windows

from .shard import NARROW_FRAME, NARROW_RATE, save_array

with without_torchaudio():
    from transformers import AutoConfig, AutoFeatureExtractor, WavLMModel
    from transformers.utils import logging

_SEEN = 400
"""Samples that a row is made from; rows are a frame apart."""


class WavLM:
    """The first layers of a WavLM, frozen.

    Parameters
    ----------
    folder : Path
        With ``config.json``, ``preprocessor_config.json`` and the weights, as Hugging Face has
        them.
    layer : int
        After how many transformer layers features are taken.

    Raises
    ------
    click.ClickException
        The folder holds no WavLM, or one of other rates or of fewer layers.
    """

    def __init__(self, folder: Path, layer: int) -> None:
        logging.disable_progress_bar()
        try:
            kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
            if kind != "wavlm":
                raise click.ClickException(f"{folder}: {kind}, not wavlm")
            self._prepared = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            self._model: Any = WavLMModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{folder}: {str(error).splitlines()[0]}") from None
        config = self._model.config
        if not 1 <= layer <= config.num_hidden_layers:
            most = config.num_hidden_layers
            raise click.ClickException(f"{folder}: it has layers 1 to {most}, not {layer}")
        hop, seen = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            seen, hop = seen + (kernel - 1) * hop, hop * stride
        if (hop, seen, self._prepared.sampling_rate) != (NARROW_FRAME, _SEEN, NARROW_RATE):
            raise click.ClickException(f"{folder}: it gives no 50 rows a second of 16 kHz")
        # Those above are not asked.
        self._model.encoder.layers = self._model.encoder.layers[:layer]
        self._rows: list[torch.Tensor] = []
        # Taken there, and not from what it returns: a large one normalises that once more.
        last = self._model.encoder.layers[-1]
        last.register_forward_hook(lambda module, given, found: self._rows.append(found[0]))

    def features(self, narrow: Samples) -> NDArray[np.float16]:
        """Encode speech in windows of 30 s, 26 s apart, of which the middles are kept.

        Parameters
        ----------
        narrow : ndarray of int16, shape (320 * frames,)
            16 kHz.

        Returns
        -------
        ndarray of float16, shape (frames, width)
            Row i is about samples 320 i to 320 i + 319.
        """
        width = self._model.config.hidden_size
        return in_windows(narrow, NARROW_FRAME, width, lambda parts: map(self._encode, parts))

    @torch.no_grad()
    def _encode(self, narrow: Samples) -> NDArray[np.float32]:
        given = self._prepared(
            narrow.astype(np.float32) / 32768, sampling_rate=NARROW_RATE, return_tensors="pt"
        )
        edge = (_SEEN - NARROW_FRAME) // 2
        sound = torch.nn.functional.pad(given.input_values, (edge, edge))
        self._model(sound)
        rows: NDArray[np.float32] = self._rows.pop()[0].numpy()
        return rows


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--layer", type=int, default=6, show_default=True, help="Whose features are taken.")
def main(corpus: Path, checkpoint: Path, layer: int) -> None:
    """Write what a WavLM in the folder CHECKPOINT hears in CORPUS; what is there already stays."""
    paths = sorted(p for p in corpus.rglob("*.json") if p.with_suffix(".16k.npy").exists())
    if not paths:
        raise click.ClickException(f"{corpus}: no shards; build them with python -m train.corpus")
    teacher = WavLM(checkpoint, layer)
    for path in paths:
        out = path.with_suffix(".wavlm.npy")
        if not out.exists():
            save_array(out, teacher.features(np.load(path.with_suffix(".16k.npy"), mmap_mode="r")))
            click.echo(str(out))


if __name__ == "__main__":
    main()
