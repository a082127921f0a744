"""`fcs-edge info` of bitstreams: parts, coding, rates, metadata; and `--records`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcs_edge
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.settings import token_settings


def stream(codec: fcs_edge.Codec, n: int = 250, **options: Any) -> bytes:
    file = io.BytesIO()
    tokens = np.random.default_rng(5).integers(0, 1 << codec.bits_per_token, n, dtype=np.uint16)
    fcs_writer(file, codec, FcsOptions(**options)).close(n * codec.samples_per_token, tokens)
    return file.getvalue()


@pytest.fixture
def info(tmp_path: Path, run: Callable) -> Callable:
    """Run info on bytes; return the exit code, the facts or the lines, and the messages."""

    def call(data: bytes, *options: str) -> tuple[int, Any, str]:
        path = tmp_path / "a.fcs"
        path.write_bytes(data)
        done = run("info", *options, path)
        facts = json.loads(done.out) if "--json" in options else done.out.splitlines()
        return done.code, facts, done.err

    return call


def test_facts_of_coding_and_rates(tiny: fcs_edge.Codec, info: Callable) -> None:
    """Random tokens are stored raw: 11 bits each, and the rest is framing."""
    data = stream(tiny)
    code, facts, _ = info(data, "--json")
    assert code == 0
    assert facts["blocks"] == {"raw": 3}
    assert facts["settings"] == token_settings(tiny.model)
    assert (facts["parts"], facts["prior"], facts["metadata"]) == (1, None, {})
    payload = 2 * 138 + 69
    assert facts["bytes"] == len(data) == payload + 19 + 3 * 5 + 8
    assert facts["stored_bits"] == pytest.approx(8 * payload / 250)
    assert facts["overhead"] == pytest.approx(42 / payload)
    assert facts["rates"] == pytest.approx(
        {"file": 8 * len(data) / 5, "tokens": 8 * payload / 5, "framing": 8 * 42 / 5}
    )
    _, lines, _ = info(data)
    text = "\n".join(lines)
    for part in ("3 raw", "11.04 as stored", "12.17% of the payload", "file 0.62, tokens 0.55"):
        assert part in text


def test_a_stream_of_a_pipe(tiny: fcs_edge.Codec, info: Callable) -> None:
    code, facts, _ = info(stream(tiny, eager=True), "--json")
    assert code == 0
    assert set(facts["blocks"]) == {"streamed"}
    assert facts["seconds"] == 5.0


def test_metadata_is_shown_and_harms_no_terminal(
    wav: Path, golden: Callable, tmp_path: Path, run: Callable
) -> None:
    out = tmp_path / "a.fcs"
    tags = ("--tag", "title=A\x1b[2J", "--tag", "call-sign=DL1", "--tag", "time=2026-07-01")
    assert run("encode", "-m", golden("tiny").model, *tags, wav, out).code == 0
    facts = json.loads(run("info", "--json", out).out)
    assert facts["metadata"] == {"title": "A\x1b[2J", "call-sign": "DL1", "time": "2026-07-01"}
    text = run("info", out).out
    assert r"title: A\x1b[2J; call-sign: DL1; time: 2026-07-01" in text
    assert "\x1b" not in text
    assert run("decode", "-m", golden("tiny").model, out, tmp_path / "a.wav").code == 0


def test_chained_parts(tiny: fcs_edge.Codec, info: Callable) -> None:
    one, two = stream(tiny, tags={"title": "one"}), stream(tiny, 30, tags={"title": "two"})
    code, facts, err = info(one + two + one, "--json")
    assert (code, err) == (0, "")
    assert (facts["parts"], facts["tokens"], facts["seconds"]) == (3, 530, 10.6)
    assert facts["bytes"] == len(one + two + one)
    assert facts["metadata"] == {"title": "one"}
    second = facts["further_parts"][0]
    assert (second["tokens"], second["metadata"]["title"]) == (30, "two")
    assert second["bytes"] == len(two)
    _, lines, _ = info(one + two)
    assert "part 2 of 2" in lines


def test_many_parts_are_summed(tiny: fcs_edge.Codec, info: Callable) -> None:
    part = stream(tiny, 3)
    code, facts, _ = info(part * 500, "--json")
    assert (code, facts["parts"], facts["tokens"]) == (0, 500, 1500)
    assert facts["bytes"] == 500 * len(part)
    assert facts["seconds"] == pytest.approx(30)
    assert len(facts["further_parts"]) == 20


def test_records(tiny: fcs_edge.Codec, info: Callable) -> None:
    data = stream(tiny, tags={"title": "one"})
    code, lines, _ = info(data, "--records")
    assert code == 0
    assert [line.split()[:7] for line in lines] == [
        ["offset", "type", "size", "position", "tokens", "check", "coding"],
        ["0", "header", "19", "-", "-", "ok", "-"],
        ["19", "metadata", "14", "-", "-", "ok", "-"],
        ["33", "block", "143", "0", "100", "ok", "raw"],
        ["176", "block", "143", "100", "100", "ok", "raw"],
        ["319", "block", "74", "200", "50", "ok", "raw"],
        ["393", "end", "8", "-", "-", "ok", "-"],
    ]
    _, facts, _ = info(data, "--records", "--json")
    assert facts[2] == {
        "offset": 33, "kind": "block", "size": 143, "position": 0, "tokens": 100, "coding": "raw",
        "payload": 138, "intact": True, "paused": 0,
    }  # fmt: skip


def test_records_of_a_damaged_bitstream(tiny: fcs_edge.Codec, info: Callable) -> None:
    data = bytearray(stream(tiny))
    data[200] ^= 1
    code, lines, err = info(bytes(data[:-8]) + b"??", "--records")
    assert code == 1
    assert "byte 162: 143 bytes damaged" in err
    assert "the stream is cut, no whole record from byte 379 on" in err
    found = [line.split() for line in lines]
    assert found[3] == ["162", "damaged", "143", "-", "-", "FAILED", "-"]
    assert found[4][:3] == ["305", "block", "74"]
    assert found[5] == ["379", "damaged", "2", "-", "-", "FAILED", "-"]
    assert sum(int(row[2]) for row in found[1:]) == len(data) - 6


def test_records_of_what_is_no_bitstream(info: Callable, run: Callable, wav: Path) -> None:
    assert "not an .fcs file" in info(b"x" * 50, "--records")[2]
    assert "this is sound, not tokens" in run("info", "--records", wav).failed()
    assert "no such file" in run("info", "--records", "gone.fcs").failed()


def test_records_from_a_pipe(tiny: fcs_edge.Codec, shell: Callable) -> None:
    done = shell("info", "--records", "-", data=stream(tiny))
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 6
