"""Options in seconds: NaN passes every comparison, so a range alone does not refuse it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from fcs_edge.cli.main import cli

OPTIONS = {
    "encode --block": ["encode", "in.wav", "out.fcs", "--block"],
    "mic --duration": ["mic", "--duration"],
    "send --duration": ["send", "127.0.0.1:9", "--duration"],
    "receive --duration": ["receive", "9", "--duration"],
    "receive --max-age": ["receive", "9", "--max-age"],
    "bench --seconds": ["bench", "--seconds"],
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "-nan"])
def test_no_number_of_seconds(option: str, value: str) -> None:
    result = CliRunner().invoke(cli, [*OPTIONS[option], value])
    assert result.exit_code == 2
    assert option.split()[1] in result.output
