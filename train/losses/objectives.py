"""What each stage minimises, and the heads that it needs beside the codec."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.model.code_search import BAND_EDGES_HZ
from fcs_edge.modelfile.config import SPECTRA_A_TOKEN, CodecConfig
from train.data.batches import Batch
from train.losses.bit_redundancy import redundancy
from train.losses.cepstral import FORMANTS, cosines, discord, formant_discord
from train.losses.spectral import FLOOR, RATE, Resolution, Spectrum, active, difference
from train.model import FocalCodecStream
from train.model.codec import Coded

Losses = dict[str, Tensor]

HOP_HZ = 100
_LOOKS = {
    "mel": Resolution(1024, RATE // HOP_HZ, 100),
    "short": Resolution(256, RATE // HOP_HZ, 24),
    "long": Resolution(2048, RATE // HOP_HZ, 0, 1300.0),
}
"""What features are asked for a hundred times a second: envelope, moment, pitch."""

_SHAPE = 28
"""Cepstral coefficients of the first of these: what is 230 mel wide or wider."""

_INNER = 512
_LOOKS_A_STEP = 2
OF_SOUND = ("mel", "linear", "pitch")
"""Losses of sound alone."""
_USUAL_LOG = -6.0
"""Of a magnitude: where predictions start."""
_USUAL_VARIANCE = 100.0
"""Of all that codes are searched by."""
_FLIPS, _NEAR = 0.5, 0.6
"""Of bits whose latent is 0 as many are flipped at most; what of a usual latent makes it 1/e."""


def agreement(found: Tensor, wanted: Tensor) -> Tensor:
    """Return how far features are from a teacher's: by direction, and by value."""
    apart = 1 - functional.cosine_similarity(found, wanted, dim=-1).mean()
    return apart + 0.5 * functional.smooth_l1_loss(found, wanted, beta=0.5)


class Reader(nn.Module):
    """A small network that tells what features hold; it is dropped after training."""

    def __init__(self, width_in: int, inner: int, width_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width_in),
            nn.Linear(width_in, inner),
            nn.GELU(),
            nn.Linear(inner, width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width_in) to (batch, rows, width_out) float32."""
        y: Tensor = self.layers(x).float()
        return y


class Objective(nn.Module):
    """What all stages ask: that the encoder, and what is decoded, tell what a teacher heard.

    Parameters
    ----------
    config : CodecConfig
        The codec's sizes.
    teacher_width : int
        Columns of the teacher's features.
    follow : bool
        Whether the search's network is to learn what is made of flips: what that takes is not done
        for stages that do not ask.
    """

    def __init__(self, config: CodecConfig, teacher_width: int, follow: bool) -> None:
        super().__init__()
        rows_per_token = config.samples_out_per_token // config.decoder.hop_length
        self.token_width = rows_per_token * config.decompressor.output_dim
        self.heard = nn.Linear(config.encoder.dim, teacher_width)
        self.kept = Reader(self.token_width, _INNER, teacher_width)
        self.echo = Echo.of(config, self.token_width) if follow else None


class Echo(nn.Module):
    """What codes are searched by, told from decoded features.

    Of what the decompressor makes of flips the search's network would else know nothing: it sees
    the codes that were chosen, and what was there. Nothing before it learns from this.

    Parameters
    ----------
    token_width : int
        Of a token's decoded features.
    wide : int
        Of what codes are searched by.
    """

    def __init__(self, token_width: int, wide: int) -> None:
        super().__init__()
        self.reader = Reader(token_width, _INNER, wide)

    @classmethod
    def of(cls, config: CodecConfig, token_width: int) -> Echo | None:
        """Return one for a codec, or None where it does not search."""
        search = config.search
        return cls(token_width, SPECTRA_A_TOKEN * search.orders) if search is not None else None

    def forward(
        self, codec: FocalCodecStream, coded: Coded, rows: Tensor, real: Tensor, known: Tensor
    ) -> Losses:
        """Return how far its reader is from what is there, and the search's network from it.

        That is asked of codes (batch, tokens, bits) of which bits were flipped by chance, those
        rather whose latents are near 0; rows are (batch, tokens, token_width), and what is there
        is as `there` gives it.
        """
        assert codec.search is not None
        told = self.reader(rows.detach())
        with torch.no_grad():
            codes, bits = coded.codes, coded.codes.shape[2]
            rate = _FLIPS * torch.rand(len(codes), 1, 1, device=codes.device)
            chance = rate * torch.exp(-coded.latents.abs() * bits**0.5 / _NEAR)
            flipped = torch.where(torch.rand_like(chance) < chance, -codes, codes)
            decoded = codec.decompressor(flipped).float().reshape(rows.shape)
            wanted = self.reader(decoded)
        everywhere = torch.ones_like(known)
        return {
            "echoed": _apart(told, real, known),
            "followed": _apart(codec.search(flipped), wanted, everywhere),
        }


def there(codec: FocalCodecStream, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what codes are searched by, as it is, and where that is known, (batch, 1, 1)."""
    assert codec.search is not None
    real = codec.search.cepstra(codec.search.heard(batch.wanted, RATE))
    return real, (batch.band_hz >= BAND_EDGES_HZ[1]).float()[:, None, None]


def _apart(found: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    return ((found - wanted).square() * known).sum(2).mean() / _USUAL_VARIANCE


def searched(
    codec: FocalCodecStream,
    coded: Coded,
    batch: Batch,
    rows: Tensor | None = None,
    echo: Echo | None = None,
) -> Losses:
    """Return how far what codes are searched by, and what they tell, are from what is there.

    And how far latents are from the codes that were chosen: where they agree, there is less to
    search; and what `echo` says, where there is one, by rows (batch, tokens, token_width). Nothing
    is returned for a codec that does not search.
    """
    search = codec.search
    if search is None or coded.wanted is None:
        return {}
    real, known = there(codec, batch)
    signs = torch.sign(coded.codes.detach())
    latents = coded.latents * coded.latents.shape[2] ** 0.5
    losses = {
        "sought": _apart(coded.wanted, real, known),
        "found": _apart(search(coded.codes), real, known),
        "agreed": functional.softplus(-signs * latents).mean(),
    }
    if echo is not None and rows is not None:
        losses |= echo(codec, coded, rows, real, known)
    return losses


class Told(nn.Module):
    """What the spectrum is, told from decoded features by a small network that is dropped later.

    It trains what is before it without sound: the spectrum's details arrive at once, where a
    decoder has to learn to speak first.
    """

    cosines: Tensor
    of_formants: Tensor
    there: Tensor

    def __init__(self, token_width: int) -> None:
        super().__init__()
        self.looks = nn.ModuleDict({name: Spectrum(look) for name, look in _LOOKS.items()})
        self.widths = [look.centres.numel() for look in self.looks.values()]
        self.reader = Reader(token_width, _INNER, HOP_HZ // 50 * sum(self.widths))
        nn.init.constant_(self.reader.layers[-1].bias, _USUAL_LOG)
        self.register_buffer("cosines", cosines(self.widths[0], 1, _SHAPE), persistent=False)
        centres = self.looks["mel"].centres
        rows = []
        for part in FORMANTS:
            there = (centres > part.low_hz) & (centres < part.high_hz)
            rows.append(torch.zeros(part.last + 1 - part.first, self.widths[0]))
            rows[-1][:, there] = cosines(int(there.sum()), part.first, part.last)
        self.register_buffer("of_formants", torch.cat(rows), persistent=False)
        there = self.of_formants.any(0).nonzero()[:, 0]
        self.register_buffer("there", there, persistent=False)

    def forward(self, rows: Tensor, batch: Batch) -> Losses:
        """Return how far it is from what is wanted, from rows (batch, frames, token_width)."""
        told = self.reader(rows).reshape(len(rows), -1, sum(self.widths)).transpose(1, 2)
        losses = {}
        for (name, look), found in zip(self.looks.items(), told.split(self.widths, 1), strict=True):
            wanted = look.log(batch.wanted, batch.level)
            trusted = look.trusted(batch.band_hz)
            losses[f"told_{name}"] = difference(found, wanted, trusted)
            if name == "mel":
                known = torch.lerp(wanted, found, trusted)
                energy = torch.exp(2 * wanted)
                counts = active(energy.sum(1, keepdim=True), 2)
                losses["told_shape"] = discord(self.cosines @ known, self.cosines @ wanted, counts)
                counts = active(energy[:, self.there].sum(1, keepdim=True), 2)
                made, real = self.of_formants @ known, self.of_formants @ wanted
                losses["told_formants"] = formant_discord(made, real, counts)
        return losses


class TokenObjective(Objective):
    """Stage 1: tokens from which a teacher's features and the spectrum can be told; no sound."""

    def __init__(self, config: CodecConfig, teacher_width: int, follow: bool) -> None:
        super().__init__(config, teacher_width, follow)
        self.told = Told(self.token_width)

    def forward(self, codec: FocalCodecStream, batch: Batch, quantised: float) -> Losses:
        """Return the losses of a batch, of which so much a share is quantised."""
        coded = codec.encode(batch.heard)
        codes = _mixed(coded, quantised)
        decoded = codec.decompressor(codes).float()
        rows = decoded.reshape(*batch.teacher.shape[:2], -1)
        losses = {
            "heard": agreement(self.heard(coded.features).float(), batch.teacher),
            "kept": agreement(self.kept(rows), batch.teacher),
            "redundancy": redundancy(codes, batch.heard),
        }
        return losses | self.told(rows, batch) | searched(codec, coded, batch, rows, self.echo)


class SoundObjective(Objective):
    """Stages 2 and 3: sound, by its spectra; and what stage 1 asks, if tokens learn.

    Parameters
    ----------
    config : CodecConfig
        The codec's sizes.
    teacher_width : int
        Columns of the teacher's features.
    train_encoder : bool
        Whether tokens are trained too.
    follow : bool
        As of any objective, where they are.
    """

    def __init__(
        self, config: CodecConfig, teacher_width: int, train_encoder: bool, follow: bool
    ) -> None:
        super().__init__(config, teacher_width, train_encoder and follow)
        self.train_encoder = train_encoder
        self.told = Told(self.token_width) if train_encoder else None
        self.looks = nn.ModuleList(
            Spectrum(Resolution(size, hop, bands))
            for size, hop, bands in (
                (2048, 480, 120),
                (1024, 240, 100),
                (512, 120, 64),
                (256, 60, 32),
                (128, 30, 16),
            )
        )
        self.pitch = Spectrum(Resolution(2048, 240, 0, 2000.0))

    def forward(self, codec: FocalCodecStream, batch: Batch) -> tuple[Losses, Tensor]:
        """Return the losses of a batch, and its sound, (batch, samples) float32."""
        losses: Losses = {}
        with torch.set_grad_enabled(self.train_encoder and torch.is_grad_enabled()):
            coded = codec.encode(batch.heard)
        features = codec.decompressor(coded.codes)
        rows = features.float().reshape(*batch.teacher.shape[:2], -1)
        losses["kept"] = agreement(self.kept(rows), batch.teacher)
        if self.told is not None:
            losses["heard"] = agreement(self.heard(coded.features).float(), batch.teacher)
            losses["redundancy"] = redundancy(coded.codes, batch.heard)
            losses |= self.told(rows, batch) | searched(codec, coded, batch, rows, self.echo)
        sound = codec.decoder(features).float()
        losses |= self.spectral(sound, batch)
        return losses, sound

    def spectral(self, sound: Tensor, batch: Batch) -> Losses:
        """Return how far a batch's sound is from what is wanted."""
        mel = linear = torch.zeros((), device=sound.device)
        looks = list(self.looks)
        if self.training:
            # Each step looks in fewer ways, and all of them in turn: spectra are half its cost.
            chosen = torch.randperm(len(looks))[:_LOOKS_A_STEP]
            looks = [looks[i] for i in chosen]
        for look in looks:
            trusted = look.trusted(batch.band_hz)
            with torch.no_grad():
                wanted = look(batch.wanted)
            found = look(sound)
            floor = FLOOR * batch.level[:, None, None]
            mel = mel + difference(torch.log(found + floor), torch.log(wanted + floor), trusted)
            apart = ((found - wanted).abs() * trusted).sum((1, 2))
            linear = linear + (apart / (wanted * trusted).sum((1, 2)).add(floor.flatten())).mean()
        n = len(looks)
        with torch.no_grad():
            wanted = self.pitch.log(batch.wanted, batch.level)
        found = self.pitch.log(sound, batch.level)
        apart = difference(found, wanted, self.pitch.trusted(batch.band_hz))
        return {"mel": mel / n, "linear": linear / n, "pitch": apart}


def _mixed(coded: Coded, quantised: float) -> Tensor:
    """Return codes of so large a share of crops, and latents as they are of the others."""
    if quantised >= 1:
        return coded.codes
    chosen = torch.rand(len(coded.codes), 1, 1, device=coded.codes.device) < quantised
    return torch.where(chosen, coded.codes, coded.latents)
