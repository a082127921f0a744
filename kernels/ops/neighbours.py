"""The nearest rows of a set by cosine, and their mean.

A search has two steps. The first scores all rows and lists the best; its scores may be those of
integer products. The second reads the listed rows alone, and ranks them by their exact cosine.

Each step takes the rows of a query in their own order, so no bit depends on the CPU.
"""

import numpy as np

from fcs_edge.kernels._types import F32, I8, I64, U16
from fcs_edge.kernels.ops import half, sums
from fcs_edge.kernels.ops.vecmath import multiply_add
from fcs_edge.kernels.runtime._jit import kernel


@kernel
def inverse_norms(rows: F32, least: np.float32, out: F32) -> None:
    """``out[j] = 1 / |rows[j]|``, 0 where ``|rows[j]| ** 2`` is not above least."""
    for j in range(rows.shape[0]):
        size = sums.dot(rows[j], rows[j])
        out[j] = np.float32(1) / np.sqrt(size) if size > least else np.float32(0)


@kernel
def cosines(x: F32, rows: F32, inverse_norm: F32, scores: F32) -> None:
    """``scores[m, j] = x[m] . rows[j] * inverse_norm[j]``: |x[m]| times the cosine.

    A row is read once for all of x.
    """
    for j in range(rows.shape[0]):
        for m in range(x.shape[0]):
            scores[m, j] = sums.dot(x[m], rows[j]) * inverse_norm[j]


@kernel
def largest(scores: F32, best: F32, listed: I64) -> None:
    """``listed[m]`` are the indices j of the largest ``scores[m, j]``, the largest first.

    Of equal scores the lowest index comes first. best, (listed per row,), is workspace.
    """
    count = listed.shape[1]
    for m in range(scores.shape[0]):
        n = 0
        for j in range(scores.shape[1]):
            score = scores[m, j]
            if n == count and not score > best[count - 1]:
                continue
            at = n if n < count else count - 1
            n = at + 1
            while at > 0 and best[at - 1] < score:
                best[at], listed[m, at] = best[at - 1], listed[m, at - 1]
                at -= 1
            best[at], listed[m, at] = score, j


@kernel
def gather(rows: F32, listed: I64, out: F32) -> None:
    """``out[m, c] = rows[listed[m, c]]``."""
    for m in range(listed.shape[0]):
        for c in range(listed.shape[1]):
            row, to = rows[listed[m, c]], out[m, c]
            for k in range(row.size):
                to[k] = row[k]


@kernel
def gather_half(rows: U16, listed: I64, out: F32) -> None:
    """Do as `gather` with float16 held in uint16."""
    for m in range(listed.shape[0]):
        for c in range(listed.shape[1]):
            row, to = rows[listed[m, c]], out[m, c]
            for k in range(row.size):
                to[k] = half.from_half(row[k])


@kernel
def gather_int8(rows: I8, scale: F32, columns: F32, listed: I64, out: F32) -> None:
    """``out[m, c, k] = columns[0, k] + columns[1, k] * (scale[j] * rows[j, k])``, j = listed[m, c].

    The second product and the sum are fused.
    """
    offset, step = columns[0], columns[1]
    for m in range(listed.shape[0]):
        for c in range(listed.shape[1]):
            j = listed[m, c]
            row, to, size = rows[j], out[m, c], scale[j]
            for k in range(row.size):
                to[k] = multiply_add(np.float32(row[k]) * size, step[k], offset[k])


@kernel
def mean_of_nearest(
    x: F32, gathered: F32, inverse_norm: F32, listed: I64, best: F32, nearest: I64, out: F32
) -> None:
    """``out[m]`` is the mean of the rows ``gathered[m, c]`` with the largest cosine to ``x[m]``.

    There are as many as nearest, (k,), has entries. Row c is row ``listed[m, c]`` of the set; of
    equal cosines the lowest of these counts as larger. The sum goes from the largest cosine on.
    best, (k,), and nearest are workspace.
    """
    count = nearest.size
    for m in range(x.shape[0]):
        n = 0
        for c in range(listed.shape[1]):
            j = listed[m, c]
            score = sums.dot(x[m], gathered[m, c]) * inverse_norm[j]
            at = n
            while at > 0 and (
                best[at - 1] < score or (best[at - 1] == score and listed[m, nearest[at - 1]] > j)
            ):
                at -= 1
            if at == count:
                continue
            n = min(n + 1, count)
            for i in range(n - 1, at, -1):
                best[i], nearest[i] = best[i - 1], nearest[i - 1]
            best[at], nearest[at] = score, c
        first = gathered[m, nearest[0]]
        for k in range(out.shape[1]):
            out[m, k] = first[k]
        for i in range(1, count):
            row = gathered[m, nearest[i]]
            for k in range(out.shape[1]):
                out[m, k] += row[k]
        for k in range(out.shape[1]):
            out[m, k] /= np.float32(count)
