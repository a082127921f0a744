"""The table of training losses: what each one compares, what it needs, and where it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a loss is computed from."""

    TOKENS = "tokens"
    """Features, latents, codes or decoded features. No audio is synthesised for it."""
    SPECTRUM = "spectrum"
    """Spectra of the decoded audio. The gradient norm of these losses is the reference."""
    PERCEPTUAL = "perceptual"
    """Decoded audio. Its weight is a share of the reference norm (`gradient_balance`)."""


class Needs(Enum):
    """What a stage must have so that a loss can be computed."""

    SOUND = 'objective = "sound"'
    TRAINED_TOKENS = 'objective = "tokens", or "encoder" in parts'
    SEARCH = "a model with search_config"
    DISCRIMINATORS = "the table [discriminators]"
    RECOGNISER = "the table [recogniser]"
    RECOGNISER_TOKENS = "max_tokens above 0 in [recogniser]"


@dataclass(frozen=True)
class LossSpec:
    """One loss that a stage can weight under ``[losses]``."""

    name: str
    """Its key under ``[losses]``, and its name in the log."""
    kind: Kind
    meaning: str
    """What it compares."""
    needs: tuple[Needs, ...]
    module: str
    """The file in ``train/losses`` that computes it, without suffix."""


_ALWAYS: tuple[Needs, ...] = ()
_TOKENS = (Needs.TRAINED_TOKENS,)
_SEARCH = (Needs.TRAINED_TOKENS, Needs.SEARCH)
_SOUND = (Needs.SOUND,)
_DISCRIMINATORS = (Needs.SOUND, Needs.DISCRIMINATORS)
_RECOGNISER = (Needs.SOUND, Needs.RECOGNISER)

_SPECS = (
    LossSpec(
        "distill_encoder",
        Kind.TOKENS,
        "Teacher features and a linear map of the encoder's features.",
        _TOKENS,
        "distillation",
    ),
    LossSpec(
        "distill_decoded",
        Kind.TOKENS,
        "Teacher features and a probe's prediction of them from decoded features.",
        _ALWAYS,
        "distillation",
    ),
    LossSpec(
        "bit_redundancy",
        Kind.TOKENS,
        "Each bit and all other bits of the same token and of the three tokens before it.",
        _TOKENS,
        "bit_redundancy",
    ),
    LossSpec(
        "search_target",
        Kind.TOKENS,
        "Cepstra that the code search aims at, and cepstra of the clean target audio.",
        _SEARCH,
        "code_search",
    ),
    LossSpec(
        "search_prediction",
        Kind.TOKENS,
        "Cepstra that the code search predicts from codes, and cepstra of the target audio.",
        _SEARCH,
        "code_search",
    ),
    LossSpec(
        "latent_commitment",
        Kind.TOKENS,
        "Latents and the signs of the codes that the search selected.",
        _SEARCH,
        "code_search",
    ),
    LossSpec(
        "flip_teacher",
        Kind.TOKENS,
        "Cepstra that a probe predicts from decoded features, and cepstra of the target audio.",
        _SEARCH,
        "flip_distillation",
    ),
    LossSpec(
        "flip_student",
        Kind.TOKENS,
        "The search's prediction for codes with random bit flips, and that of the flip teacher.",
        _SEARCH,
        "flip_distillation",
    ),
    LossSpec(
        "predict_mel",
        Kind.TOKENS,
        "Log mel spectrum of the target, and a probe's prediction of it from decoded features.",
        _TOKENS,
        "spectrum_probe",
    ),
    LossSpec(
        "predict_shape",
        Kind.TOKENS,
        "Cepstra of the predicted and of the target mel spectrum, by concordance.",
        _TOKENS,
        "spectrum_probe",
    ),
    LossSpec(
        "predict_formants",
        Kind.TOKENS,
        "As predict_shape, over the bands of formants, also smoothed over 0.12 s.",
        _TOKENS,
        "spectrum_probe",
    ),
    LossSpec(
        "predict_short",
        Kind.TOKENS,
        "As predict_mel, in a window of 256 samples with 24 mel bands.",
        _TOKENS,
        "spectrum_probe",
    ),
    LossSpec(
        "predict_long",
        Kind.TOKENS,
        "As predict_mel, in a window of 2048 samples, the bins up to 1.3 kHz (harmonics).",
        _TOKENS,
        "spectrum_probe",
    ),
    LossSpec(
        "mel",
        Kind.SPECTRUM,
        "Log mel spectra of decoded and target audio, two of five resolutions in each step.",
        _SOUND,
        "sound_spectra",
    ),
    LossSpec(
        "linear",
        Kind.SPECTRUM,
        "Magnitudes of the same mel spectra, relative to the target's sum.",
        _SOUND,
        "sound_spectra",
    ),
    LossSpec(
        "pitch",
        Kind.SPECTRUM,
        "Log magnitudes up to 2 kHz in a window of 2048 samples (harmonics).",
        _SOUND,
        "sound_spectra",
    ),
    LossSpec(
        "row_periodicity",
        Kind.PERCEPTUAL,
        "Shares of bands, and of the changes of their levels, that repeat every row and token.",
        _SOUND,
        "row_periodicity",
    ),
    LossSpec(
        "level",
        Kind.PERCEPTUAL,
        "Mean level of the frames that are not silent.",
        _SOUND,
        "level",
    ),
    LossSpec(
        "excess",
        Kind.PERCEPTUAL,
        "Energy in bands where the target has none (hiss above a narrow band).",
        _SOUND,
        "level",
    ),
    LossSpec(
        "adversarial",
        Kind.PERCEPTUAL,
        "Discriminator scores of the decoded audio (hinge loss of the generator).",
        _DISCRIMINATORS,
        "discriminators",
    ),
    LossSpec(
        "feature_matching",
        Kind.PERCEPTUAL,
        "Activations of the discriminators for decoded and target audio.",
        _DISCRIMINATORS,
        "discriminators",
    ),
    LossSpec(
        "whisper_features",
        Kind.PERCEPTUAL,
        "Activations of Whisper's encoder for decoded and target audio.",
        _RECOGNISER,
        "whisper_features",
    ),
    LossSpec(
        "whisper_tokens",
        Kind.PERCEPTUAL,
        "Token probabilities of Whisper's decoder for decoded and target audio.",
        (*_RECOGNISER, Needs.RECOGNISER_TOKENS),
        "whisper_tokens",
    ),
    LossSpec(
        "envelope",
        Kind.PERCEPTUAL,
        "Third-octave envelopes over 0.38 s, by correlation, as STOI and ESTOI do.",
        _SOUND,
        "envelope",
    ),
    LossSpec(
        "cepstra",
        Kind.PERCEPTUAL,
        "Cepstra of decoded and target audio, by concordance of each coefficient.",
        _SOUND,
        "cepstral",
    ),
    LossSpec(
        "formants",
        Kind.PERCEPTUAL,
        "Cepstra over the bands of formants, by concordance of all coefficients together.",
        _SOUND,
        "cepstral",
    ),
    LossSpec(
        "autocorrelation",
        Kind.PERCEPTUAL,
        "Autocorrelations of four bands over periods of 2 to 18 ms, in voiced frames.",
        _SOUND,
        "autocorrelation",
    ),
    LossSpec(
        "loudness",
        Kind.PERCEPTUAL,
        "Loudness in bands of half a Bark, by the disturbances of PESQ (ITU-T P.862).",
        _SOUND,
        "loudness",
    ),
)

LOSSES: dict[str, LossSpec] = {spec.name: spec for spec in _SPECS}
"""Every loss by its name. `train.config` checks stages by this table; the trainer uses it."""

COMPANIONS: dict[Needs, tuple[str, ...]] = {
    Needs.DISCRIMINATORS: ("adversarial", "feature_matching"),
    Needs.RECOGNISER: ("whisper_features",),
    Needs.RECOGNISER_TOKENS: ("whisper_tokens",),
}
"""Losses that must be weighted where a network was configured for them."""


def of_kind(kind: Kind) -> tuple[str, ...]:
    """Return the names of the losses of a kind, in the order of the table."""
    return tuple(name for name, spec in LOSSES.items() if spec.kind is kind)
