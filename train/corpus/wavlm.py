"""WavLM as the teacher, from a folder on disk: ``python -m train.corpus.wavlm CORPUS CHECKPOINT``.

Each shard of a built corpus, held-out ones included, gets NAME.wavlm.npy. A stage whose ``teacher``
is "wavlm" learns from it. The paper's teacher is the sixth layer of
WavLM large (arXiv 2509.16195).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from train.corpus.shard import NARROW_FRAME, NARROW_RATE, save_array
from train.data.pcm import Samples
from train.pretrained.stub_torchaudio import stub_torchaudio
from train.pretrained.whisper import in_windows

with stub_torchaudio():
    from transformers import AutoConfig, AutoFeatureExtractor, WavLMModel
    from transformers.utils import logging

_RECEPTIVE = 400
"""Samples in the receptive field of a row; rows are a frame apart."""


class WavLM:
    """The first layers of a WavLM, frozen.

    Parameters
    ----------
    folder : Path
        A Hugging Face checkpoint: ``config.json``, ``preprocessor_config.json`` and weights.
    layer : int
        Number of transformer layers before the features.

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
        hop, receptive = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            receptive, hop = receptive + (kernel - 1) * hop, hop * stride
        if (hop, receptive, self._prepared.sampling_rate) != (
            NARROW_FRAME,
            _RECEPTIVE,
            NARROW_RATE,
        ):
            raise click.ClickException(f"{folder}: it gives no 50 rows a second of 16 kHz")
        # Later layers are not computed.
        self._model.encoder.layers = self._model.encoder.layers[:layer]
        self._rows: list[torch.Tensor] = []
        # A hook, because a large model normalises the states that it returns once more.
        last = self._model.encoder.layers[-1]
        last.register_forward_hook(lambda module, inputs, outputs: self._rows.append(outputs[0]))

    def features(self, narrow: Samples) -> NDArray[np.float16]:
        """Encode speech in windows of 30 s, 26 s apart, of which the middles are used.

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
        batch = self._prepared(
            narrow.astype(np.float32) / 32768, sampling_rate=NARROW_RATE, return_tensors="pt"
        )
        edge = (_RECEPTIVE - NARROW_FRAME) // 2
        sound = torch.nn.functional.pad(batch.input_values, (edge, edge))
        self._model(sound)
        rows: NDArray[np.float32] = self._rows.pop()[0].numpy()
        return rows


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--layer", type=int, default=6, show_default=True, help="Layer whose features are written."
)
def main(corpus: Path, checkpoint: Path, layer: int) -> None:
    """Write features of the WavLM in CHECKPOINT into CORPUS. Files that exist do not change."""
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
