"""Protected files and packets of a radio, by the commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

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
    safe.write_bytes(data[:60] + bytes(180) + data[240:])
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


def test_without_the_library_what_is_intact_plays(
    encode: Callable,
    tokens_of: Callable,
    run: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    safe = encode("safe.fcs", "--fec", "25%", "--block", "0.1")
    expected = tokens_of(safe)[0]
    run("split", safe, tmp_path / "p")
    data = bytearray(safe.read_bytes())
    data[len(data) // 3] ^= 1
    bad, joined = tmp_path / "bad.fcs", tmp_path / "joined.fcs"
    bad.write_bytes(data)
    sorted((tmp_path / "p").iterdir())[3].unlink()
    monkeypatch.setitem(sys.modules, "reedsolo", None)
    done = run("join", tmp_path / "p", joined)
    assert done.code == 1
    assert "1 packet or more missing: to restore them: pip install reedsolo" in done.err
    for path in (bad, joined):
        tokens, code, messages = tokens_of(path)
        assert code == 1
        assert tokens.size == expected.size
        assert 0.3 < (tokens == expected).mean() < 1
        assert messages.count("to correct them: pip install reedsolo") == 1


def test_chained_files_play_one_after_the_other(
    encode: Callable, tokens_of: Callable, run: Callable, tmp_path: Path, golden: Callable
) -> None:
    plain, safe = encode("plain.fcs"), encode("safe.fcs", "--fec", "25%")
    expected, chain = tokens_of(plain)[0], tmp_path / "chain.fcs"
    one = tmp_path / "one.wav"
    run("decode", "-m", golden("tiny").model, plain, one)
    n_samples = len(soundfile.read(one)[0])
    for parts in ((plain, safe), (safe, plain), (safe, safe)):
        chain.write_bytes(b"".join(part.read_bytes() for part in parts))
        tokens, code, messages = tokens_of(chain)
        assert "it has 2 parts, and only the first is copied" in messages
        assert (code, tokens.tolist()) == (1, expected.tolist())
        out = tmp_path / "chain.wav"
        done = run("decode", "-f", "-m", golden("tiny").model, chain, out)
        assert done.code == 0, done.err
        assert len(soundfile.read(out)[0]) == 2 * n_samples
        assert run("info", chain).code == 0


def test_split_takes_one_bitstream(encode: Callable, run: Callable, tmp_path: Path) -> None:
    one = encode("one.fcs").read_bytes()
    both = tmp_path / "both.fcs"
    both.write_bytes(one + one)
    line = run("split", both, tmp_path / "packets").failed()
    assert f"the second one from byte {len(one)}; give a file of one" in line
    assert not (tmp_path / "packets").exists()


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


def test_packets_that_are_missing_are_missing_cells(
    encode: Callable, tokens_of: Callable, run: Callable, tmp_path: Path
) -> None:
    source = encode("a.fcs", "--fec", "25%", "--block", "0.1")
    folder, out = tmp_path / "p", tmp_path / "b.fcs"
    run("split", source, folder)
    packets = sorted(folder.iterdir())
    for path in packets[1:4]:
        path.unlink()
    assert "3 packets or more missing" in run("join", folder, out).err
    _, code, messages = tokens_of(out)
    assert code == 1
    assert f"3 of {len(packets)} cells are missing, and" in messages


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
