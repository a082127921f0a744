"""A sound that is being read, and what is odd or missing in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fcs_edge.audio.chunk_list import holds_another_sound
from fcs_edge.audio.full_scale import beyond_full_scale, not_finite, peak_of
from fcs_edge.audio.header import SoundHeader
from fcs_edge.audio.resampling import DEFAULT_RESAMPLER, check_resampler, open_resampler
from fcs_edge.audio.sinc import SincResampler
from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32

Channel: TypeAlias = int | Literal["mean"]
"""The channel to read, from 1, or the mean of all."""

MIN_RATE, MAX_RATE = 1000, 1_000_000
PIPE_BYTES = 1 << 16
"""Bytes that are read from a pipe at once, at most."""

FILE_SECONDS = 1.0
"""Sound that is read from a file at once."""

BLOCK_SAMPLES = 1 << 20
"""Samples of all channels in a block, at most: a header may state any rate and channels."""

REST_BYTES = 1 << 20
"""Bytes after a sound that are searched for another one."""

ANOTHER = "holds another sound after the first one; only the first is read"

_CANCELLED = 100.0
"""Energy of the louder channel over that of the mean: 20 dB."""


class CannotSeekError(Exception):
    """A decoder does not find a sample of a file that is damaged; reading in order may."""


@dataclass
class AudioInput:
    """A sound that is being read.

    What is odd and what is missing is complete once the blocks are read to their end.
    """

    label: str
    """The file's path, or ``standard input``."""
    rate: int
    channels: int
    seconds: float | None
    """Duration, where it is known in advance."""
    channel: Channel
    """The channel that is read, from 1, or the mean of all."""
    strict: bool
    """Whether missing sound is an error."""
    resampler: str = DEFAULT_RESAMPLER
    """What brings it to another rate: one of `RESAMPLERS`."""
    blocks: Iterator[F32] = field(default_factory=lambda: iter(()))
    """(n,) float32, one channel or the mean."""
    n_not_finite: int = 0
    """Samples so far that were NaN or infinite; they are read as 0."""
    peak: float = 0.0
    """Largest magnitude so far."""
    losses: list[str] = field(default_factory=list)
    """What sound is missing, a line each."""
    cut_bytes: tuple[int, int] | None = None
    """Of stored samples that end too early: the bytes that are there, and those that should be."""
    printed: list[str] = field(default_factory=list)
    """Lines that the decoder printed so far."""
    all_channels: Iterator[F32] = field(default_factory=lambda: iter(()))
    """(n, channels) float32: what `blocks` are read from."""
    seek: Callable[[int], Iterator[F32]] | None = None
    """Returns `all_channels` from a sample on, or raises `CannotSeekError`; None where such a
    seek is not exact."""
    is_stored: bool = False
    """Whether the samples are stored as they are: no decoder has a state."""
    _remarks: list[str] = field(default_factory=list)
    _energies: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _mean_energy: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """What is odd but loses no sound, a line each."""
        lines = list(self._remarks)
        if line := not_finite(self.n_not_finite):
            lines.append(line)
        if self._energies.size and self._energies.max() > _CANCELLED * self._mean_energy:
            lines.append(
                f"the mean of the {self.channels} channels has {self._lost_energy()} less energy "
                "than the louder channel: choose one, as with --channel 1"
            )
        if line := beyond_full_scale(self.peak):
            lines.append(line)
        return lines

    def at_rate(self, rate: int) -> Iterator[F32]:
        """Yield the blocks, finite and resampled to `rate`, (n,) float32."""
        if self.rate == rate:
            yield from self._finite()
            return
        if self.resampler == "torchaudio" and self.channel == "mean" and self.channels > 1:
            yield from self._mean_of_resampled(rate)
            return
        stream = open_resampler(self.rate, rate, self.resampler)
        for block in self._finite():
            yield stream.push(block)
        yield stream.flush()

    def remark(self, text: str) -> None:
        """Note what is odd but loses no sound."""
        self._remarks.append(f"{self.label}: {text}")

    def lose(self, text: str) -> None:
        """Note that sound is missing; of a strict input, raise AudioError."""
        if self.strict:
            raise AudioError(f"{self.label}: {text}")
        self.losses.append(f"{self.label}: {text}")

    def check_rest(self, header: SoundHeader, n_bytes: int, first: bytes) -> None:
        """Note what stands after the sound that a header states.

        Parameters
        ----------
        header : SoundHeader
            The header.
        n_bytes : int
            The bytes after the sound and its padding.
        first : bytes
            The first of them.
        """
        if holds_another_sound(first, header.form):
            self.lose(ANOTHER)
        elif line := header.beyond(n_bytes, first):
            self.remark(line)

    def check_end(
        self, n: int, stated: int | None, reason: str | None, problem: str | None
    ) -> None:
        """Note whether a decoder stopped before the input's end.

        Parameters
        ----------
        n, stated : int
            Samples of each channel that were decoded, and that the header states.
        reason : str or None
            Why the decoder stopped.
        problem : str or None
            What is wrong with the end of the file.
        """
        why = f" ({reason})" if reason else ""
        if stated is not None and n < stated:
            missing = duration((stated - n) / self.rate)
            self.lose(f"ends {missing} before its header says{why}")
        elif stated is not None:
            # What stopped the decoder stands after the sound: a tag of another format, or junk.
            if problem:
                self.lose(problem)
        elif reason:
            self.lose(f"is damaged after {n / self.rate:.2f} s{why}")
        elif problem:
            self.lose(problem)

    def part(self, seconds: float | None) -> AudioInput:
        """Return an input for a part of this sound, without blocks.

        What was odd about the whole before a block was read holds for the part too.
        """
        how = self.channel, self.strict, self.resampler
        part = AudioInput(self.label, self.rate, self.channels, seconds, *how)
        part._remarks += self._remarks
        return part

    def require_sound(self, n_samples: int) -> None:
        """Raise AudioError where no sample was read."""
        if not n_samples:
            why = "".join(loss.replace(f"{self.label}: ", "; it ", 1) for loss in self.losses)
            raise AudioError(f"{self.label}: holds no sound{why}")

    def read(self, blocks: Iterable[F32]) -> None:
        """Read from blocks of (n, channels) float32."""
        self.all_channels = iter(blocks)
        self.blocks = map(self._one_channel, self.all_channels)

    def _one_channel(self, block: F32) -> F32:
        if self.channel != "mean" or block.shape[1] == 1:
            return np.ascontiguousarray(block[:, 0 if self.channel == "mean" else self.channel - 1])
        total = np.zeros(block.shape[0])
        energies = np.zeros(block.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            for i in range(block.shape[1]):
                column = block[:, i].astype(np.float64)
                total += column
                energies[i] = np.einsum("i,i->", column, column)
            total /= block.shape[1]
            mean: F32 = total.astype(np.float32)
            energy = np.einsum("i,i->", total, total)
        # A sample that is not finite counts as 0 later, and has no energy.
        if np.isfinite(energies).all() and np.isfinite(energy):
            self._energies = energies + (self._energies if self._energies.size else 0.0)
            self._mean_energy += float(energy)
        return mean

    def _lost_energy(self) -> str:
        ratio = self._energies.max() / max(self._mean_energy, 1e-20)
        return f"{10 * np.log10(ratio):.0f} dB" if ratio < 1e10 else "over 100 dB"

    def _finite(self) -> Iterator[F32]:
        for block in self.blocks:
            finite = self._count(block)
            yield block if finite.all() else np.where(finite, block, np.float32(0))

    def _mean_of_resampled(self, rate: int) -> Iterator[F32]:
        """Yield the mean of the channels, each resampled alone: torchaudio's order."""
        resampler = SincResampler(self.rate, rate, self.channels)
        for block in self.all_channels:
            finite = self._count(self._one_channel(block))
            channels = block if finite.all() else np.where(finite[:, None], block, np.float32(0))
            yield _mean(resampler.push(np.ascontiguousarray(channels.T)))
        yield _mean(resampler.flush())

    def _count(self, samples: F32) -> NDArray[np.bool_]:
        """Count samples that are not finite, note the peak of the others, and say which they are.

        A resampler spreads one NaN over the length of its filter.
        """
        finite = np.isfinite(samples)
        self.n_not_finite += int(finite.size - finite.sum())
        self.peak = max(self.peak, peak_of(samples))
        return finite


def _mean(channels: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):
        mean: F32 = channels.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


@dataclass(frozen=True)
class Request:
    """What the caller asks for."""

    path: str
    channel: Channel
    strict: bool
    resampler: str = DEFAULT_RESAMPLER

    def __post_init__(self) -> None:
        """Refuse a resampler that is not there, and a channel that no sound has."""
        check_resampler(self.resampler)
        if isinstance(self.channel, str) and self.channel == "mean":
            return
        # An integer of NumPy is one too, True is none.
        is_number = hasattr(self.channel, "__index__") and not isinstance(self.channel, bool)
        if not is_number or self.channel < 1:
            raise ValueError(f"a channel is a number from 1, or 'mean'; not {self.channel!r}")

    @property
    def label(self) -> str:
        """The name of the input in messages."""
        return "standard input" if self.path == "-" else self.path

    def input(self, rate: int, channels: int, seconds: float | None) -> AudioInput:
        """Return an input without blocks; refuse a rate or a channel that cannot be."""
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError(
                f"{self.label}: a sample rate of {rate} Hz is not supported; "
                f"{MIN_RATE} to {MAX_RATE} are"
            )
        if self.channel != "mean" and self.channel > channels:
            has = "has 1 channel" if channels == 1 else f"has {channels} channels"
            raise AudioError(f"{self.label}: {has}; there is no channel {self.channel}")
        how = self.channel, self.strict, self.resampler
        return AudioInput(self.label, rate, channels, seconds, *how)


def duration(seconds: float) -> str:
    """Return a duration that is missing; not 0.00 s."""
    return f"{max(seconds, 0.01):.2f} s"
