"""Checks of what callers pass: signals, tokens, matrices, counts, and the buffers of a step.

Each public method checks its arguments here, once. Nothing behind it checks them again: stages and
kernels trust sizes and types.
"""

from __future__ import annotations

import operator
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcs_edge.kernels._types import F32, U16

ItemT = TypeVar("ItemT", bound=np.generic)
Shapes: TypeAlias = dict[tuple[int, ...], tuple[int, ...]]

THREADS = 1, 2, 4
"""Numbers of threads that a stream can have."""
FLOAT32, UINT16 = np.dtype(np.float32), np.dtype(np.uint16)


def as_signal(signal: ArrayLike) -> F32:
    """Return a signal as contiguous float32, checked to be (n,) floating point.

    Raises
    ------
    TypeError
        The samples are not floating point, or the array is masked.
    ValueError
        The signal is not one-dimensional.
    """
    array = _unmasked(signal, "samples")
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.float32)
    if array.dtype.kind != "f":
        raise TypeError(
            f"samples must be floating point in [-1, 1], not {array.dtype}; "
            "int16 samples are divided by 32768"
        )
    if array.ndim != 1:
        raise ValueError(f"a mono signal of shape (n,) is expected, not {array.shape}")
    with np.errstate(over="ignore"):
        return _plain(np.ascontiguousarray(array, np.float32))


def as_tokens(tokens: ArrayLike, bits: int) -> U16:
    """Return tokens as contiguous uint16, checked to be (n,) integers below ``2 ** bits``.

    Raises
    ------
    TypeError
        The tokens are not integers, or the array is masked.
    ValueError
        They are not one-dimensional, or one is out of range.
    """
    array = _unmasked(tokens, "tokens")
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.uint16)
    # Not np.issubdtype: to it, differences of times are integers.
    if array.dtype.kind not in "iu":
        raise TypeError(f"tokens must be integers, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"tokens of shape (n,) are expected, not {array.shape}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 1 << bits:
        raise ValueError(f"tokens of this model are 0 to {(1 << bits) - 1}, not {low} to {high}")
    return _plain(np.ascontiguousarray(array, np.uint16))


def as_matrix(values: ArrayLike, columns: int, what: str) -> F32:
    """Return numbers as contiguous float32, checked to be (n, columns).

    Raises
    ------
    TypeError
        The values are neither floating point nor integers, or the array is masked.
    ValueError
        The array has another shape.
    """
    array = _unmasked(values, what)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{what} must be floating point, not {array.dtype}")
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{what} of shape (n, {columns}) are expected, not {array.shape}")
    with np.errstate(over="ignore"):
        return _plain(np.ascontiguousarray(array, np.float32))


def as_count(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return a whole number as int, checked to be at least `least` and at most `most`.

    Raises
    ------
    TypeError
        It is no integer; True and False are none.
    ValueError
        It is out of range.
    """
    count = as_integer(value, name)
    if count < least or (most is not None and count > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be {limits}, not {count}")
    return count


def as_threads(value: Any) -> int:
    """Return a number of threads, checked to be one of `THREADS`.

    Raises
    ------
    TypeError
        It is no integer.
    ValueError
        It is another number.
    """
    count = as_integer(value, "threads")
    if count not in THREADS:
        raise ValueError(f"threads must be 1, 2 or 4, not {count}")
    return count


def as_integer(value: Any, name: str) -> int:
    """Return a whole number as int.

    Raises
    ------
    TypeError
        It is no integer; True and False are none.
    """
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, not {value}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def is_plain_pair(
    read: NDArray[Any], dtype: object, written: NDArray[Any], written_dtype: object, shapes: Shapes
) -> bool:
    """Return whether a step can work in two arrays as they are, in half a microsecond.

    They are of these types, contiguous, aligned and writeable, and `shapes` has the shape of the
    one that is read, and to it that of the other. If not, `check_buffer` says what is wrong.
    """
    return (
        type(read) is np.ndarray
        and type(written) is np.ndarray
        and read.dtype is dtype
        and written.dtype is written_dtype
        and shapes.get(read.shape) == written.shape
        and read.flags.carray
        and written.flags.carray
    )


def check_buffer(array: Any, dtype: np.dtype[Any], what: str, written: bool = False) -> None:
    """Check that a buffer of a step is a one-dimensional array of a type.

    Its size is not checked. It may have gaps: the step then works in copies.

    Raises
    ------
    TypeError
        It is no array, a masked one, or of another type.
    ValueError
        It is not one-dimensional, or is written to and read-only.
    """
    if type(array) is not np.ndarray and (
        not isinstance(array, np.ndarray) or np.ma.isMaskedArray(array)
    ):
        raise TypeError(f"{what} must be an array of {dtype}, not {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(f"{what} must be an array of {dtype}, not of {array.dtype.str}")
    if array.ndim != 1:
        raise ValueError(f"{what} of shape (n,) are expected, not {array.shape}")
    if written and not array.flags.writeable:
        raise ValueError(f"{what} are written, but the array is read-only")


def _unmasked(values: ArrayLike, what: str) -> Any:
    """Return an array; a mask would be ignored in what follows."""
    if np.ma.isMaskedArray(values):
        raise TypeError(f"{what} must not be a masked array: fill what is masked, or cut it out")
    return np.asarray(values)


def _plain(array: NDArray[ItemT]) -> NDArray[ItemT]:
    """Return an array that is aligned and writeable, as all kernels take it and Numba knows it."""
    return array if array.flags.carray else array.copy()
