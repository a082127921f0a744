"""Columns that are put together from buffers equal those of pyarrow.array, without pandas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fcs_edge.corpus import arrow_columns

pa = pytest.importorskip("pyarrow")

N = None


@pytest.mark.parametrize(
    "values", [[], [N], [0], [1, N, 3], [N] * 9, list(range(17)), [N, *[7] * 16]]
)
@pytest.mark.parametrize("kind", ["int32", "int64", "double"])
def test_numbers(values: list[int | None], kind: str) -> None:
    found = arrow_columns.numbers(values, kind)
    found.validate(full=True)
    assert found.equals(pa.array(values, pa.type_for_alias(kind)))
    assert found.null_count == values.count(None)


@pytest.mark.parametrize("values", [[], [N], [""], ["a", N, "é" * 9, ""], [N] * 8 + ["x"]])
def test_strings(values: list[str | None]) -> None:
    found = arrow_columns.strings(values)
    found.validate(full=True)
    assert found.equals(pa.array(values, pa.string()))


def test_a_half_of_a_surrogate_pair_is_escaped() -> None:
    assert arrow_columns.strings(["a\ud800"]).to_pylist() == ["a\\ud800"]


@pytest.mark.parametrize("values", [[], [N], [[]], [[1, 65535], N, [], [3]], [N] * 9 + [[4]]])
def test_lists(values: list[list[int] | None]) -> None:
    arrays = [None if value is None else np.array(value, np.uint16) for value in values]
    found = arrow_columns.lists(arrays)
    found.validate(full=True)
    assert found.equals(pa.array(values, pa.list_(pa.uint16())))


def test_no_worker_imports_pandas(tmp_path: Path) -> None:
    """`pyarrow.array` would, where it is installed."""
    (tmp_path / "pandas.py").write_text("raise SystemExit('pandas is imported')\n")
    code = (
        "import numpy as np\n"
        "from fcs_edge.corpus import arrow_columns as c\n"
        "import pyarrow, pyarrow.parquet as pq\n"
        "a = [c.numbers([1, None], 'int64'), c.strings(['a', None]),"
        " c.lists([np.zeros(3, np.uint16), None])]\n"
        "pq.write_table(pyarrow.Table.from_arrays(a, list('abc')), pyarrow.BufferOutputStream())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
