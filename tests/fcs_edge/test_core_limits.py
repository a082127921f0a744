"""Rates of one core are measured for every set of instructions."""

import pytest

from fcs_edge.bench import core_limits
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import Instructions


@pytest.mark.parametrize("using", instructions.supported(), ids=lambda using: using.name)
def test_rates(using: Instructions) -> None:
    for bits in (32, 8, 4):
        rate = core_limits.multiply_rate(using, bits, 0.01)
        assert rate.best >= rate.median > 0
    rate = core_limits.read_rate(1 << 16, 0.01)
    assert rate.best >= rate.median > 0
