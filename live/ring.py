"""Ring buffers: the rule by which they wrap, and audio between a callback and the worker."""

from __future__ import annotations

from fcs_edge.model.layers import F32, new


def slot(index: int, capacity: int) -> int:
    """Return the slot of a ring that holds entry `index` of its stream."""
    return index % capacity


def slots(index: int, n: int, capacity: int) -> tuple[slice, slice]:
    """Return the slots of n entries from `index` on: up to the ring's end, then from its start.

    The second slice is empty where the entries do not wrap; n is at most `capacity`.
    """
    start = slot(index, capacity)
    first = min(n, capacity - start)
    return slice(start, start + first), slice(0, n - first)


class SampleRing:
    """A queue of samples in memory allocated once: one writer, one reader, no lock.

    One thread writes and one reads. A count changes only after its samples did, so neither
    thread waits for the other.

    Parameters
    ----------
    capacity : int
        Samples that it holds at most.
    """

    def __init__(self, capacity: int) -> None:
        self._samples = new(capacity)
        self._n_written = 0
        self._n_read = 0

    @property
    def capacity(self) -> int:
        """Samples that it holds at most."""
        return self._samples.size

    @property
    def level(self) -> int:
        """Samples that wait to be read."""
        return self._n_written - self._n_read

    def write(self, samples: F32) -> int:
        """Append as many of (n,) float32 as fit; return their number."""
        n = min(samples.size, self.capacity - self.level)
        end, start = slots(self._n_written, n, self.capacity)
        first = end.stop - end.start
        self._samples[end] = samples[:first]
        self._samples[start] = samples[first:n]
        self._n_written += n
        return n

    def read(self, out: F32) -> int:
        """Fill the start of (n,) float32 with the oldest samples; return their number."""
        n = min(out.size, self.level)
        end, start = slots(self._n_read, n, self.capacity)
        first = end.stop - end.start
        out[:first] = self._samples[end]
        out[first:n] = self._samples[start]
        self._n_read += n
        return n

    def skip(self, n: int) -> int:
        """Drop the oldest n samples, or all that wait; return their number. For the reader only."""
        n = min(n, self.level)
        self._n_read += n
        return n
