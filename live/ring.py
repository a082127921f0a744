"""Sound between an audio callback and the worker: one writer, one reader, no lock."""

from __future__ import annotations

from fcs_edge.model.layers import F32, new


class SampleRing:
    """The last samples written and not yet read, in memory allocated once.

    One thread writes and one reads. A count moves only after the samples it stands for did, so
    neither waits for the other.

    Parameters
    ----------
    capacity : int
        Samples it holds at most.
    """

    def __init__(self, capacity: int) -> None:
        self._samples = new(capacity)
        self._n_written = 0
        self._n_read = 0

    @property
    def capacity(self) -> int:
        """Samples it holds at most."""
        return self._samples.size

    @property
    def level(self) -> int:
        """Samples that wait to be read."""
        return self._n_written - self._n_read

    def write(self, samples: F32) -> int:
        """Append as many of (n,) float32 as there is room for; return how many that were."""
        n = min(samples.size, self.capacity - self.level)
        start = self._n_written % self.capacity
        first = min(n, self.capacity - start)
        self._samples[start : start + first] = samples[:first]
        self._samples[: n - first] = samples[first:n]
        self._n_written += n
        return n

    def read(self, out: F32) -> int:
        """Fill the start of (n,) float32 with the oldest samples; return how many there were."""
        n = min(out.size, self.level)
        start = self._n_read % self.capacity
        first = min(n, self.capacity - start)
        out[:first] = self._samples[start : start + first]
        out[first:n] = self._samples[: n - first]
        self._n_read += n
        return n

    def skip(self, n: int) -> int:
        """Drop the oldest n samples, or all there are; return how many. For the reader alone."""
        n = min(n, self.level)
        self._n_read += n
        return n
