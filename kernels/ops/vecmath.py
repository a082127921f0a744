"""Branch-free float32 functions that run in vector lanes inside a kernel's loop.

They are compiled into their callers: math.erf, math.exp and math.tanh would be calls, one element
at a time.
"""

import math
from typing import Any

import numpy as np

from fcs_edge.kernels._types import F32, Scalar
from fcs_edge.kernels.runtime._jit import inline, intrinsic, kernel

_F = np.float32

_LOG2E = _F(1 / math.log(2))
# ln 2 in two parts, the first exact in few bits: n * _LN2_HIGH rounds nothing away.
_LN2_HIGH = _F(0.693359375)
_LN2_LOW = _F(math.log(2) - 0.693359375)
# exp(r) on |r| <= ln(2) / 2: what the Taylor series leaves out after r**7 is 6e-9.
_E2, _E3, _E4, _E5, _E6, _E7 = (_F(1 / math.factorial(i)) for i in range(2, 8))

# erfc(z) = t P(t) exp(-z * z), t = 1 / (1 + z / 2), z >= 0 (the form of Abramowitz & Stegun,
# 7.1.26). P: least squares on Chebyshev nodes of t in [0.02, 1]; erfc to 5e-8.
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7, _P8 = (
    _F(0.28209362260788073),
    _F(0.2821719577212425),
    _F(0.24522232918737352),
    _F(0.19163496205653816),
    _F(0.0058151998797381504),
    _F(0.22209669099128315),
    _F(-0.43093460840895564),
    _F(0.25409603151288),
    _F(-0.05219615613479603),
)

# tanh(x) = x + x**3 T(x * x) on |x| < 0.625: Cephes, tanhf.
_T0, _T1, _T2, _T3, _T4 = (
    _F(-3.33332819422e-1),
    _F(1.33314422036e-1),
    _F(-5.37397155531e-2),
    _F(2.06390887954e-2),
    _F(-5.70498872745e-3),
)

# pi in three parts (Cody & Waite) for a range reduction that keeps small remainders exact.
_INV_PI = _F(1 / math.pi)
_PI_A = _F(3.140625)
_PI_B = _F(9.67502593994140625e-4)
_PI_C = _F(math.pi - 3.140625 - 9.67502593994140625e-4)
_S3, _S5, _S7, _S9, _S11, _S13 = (_F((-1) ** i / math.factorial(2 * i + 1)) for i in range(1, 7))
_C4, _C6, _C8, _C10, _C12 = (_F((-1) ** i / math.factorial(2 * i)) for i in range(2, 7))

# log(m) = 2 artanh((m - 1) / (m + 1)): what its series leaves out after r**9 is 1e-9.
_L3, _L5, _L7, _L9 = (_F(1 / i) for i in (3, 5, 7, 9))

_SQRT_HALF, _SQRT_TWO = _F(math.sqrt(0.5)), _F(math.sqrt(2))
_HALF, _ONE, _TWO = _F(0.5), _F(1), _F(2)

PAIR = 32
"""Numbers in two vectors of the widest registers."""


@intrinsic
def multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """``x * y + z`` of float32 numbers, rounded once on every CPU that has fused multiply-add."""
    from numba import types

    from fcs_edge.kernels.isa import simd

    if any(kind != types.float32 for kind in (x, y, z)):
        return None

    def generate(context: Any, b: simd.Builder, signature: Any, arguments: Any) -> simd.Value:
        return simd.multiply_add(b, *arguments)

    return types.float32(x, y, z), generate


@inline
def exp(x: Scalar) -> Scalar:
    """``exp(x)``, x clamped to [-87, 88]; relative error below 3e-7."""
    x = min(max(x, _F(-87)), _F(88))
    n = np.floor(multiply_add(x, _LOG2E, _HALF))
    r = multiply_add(n, -_LN2_LOW, multiply_add(n, -_LN2_HIGH, x))
    p = multiply_add(multiply_add(_E7, r, _E6), r, _E5)
    p = multiply_add(multiply_add(multiply_add(p, r, _E4), r, _E3), r, _E2)
    p = multiply_add(p, r * r, r) + _ONE
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@inline
def log(x: Scalar) -> Scalar:
    """``log(x)`` for normal x > 0; error below 3e-7 of the result, or of 1 away from x = 1."""
    bits = _F(x).view(np.int32)
    n = (bits >> np.int32(23)) - np.int32(127)
    m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    if m > _SQRT_TWO:
        m, n = m * _HALF, n + np.int32(1)
    r = (m - _ONE) / (m + _ONE)
    s = r * r
    p = multiply_add(multiply_add(multiply_add(_L9, s, _L7), s, _L5), s, _L3)
    p = _TWO * r * multiply_add(p, s, _ONE)
    return multiply_add(_F(n), _LN2_HIGH, multiply_add(_F(n), _LN2_LOW, p))


@inline
def erfc(z: Scalar) -> Scalar:
    """``erfc(z)`` for z >= 0; absolute error below 4e-7."""
    t = _ONE / multiply_add(_HALF, z, _ONE)
    p = multiply_add(multiply_add(_P8, t, _P7), t, _P6)
    p = multiply_add(multiply_add(multiply_add(p, t, _P5), t, _P4), t, _P3)
    p = multiply_add(multiply_add(multiply_add(p, t, _P2), t, _P1), t, _P0)
    return t * p * exp(-(z * z))


@inline
def gelu(x: Scalar) -> Scalar:
    """``x * (1 + erf(x / sqrt 2)) / 2 = max(x, 0) - |x| / 2 * erfc(|x| / sqrt 2)``."""
    a = abs(x)
    return multiply_add(-_HALF * a, erfc(a * _SQRT_HALF), max(x, _F(0)))


@kernel
def gelu_row(x: F32) -> None:
    """``x[n] = gelu(x[n])``, two vectors at a time: each waits mostly for its own results."""
    half = x.size // PAIR * (PAIR // 2)
    first, second, rest = x[:half], x[half : 2 * half], x[2 * half :]
    for n in range(half):
        first[n] = gelu(first[n])
        second[n] = gelu(second[n])
    for n in range(rest.size):
        rest[n] = gelu(rest[n])


@inline
def tanh(x: Scalar) -> Scalar:
    """``tanh(x)``; relative error below 3e-7, near zero too."""
    s = x * x
    p = multiply_add(multiply_add(_T4, s, _T3), s, _T2)
    p = multiply_add(multiply_add(p, s, _T1), s, _T0)
    small = multiply_add(x * s, p, x)
    large = _ONE - _TWO / (exp(_TWO * abs(x)) + _ONE)
    return small if s < _F(0.390625) else math.copysign(large, x)


@inline
def sin_squared(x: Scalar) -> Scalar:
    """``sin(x) ** 2``, whose period is pi; absolute error below 4e-7 up to |x| = 1e4."""
    n = np.floor(multiply_add(x, _INV_PI, _HALF))
    r = multiply_add(n, -_PI_B, multiply_add(n, -_PI_A, x))
    r = multiply_add(n, -_PI_C, r)
    s = r * r
    p = multiply_add(multiply_add(_S11, s, _S9), s, _S7)
    p = multiply_add(multiply_add(p, s, _S5), s, _S3)
    p = multiply_add(r * s, p, r)
    return p * p


@inline
def sin(x: Scalar, cosine: bool) -> Scalar:
    """``sin(x)``, or ``cos(x)``; absolute error below 3e-7 up to |x| = 1e4.

    x less n pi is r, at most pi / 2: the result is that of r, with its sign changed for odd n.
    """
    n = np.floor(multiply_add(x, _INV_PI, _HALF))
    r = multiply_add(n, -_PI_B, multiply_add(n, -_PI_A, x))
    r = multiply_add(n, -_PI_C, r)
    # Of no use where n has more bits than a float: then at least the result is bounded.
    r = min(max(r, -_TWO), _TWO)
    sign = multiply_add(_TWO * _TWO, np.floor(n * _HALF), multiply_add(-_TWO, n, _ONE))
    s = r * r
    if cosine:
        p = multiply_add(multiply_add(_C12, s, _C10), s, _C8)
        p = multiply_add(multiply_add(multiply_add(p, s, _C6), s, _C4), s, -_HALF)
        return sign * multiply_add(p, s, _ONE)
    p = multiply_add(multiply_add(multiply_add(_S13, s, _S11), s, _S9), s, _S7)
    p = multiply_add(multiply_add(p, s, _S5), s, _S3)
    return sign * multiply_add(r * s, p, r)


@inline
def sigmoid(x: Scalar) -> Scalar:
    """``1 / (1 + exp(-x))``."""
    return _ONE / (_ONE + exp(-x))
