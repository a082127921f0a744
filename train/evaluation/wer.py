"""Word error rate: errors over words, pooled over a set, without a cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LOOP_RATIO = 2.5
"""A recogniser loops where it writes more words than this times those of the reference.

The insertions alone are then 1.5 errors for each word. Without speech in a clip Whisper may repeat
itself up to its limit of tokens."""


@dataclass(frozen=True)
class ClipErrors:
    """The errors of one clip.

    Attributes
    ----------
    errors : int
        Substitutions, deletions and insertions.
    words : int
        Words of the reference. A clip without any is not scored.
    loops : bool
        Whether the hypothesis is longer than `LOOP_RATIO` times the reference.
    """

    errors: int
    words: int
    loops: bool

    @property
    def rate(self) -> float | None:
        """Errors over words; None without words."""
        return self.errors / self.words if self.words else None


@dataclass(frozen=True)
class WerResult:
    """The errors of a set.

    Attributes
    ----------
    clips : tuple of ClipErrors
        In the order of the references.
    """

    clips: tuple[ClipErrors, ...]

    @property
    def errors(self) -> int:
        """Errors over all clips with words."""
        return sum(clip.errors for clip in self.clips if clip.words)

    @property
    def words(self) -> int:
        """Words of all references."""
        return sum(clip.words for clip in self.clips)

    @property
    def rate(self) -> float | None:
        """Errors over words; None without words."""
        return self.errors / self.words if self.words else None

    @property
    def looping(self) -> tuple[int, ...]:
        """Indices of the clips in which the recogniser loops. Their errors count in full."""
        return tuple(i for i, clip in enumerate(self.clips) if clip.loops)


def clip_errors(reference: str, hypothesis: str) -> ClipErrors:
    """Return the errors of normalised text, words separated by spaces."""
    words, written = len(reference.split()), len(hypothesis.split())
    if not words:
        return ClipErrors(written, 0, False)
    import jiwer

    counts = jiwer.process_words(reference, hypothesis)
    errors = counts.substitutions + counts.deletions + counts.insertions
    return ClipErrors(errors, words, written > LOOP_RATIO * words)


def pooled_wer(references: Sequence[str], hypotheses: Sequence[str]) -> WerResult:
    """Return the errors of a set of clips, both texts normalised.

    WER = sum of errors / sum of words, over clips whose reference has words. No clip is capped or
    left out because the recogniser loops: `WerResult.looping` lists such clips.
    """
    pairs = zip(references, hypotheses, strict=True)
    return WerResult(tuple(clip_errors(*pair) for pair in pairs))
