"""Names from files, devices and packets are text: neither markup nor orders to a terminal."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rich.console
from numpy.typing import NDArray
from rich.console import Console

import fcs_edge
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.cli import demo
from fcs_edge.cli.ui import bench_plot, bench_report, compile_notice, device_table, progress
from fcs_edge.cli.ui.messages import MOST_OF_A_KIND, Capped, Messages, plain
from fcs_edge.cli.ui.panel import Lines, Panel
from fcs_edge.convert import convert
from fcs_edge.live import devices
from fcs_edge.live.devices import Device
from fcs_edge.live.loop import Loopback
from fcs_edge.text import printable
from fcs_edge.tokens.fcs import header_of

NAME = "a\x1b[2J\x07\r\n\t\x7f\x9b1m[/x][bold]v[2]\u202egnp\u2066\u200f\ud800$x$é"
SHOWN = r"a\x1b[2J\x07\x0d\x0a\x09\x7f\x9b1m[/x][bold]v[2]\u202egnp\u2066\u200f\ud800$x$é"


MODEL = NAME.replace("\ud800", "")
SHOWN_MODEL = SHOWN.replace(r"\ud800", "")
"""Names in model files are Unicode."""
BIDI = ("LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def check_controls(text: str) -> None:
    assert [c for c in text if (c < " " and c != "\n") or "\x7f" <= c <= "\x9f"] == []
    assert not set("\u202e\u2066\u200f\ud800") & set(text)


def check(text: str, times: int = 1, shown: str = SHOWN) -> None:
    """Check that a name is shown as text, and that nothing acts on a terminal."""
    check_controls(text)
    # A table may break a long name.
    assert "".join(text.split()).count(shown) >= times


def test_printable() -> None:
    assert printable(NAME) == SHOWN
    assert printable("a b, größer, 日本語, [x]") == "a b, größer, 日本語, [x]"
    assert printable(os.fsdecode(b"bad\xff\xfe.wav")) == r"bad\xff\xfe.wav"
    assert printable(Path("a\nb")) == r"a\x0ab"
    assert printable("\u2028\u2029\u061c\ufeff") == r"\u2028\u2029\u061c\ufeff"
    every = printable("".join(map(chr, range(0x11000))))
    assert {unicodedata.category(c) for c in every} & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert {unicodedata.bidirectional(c) for c in every} & set(BIDI) == set()


def test_messages(capsys: pytest.CaptureFixture[str]) -> None:
    messages = Messages()
    messages.note(NAME)
    messages.warn(NAME)
    check(capsys.readouterr().err, 2)
    assert plain(NAME).plain == SHOWN


@pytest.fixture
def named(golden: Callable[..., Any], tmp_path: Path) -> Path:
    """A model with such a name."""
    path = tmp_path / "m.safetensors"
    convert(golden("tiny").checkpoint, path, MODEL, "int8")
    return path


def test_info_of_a_model(named: Path, run: Callable[..., Any]) -> None:
    result = run("info", named)
    assert result.code == 0
    check(result.out, shown=SHOWN_MODEL)
    name = json.loads(run("info", "--json", named).out)["model"]
    assert name == MODEL


def test_commands_with_a_model(named: Path, wav: Path, run: Callable[..., Any]) -> None:
    """What does not fit it is refused by name."""
    codec = fcs_edge.load()
    other = wav.with_name("other.fcs")
    with other.open("wb") as file:
        BitstreamWriter(file, header_of(codec)).close(0)
    line = run("decode", "--model", named, other, wav.with_name("x.wav")).failed()
    # An error is one line: each run of white space is a space.
    check(line, shown=SHOWN_MODEL.replace(r"\x0d\x0a\x09", ""))


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", MODEL),
        ("encode", MODEL, "x.fcs"),
        ("encode", "--debug", MODEL, "x.fcs"),
        ("encode", "--model", MODEL, "x.wav", "x.fcs"),
        ("encode", "--mic", MODEL),
        ("decode", MODEL, "x.wav"),
        ("convert", MODEL, "x.safetensors"),
        ("bench", "--layer", MODEL),
        ("send", f"{MODEL}:5004"),
        (MODEL,),
        (f"--{MODEL}",),
    ],
    ids=lambda arguments: " ".join(a if a.isprintable() else "NAME" for a in arguments),
)
def test_errors(
    arguments: tuple[str, ...], run: Callable[..., Any], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.code in (1, 2)
    check_controls(result.err)
    assert r"a\x1b[2J\x07" in result.err
    assert len(result.err.splitlines()) == (4 if result.code == 2 else 1) or "--debug" in arguments


def test_a_warning_of_python_is_one_line(
    run: Callable[..., Any], named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*_: Any) -> None:
        warnings.warn(NAME, UserWarning, stacklevel=1)

    monkeypatch.setattr(fcs_edge.codec._jit, "warn_of_library", warn)
    monkeypatch.setattr(warnings, "filters", [("always", None, Warning, None, 0)])
    result = run("info", named)
    assert result.code == 0
    check(result.err)
    assert result.err == f"fcs-edge: warning: {SHOWN}\n"


def terminal(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> io.StringIO:
    """Let modules draw for a terminal; return what they draw."""
    out = io.StringIO()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    # What is imported only where it draws comes from rich.
    for module in (rich.console, *(m for m in modules if hasattr(m, "Console"))):
        monkeypatch.setattr(
            module,
            "Console",
            lambda **_: Console(file=out, force_terminal=True, width=200, color_system=None),
        )
    return out


def check_drawn(text: str) -> None:
    """Check what rich draws, which moves the cursor by escapes of its own."""
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert SHOWN in text


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, progress, compile_notice)
    with progress.spinner(Messages(), NAME):
        pass
    check_drawn(out.getvalue())
    out.truncate(0)
    with compile_notice.compile_notice(Messages(), f"Preparing {NAME} ..."):
        pass
    check_drawn(out.getvalue())


def test_devices(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    device = Device(1, NAME, NAME, 1, 1, 48000, True)
    monkeypatch.setattr(devices, "devices", lambda: [device])
    monkeypatch.setenv("COLUMNS", "300")
    device_table.print_devices()
    check(capsys.readouterr().out, 2)


def test_live_panel(
    tiny: fcs_edge.Codec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codec: Any = SimpleNamespace(name=NAME, bitrate=800, latency=0.08)
    panel = Panel(Loopback(tiny, lambda *_: None, False), codec, False, {"in": NAME})
    out = io.StringIO()
    Console(file=out, width=300).print(panel._drawn())
    check(out.getvalue(), 2)
    lines = Lines(lambda: NAME, False)
    lines._due = 0.0
    lines.show()
    check(capsys.readouterr().err)


def bench_facts() -> Any:
    mode = {f"chunk_ms_{key}": 1.0 for key in ("p50", "p95", "p99", "max", "mean")}
    mode |= {"real_time_factor": 0.1, "times_real_time": 10.0, "fraction_of_limit": 0.5}
    mode |= {"chunks": 8, "late_chunks": 0, "chunk_ms": [1.0]}  # type: ignore[dict-item]
    run = {
        "weights": "f32",
        "chunks_per_step": 1,
        "modes": dict.fromkeys(("encode", "decode", "both"), mode),
        "stages": dict.fromkeys(bench_plot.STAGES, mode),
        "cpu_share": 1.0,
        "windows_full": True,
        "warm_up_chunks": 8,
        "load_s": 1.0,
        "settings": {"activation_bits": 32},
        "threads": 1,
    }
    sizes = ("memory_bytes", "memory_peak_bytes", "memory_before_load_bytes", "file_bytes")
    run |= dict.fromkeys(sizes, 1 << 20)
    rates = ("read_gb_per_s", "float32_gmac_per_s", "int8_gmac_per_s", "int4_gmac_per_s")
    texts = ("cpu", "architecture", "kernels", "kernels_compiled", "limits_measured_with")
    machine = dict.fromkeys((*texts, "int8_instruction", "int4_instruction"), "x")
    sizes_of = {"memory_bytes": 1 << 30, "memory_available_bytes": 1 << 29, "cores": 4}
    return {
        "model": {"name": NAME, "weights": 1, "chunk_ms": 80.0},
        "machine": {**machine, **sizes_of, "board": NAME, "features": []},
        "limits": dict.fromkeys(rates, 1.0),
        "runs": [run],
    }


def test_bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    bench_report.show(bench_facts())
    check(capsys.readouterr().out, 3)
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        bench_plot.save_png(tmp_path / "x.png", bench_facts())


def test_demo(tiny: fcs_edge.Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    codec: Any = SimpleNamespace(
        name=NAME,
        sample_rate_in=16000,
        sample_rate_out=24000,
        bitrate=800,
        latency=0.08,
        encodes_streams=True,
        decodes_streams=True,
    )
    clip = np.zeros(16000, np.float32)
    result = demo._Result(clip, np.zeros(50, np.uint16), clip, 1.0, 1.0)
    paths = demo._Paths(*(Path(f"{NAME}{i}".replace("/", "")) for i in range(4)))
    out = io.StringIO()
    Console(file=out, width=300).print(demo._table(codec, result, 1, list(paths)))
    check(out.getvalue().replace("│", " "), 4, SHOWN.replace("/", ""))
    check(demo._next_steps(paths, NAME))


def test_a_list_of_messages_is_capped() -> None:
    shown: list[str] = []
    capped = Capped(shown.append)
    for number in range(MOST_OF_A_KIND):
        capped.add(str(number))
    capped.close()
    assert len(shown) == MOST_OF_A_KIND
    for number in range(1234):
        capped.add(str(number))
    capped.close()
    assert shown[MOST_OF_A_KIND:] == ["and 1,234 more"]


def test_damage_beyond_count_is_counted(
    tiny: fcs_edge.Codec, golden: Callable[..., Any], tmp_path: Path, run: Callable[..., Any]
) -> None:
    """A byte of no record stands behind each of 50 blocks."""
    path = tmp_path / "a.fcs"
    file = io.BytesIO()
    writer = BitstreamWriter(file, header_of(tiny), block_tokens=tiny.chunk_tokens)
    n, sizes = 50, []
    tokens: NDArray[np.uint16] = np.zeros(tiny.chunk_tokens, np.uint16)
    for _ in range(n):
        sizes.append(file.tell())
        writer.write(tokens)
    writer.close(n * tiny.chunk_size)
    data = file.getvalue()
    parts = [data[a:b] for a, b in zip([0, *sizes[1:]], [*sizes[1:], None], strict=True)]
    path.write_bytes(b"\0".join(parts))
    result = run("info", "--json", path)
    facts = json.loads(result.out)
    assert result.code == 1
    assert result.err.count("warning") == len(facts["problems"]) == MOST_OF_A_KIND + 1
    assert facts["problems"][-1].startswith("and ")
    model = golden("tiny").model
    result = run("decode", "--model", model, path, tmp_path / "a.wav")
    assert result.code == 1
    # One line more says how much of the sound is silence.
    assert result.err.count("warning") == MOST_OF_A_KIND + 2
    assert "and " in result.err


def test_models_in_the_folder(
    named: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "fcs-edge" / "models"
    folder.mkdir(parents=True)
    name = NAME.replace("/", "").replace("\ud800", "")
    (folder / f"{name}.safetensors").write_bytes(named.read_bytes())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    result = run("models")
    assert result.code == 0
    check(result.out, shown=SHOWN_MODEL.replace("/", ""))
    facts = json.loads(run("models", "--json").out)
    assert name in [model["name"] for model in facts["models"]]


def test_tokens_with_facts(tmp_path: Path, run: Callable[..., Any]) -> None:
    """Names, settings and keys of an .npz are any text."""
    path = tmp_path / "tokens.npz"
    settings = json.dumps({NAME: NAME, "kind": NAME})
    np.savez(
        path,
        tokens=np.zeros(4, np.uint16),
        fingerprint=np.array("4b4008f194143043"),
        model=np.array(MODEL),
        sample_rate=np.array(16000),
        n_samples=np.array(1280),
        settings=np.array(settings),
    )
    for arguments in (("info", path), ("decode", path, tmp_path / "a.wav")):
        result = run(*arguments)
        check_controls(result.out + result.err)
    assert r"\x1b[2J" in run("info", path).out
