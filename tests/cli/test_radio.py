"""Protected files and packets of a radio, by the commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from measure_protection import Damage, damaged


@pytest.fixture
def encode(golden: Callable, wav: Path, tmp_path: Path, run: Callable) -> Callable:
    """Encode two seconds with the tiny model; return the file."""

    def call(name: str, *options: str) -> Path:
        out = tmp_path / name
        assert run("encode", "-m", golden("tiny").model, *options, wav, out).code == 0
        return out

    return call


@pytest.fixture
def tokens_of(golden: Callable, run: Callable, tmp_path: Path) -> Callable:
    """Decode a bitstream to tokens; return them, the exit code and the messages."""

    def call(path: Path) -> tuple[np.ndarray, int, str]:
        out = tmp_path / "tokens.npy"
        done = run("decode", "-f", "-m", golden("tiny").model, path, out)
        return np.load(out), done.code, done.err

    return call


def test_fec_restores_damage(encode: Callable, tokens_of: Callable, run: Callable) -> None:
    plain, safe = encode("plain.fcs"), encode("safe.fcs", "--fec", "50%")
    expected = tokens_of(plain)[0]
    facts = json.loads(run("info", "--json", safe).out)["protection"]
    assert facts["share"] == pytest.approx(safe.stat().st_size / plain.stat().st_size - 1)
    assert (facts["groups"], facts["corrected"], facts["lost_cells"]) == (1, 0, 0)
    assert json.loads(run("info", "--json", plain).out)["protection"] is None
    lost = damaged(
        safe.read_bytes(), facts["cell_bytes"], Damage(1e-3, 0.1), np.random.default_rng(2)
    )
    safe.write_bytes(lost)
    tokens, code, messages = tokens_of(safe)
    assert (tokens == expected).all()
    assert code == 0
    assert f"bytes corrected, 1 of {facts['cells']} cells missing" in messages
    shown = run("info", safe)
    assert shown.code == 0
    assert "bytes corrected, 1 cell missing" in shown.out


def test_too_much_damage_is_reported(
    encode: Callable, golden: Callable, run: Callable, tmp_path: Path
) -> None:
    safe = encode("safe.fcs", "--fec", "25%", "--block", "0.1")
    data = safe.read_bytes()
    safe.write_bytes(data[:60] + bytes(200) + data[260:])
    out = tmp_path / "out.wav"
    done = run("decode", "-m", golden("tiny").model, safe, out)
    assert done.code == 1
    assert "codewords have too many errors" in done.err
    assert out.exists()
    line = run("decode", "-m", golden("tiny").model, "--strict", safe, tmp_path / "no.wav").failed()
    assert f"{safe}: " in line
    assert not (tmp_path / "no.wav").exists()
    assert run("info", safe).code == 1


def test_without_the_library(
    encode: Callable,
    tokens_of: Callable,
    run: Callable,
    wav: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    safe = encode("safe.fcs", "--fec", "25%")
    monkeypatch.setitem(sys.modules, "reedsolo", None)
    assert tokens_of(safe)[1] == 0
    line = run("encode", "--fec", "25%", wav, tmp_path / "o.fcs").failed()
    assert "protection needs the package reedsolo: pip install reedsolo" in line


@pytest.mark.parametrize("share", ["1%", "200%", "25", "abc", "nan", "%"])
def test_shares_out_of_range(share: str, wav: Path, run: Callable) -> None:
    line = run("encode", "--fec", share, wav, "o.fcs").failed(2)
    assert f"'{share}' is not a share from 5% to 100%" in line


def test_packets_come_together_again(
    encode: Callable, tokens_of: Callable, run: Callable, tmp_path: Path
) -> None:
    source, folder, out = encode("a.fcs", "--block-bytes", "51"), tmp_path / "p", tmp_path / "b.fcs"
    assert run("split", source, folder).code == 0
    packets = sorted(folder.iterdir())
    assert max(path.stat().st_size for path in packets) <= 51
    assert run("join", *reversed(packets), packets[0], out).code == 0
    assert out.read_bytes() == source.read_bytes()
    assert "exists already" in run("join", folder, out).failed()
    packets[2].unlink()
    done = run("join", "-f", folder, out)
    assert done.code == 1
    assert "missing from token" in done.err
    tokens, code, _ = tokens_of(out)
    assert code == 1
    assert tokens.size == tokens_of(source)[0].size
    assert "has files already" in run("split", source, folder).failed()
    assert (
        "which no packet of 40 bytes holds"
        in run("split", "--packet-bytes", "40", source, tmp_path / "q").failed()
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["p"]


def test_packets_of_a_protected_file(encode: Callable, run: Callable, tmp_path: Path) -> None:
    source = encode("a.fcs", "--fec", "50%", "--block-bytes", "51")
    folder, out = tmp_path / "p", tmp_path / "b.fcs"
    assert run("split", source, folder).code == 0
    packets = sorted(folder.iterdir())
    packets[1].unlink()
    done = run("join", folder, out)
    assert done.code == 0
    assert "1 missing, which decode restores" in done.err
    for path in packets[2:8]:
        path.unlink()
    assert run("join", "-f", folder, out).code == 1


def test_packets_of_two_messages(encode: Callable, run: Callable, tmp_path: Path) -> None:
    out, folder = tmp_path / "b.fcs", tmp_path / "p"
    one, two = encode("a.fcs", "--block-bytes", "51"), encode("c.fcs", "--block-bytes", "80")
    run("split", one, folder)
    run("split", two, tmp_path / "q")
    number = min(folder.iterdir()).name[:4]
    line = run("join", folder, tmp_path / "q", out).failed()
    assert "packets of 2 messages" in line
    assert not out.exists()
    assert run("join", "--message", number, folder, tmp_path / "q", out).code == 0
    assert out.read_bytes() == one.read_bytes()
    assert "is not the number of a message" in run("join", "--message", "x", folder, out).failed(2)
    (tmp_path / "junk").write_bytes(b"junk")
    done = run("join", "-f", folder, tmp_path / "junk", out)
    assert done.code == 1
    assert "not a packet of fcs-edge split; ignored" in done.err
    assert "no such file" in run("join", "-f", tmp_path / "none", out).failed()
    assert "/dev/null: is a pipe or device" in run("split", "/dev/null", tmp_path / "n").failed()


def test_block_sizes_exclude_each_other(wav: Path, run: Callable) -> None:
    line = run("encode", "--block", "1", "--block-bytes", "51", wav, "o.fcs").failed(2)
    assert "--block and --block-bytes both set the size of blocks" in line
