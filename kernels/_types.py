"""Array types the kernels speak of."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
Scalar: TypeAlias = Any
"""A number inside a kernel, float32 unless said otherwise."""
U16: TypeAlias = NDArray[np.uint16]
