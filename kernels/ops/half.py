"""Float16 numbers as their bits in uint16, by plain arithmetic that every CPU has."""

import numpy as np

from fcs_edge.kernels._types import Scalar
from fcs_edge.kernels.runtime._jit import inline

_SIGN = np.int32(0x8000)
_SIZE = np.int32(0x7FFFFFFF)
_LARGEST = np.int32(0x477FE000)
"""65504 as float32, the largest float16."""
_LEAST_NORMAL = np.int32(0x38800000)
"""2**-14 as float32; smaller float16 numbers are multiples of 2**-24."""
_REBIAS = np.int32((127 - 15) << 23)
_ROUND = np.int32(0xFFF)
_FIRST_NORMAL = np.int32(0x400)
"""2**-14 as float16."""
_LEAST = np.float32(2.0**-24)
"""The least positive float16."""
_DROPPED, _ONE = np.int32(13), np.int32(1)
_HALF, _HALF_BITS = np.float32(0.5), np.int32(0x3F000000)


@inline
def to_half(x: Scalar) -> Scalar:
    """Return the float16 nearest to a float32, ties to even, as uint16; clamped to +-65504."""
    bits = np.float32(x).view(np.int32)
    size = np.int32(min(bits & _SIZE, _LARGEST))
    normal = (size - _REBIAS + _ROUND + ((size >> _DROPPED) & _ONE)) >> _DROPPED
    # Added to 0.5, whose last bit is worth 2**-24, a small number is rounded by the addition.
    small = np.float32(size.view(np.float32) + _HALF).view(np.int32) - _HALF_BITS
    rounded = normal if size >= _LEAST_NORMAL else small
    return np.uint16(((bits >> np.int32(16)) & _SIGN) | rounded)


@inline
def from_half(x: Scalar) -> Scalar:
    """Return a finite float16, as uint16, as the same float32."""
    bits = np.int32(x)
    size = bits & np.int32(0x7FFF)
    normal = np.int32((size << _DROPPED) + _REBIAS).view(np.float32)
    small = np.float32(size) * _LEAST
    value = normal if size >= _FIRST_NORMAL else small
    return -value if bits > np.int32(0x7FFF) else value
