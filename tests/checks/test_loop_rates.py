"""The page and the rates of inner loops: as the script writes them, of the loops in the lists."""

from __future__ import annotations

import json
import re

import pytest

import loop_rates
import panel_counts

ENTRIES = json.loads(loop_rates.RATES.read_text())
PAGE = loop_rates.PAGE.read_text()


def test_the_page_has_the_rates_of_the_file() -> None:
    tables = "\n".join(loop_rates.tables(ENTRIES))
    assert f"{tables}{loop_rates.END}" in PAGE, "make loops"


def test_the_rates_are_of_the_listed_loops() -> None:
    compiled = re.search(r"^Compiled by (.+);", PAGE, re.MULTILINE)
    assert compiled is not None
    listed = panel_counts.read()[compiled[1]]
    for core in loop_rates.CORES:
        own = {
            entry["loop"]: (entry["instructions_per_mac"], entry["stack_accesses"])
            for entry in ENTRIES
            if (entry["core"], entry["dispatch"]) == (core.name, core.dispatch)
            and "macs_per_cycle" in entry
        }
        assert own == {
            name: (round(counts.per_mac, 4), counts.stack + counts.stack_around)
            for name, counts in listed[core.target].items()
        }, f"{core.name}: make loops"


def test_every_loop_has_a_rate() -> None:
    for entry in ENTRIES:
        assert {"core", "loop", "rows", "dispatch", "stack_accesses"} <= set(entry)
        rate = entry.get("macs_per_cycle", entry.get("cycles_per_element"))
        assert 0 < rate < 1000
        # A group's epilogue takes time.
        if entry["core"].startswith("cortex") and "inner_macs_per_cycle" in entry:
            assert entry["macs_per_cycle"] < entry["inner_macs_per_cycle"]
    keys = [(entry["core"], entry["loop"], entry["dispatch"]) for entry in ENTRIES]
    assert len(set(keys)) == len(keys)


def test_no_llvm_mca_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("LLVM_MCA", raising=False)
    with pytest.raises(SystemExit, match=r"^loop_rates: there is no llvm-mca of LLVM 17.*$"):
        loop_rates.main([])


def test_an_old_llvm_mca_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLVM_MCA", "true")
    monkeypatch.setattr(loop_rates, "_output", lambda command: "Debian LLVM version 14.0.6")
    with pytest.raises(SystemExit, match="no llvm-mca of LLVM 17"):
        loop_rates.analyser()
    monkeypatch.setattr(loop_rates, "_output", lambda command: "LLVM version 22.1.8")
    assert loop_rates.analyser().endswith("true")
