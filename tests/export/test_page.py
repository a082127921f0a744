"""The page in Chromium: a file, the microphone, the keyboard, a phone, and the page of one file."""

from __future__ import annotations

import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chromium import Chromium
from fcs_edge.cli.page import _Server
from fcs_edge.errors import FcsError
from fcs_edge.export import exporter, libraries, page_files
from fcs_edge.modelfile import catalogue
from native_tools import lacking, needed

HERE = Path(__file__).parent
READY = "!document.getElementById('microphone').disabled"
SAVED = "!document.getElementById('save-wav').disabled"
DROP = """(() => {{
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([Uint8Array.from({})], "speech.wav"));
    document.dispatchEvent(new DragEvent("drop", {{ dataTransfer, bubbles: true }}));
}})()"""
SECONDS = 3.0
"""Of live sound."""


@pytest.fixture(scope="module")
def parts(golden: Callable[[str], Any]) -> tuple[bytes, bytes, bytes]:
    """The modules, and a small model."""
    try:
        library = libraries.find(libraries.MODULE)
    except FcsError as error:
        lacking(f"{error}; python scripts/compile_kernels.py --target wasm")
    module, relaxed = (library.read(name) for name in page_files.MODULES)
    model = catalogue.find(str(golden("nolookahead").model))
    return module, relaxed, exporter.model_bytes(model, libraries.MODULE)


@pytest.fixture(scope="module")
def address(parts: tuple[bytes, bytes, bytes]) -> Iterator[str]:
    """The page on loopback, and beside it what tests run in it."""
    with _Server(0) as server:
        server.files = page_files.folder(*parts)
        for name in ("page_recorder.js", "page_checks.js", "page_worklet.js"):
            server.files[name] = (HERE / name).read_bytes()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def wav(samples: NDArray[np.float32], rate: int) -> bytes:
    """Return a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def browser(
    speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chromium]:
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    # The fake microphone reads PCM16 alone: of other files it makes silence.
    path.write_bytes(wav(speech[: 16000 * 8], 16000))
    with Chromium(needed("chromium"), microphone=path) as browser:
        yield browser


@pytest.fixture
def page(browser: Chromium, address: str) -> Iterator[Chromium]:
    """The page, loaded."""
    browser.messages.clear()
    browser.requests.clear()
    browser.open(address)
    browser.wait(READY)
    yield browser
    assert browser.messages == []
    foreign = [url for url in browser.requests if not url.startswith((address, "data:", "blob:"))]
    assert foreign == []


def text(page: Chromium, name: str) -> str:
    value: str = page.run(f"document.getElementById('{name}').textContent")
    return value


def checks(page: Chromium, body: str) -> Any:
    """Run code with the functions of page_checks.js."""
    names = "{ until, saved, drop, codec, tokensOf, record, compare }"
    script = f"(async () => {{ const {names} = await import('./page_checks.js'); {body} }})()"
    return page.run(script)


def test_a_file_goes_through_and_its_tokens_come_back(
    page: Chromium, speech: NDArray[np.float32]
) -> None:
    file = wav(speech[:24000], 16000)
    data, samples = json.dumps(list(file)), np.frombuffer(file[44:], "<i2").tolist()
    result = checks(
        page,
        f"""
        const done = (id) => until(() => fcsPage.current().id === id && fcsPage.current().done, id);
        drop(Uint8Array.from({data}), "speech.wav");
        await done(1);
        const file = await saved("save-fcs");
        const sound = await saved("save-wav");
        drop(file, "speech.fcs");
        await done(2);
        const again = await saved("save-wav");
        const ready = await codec;
        const encoder = ready.encoder();
        const samples = Float32Array.from({samples}, (value) => value / 32768);
        const own = [...encoder.push(samples), ...encoder.flush()];
        const {{ tokens, last, events }} = tokensOf(file, ready);
        const head = events.find((event) => event.kind === "end");
        const equal = sound.length === again.length && sound.every((b, i) => b === again[i]);
        return {{ tokens, own, whole: last.whole, equal, samples: head.samples,
                  sound: [...sound] }};
        """,
    )
    assert result["whole"]
    assert result["equal"]
    assert result["samples"] == 24000
    # A file at the codec's rate is encoded as it is.
    assert result["tokens"] == result["own"]
    with wave.open(io.BytesIO(bytes(result["sound"]))) as reader:
        assert reader.getframerate() * 24000 == reader.getnframes() * 16000
        sound = np.frombuffer(reader.readframes(reader.getnframes()), "<i2") / 32768
    assert np.sqrt(np.mean(sound**2)) > 1e-3
    assert text(page, "status") == f"Saved speech.wav, {len(result['sound'])} bytes."


def test_what_comes_out_live_is_the_output_of_what_goes_in(page: Chromium) -> None:
    page.run("document.getElementById('example').click()")
    page.wait(SAVED)
    page.run("document.dispatchEvent(new KeyboardEvent('keydown', { key: ' ' }))")
    checks(page, "await record()")
    page.run("document.getElementById('headphones').click()")
    page.run("document.getElementById('microphone').click()")
    page.wait("fcsPage.current().mode === 'live' && fcsPage.report()?.at > 0")
    time.sleep(SECONDS)
    level = page.run("fcsPage.report()")
    page.run("document.getElementById('microphone').click()")
    page.wait("fcsPage.current().mode === 'clip' && fcsPage.current().done")
    result = checks(page, f"return compare(await saved('save-fcs'), {json.dumps(level)})")
    assert level["mode"] == "live"
    assert result["differ"] == 0
    assert result["compared"] >= 100
    # A gap on a slow machine divides the sound: what is played is the codec's all the same.
    assert result["equal"] > 0.5 * SECONDS * 44100
    assert result["energy"] > 1e-4 * result["equal"]


def test_the_keyboard_plays_switches_and_seeks(page: Chromium) -> None:
    page.run("document.getElementById('example').focus()")
    page.press(" ", "Space", 32, " ")
    page.wait(SAVED)
    page.wait("fcsPage.report()?.playing")
    # Space plays and pauses now: it does not begin the example again.
    assert page.run("document.activeElement.id") == "play"
    page.run("document.getElementById('pick-decoded').focus()")
    chosen = "document.querySelector('input[name=track]:checked').value"
    for key, code, expected in (("o", 79, "original"), ("x", 88, "decoded"), ("x", 88, "original")):
        page.press(key, f"Key{key.upper()}", code, key)
        assert page.run(chosen) == expected
    page.press("d", "KeyD", 68, "d")
    assert page.run("document.getElementById('track-decoded').classList.contains('active')")
    page.press(" ", "Space", 32, " ")
    page.wait("fcsPage.report().playing === false")
    assert page.run("document.getElementById('play').ariaLabel") == "Play"
    before = page.run("fcsPage.report().at")
    page.run("document.getElementById('play').focus()")
    page.press("ArrowRight", "ArrowRight", 39)
    page.wait(f"fcsPage.report().at >= {before} + 44100")
    page.press("ArrowLeft", "ArrowLeft", 37)
    page.wait(f"fcsPage.report().at < {before} + 44100")
    page.run("document.getElementById('position').focus()")
    page.press("ArrowRight", "ArrowRight", 39)
    page.wait(f"fcsPage.report().at >= {before} + 44100")
    # Each control can be reached, and shows that it has the focus.
    page.run("document.getElementById('microphone').focus()")
    expected = ["microphone", "choose", "example", "headphones", "pick-decoded", "play"]
    expected += ["position", "volume", "save-fcs", "save-wav"]
    for name in expected:
        assert page.run("document.activeElement.id") == name
        page.press("Tab", "Tab", 9)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_of_it(page: Chromium, theme: str, tmp_path: Path) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.call("Emulation.setDeviceMetricsOverride", **size)
    scheme = [
        {"name": "prefers-color-scheme", "value": theme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    page.call("Emulation.setEmulatedMedia", features=scheme)
    try:
        page.run("document.getElementById('example').click()")
        page.wait(SAVED)
        assert page.run("document.documentElement.scrollWidth") == 360
        wide = page.run(
            "[...document.querySelectorAll('button, input:not([hidden]), canvas, dd, p')]"
            ".filter((e) => e.getBoundingClientRect().right > 361).map((e) => e.id)"
        )
        assert wide == []
        small = page.run(
            "[...document.querySelectorAll('button')]"
            ".filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.id)"
        )
        assert small == []
        columns = page.run(
            "(() => { const c = document.getElementById('decoded-plot'); const { data } = "
            "c.getContext('2d').getImageData(100, 0, c.width - 100, c.height); "
            "return new Set(new Uint32Array(data.buffer)).size })()"
        )
        assert columns > 20
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")
        page.call("Emulation.setEmulatedMedia", features=[])


def test_damaged_and_foreign_files_are_one_line(page: Chromium) -> None:
    shown = "document.getElementById('status').textContent"
    for name, data in (("noise.wav", "[1, 2, 3]"), ("x.fcs", "[70, 67, 83, 26, 9]")):
        before = page.run(shown)
        checks(page, f"drop(Uint8Array.from({data}), '{name}')")
        page.wait(f"{shown} !== {json.dumps(before)} && !{shown}.startsWith('Reading')")
        assert page.run("document.getElementById('status').classList.contains('problem')")
        assert page.run(shown).startswith(f"{name}: ")
    # The page goes on.
    page.run("document.getElementById('example').click()")
    page.wait(SAVED)
    # A file that is refused leaves what is there.
    checks(page, "drop(new Uint8Array(0), 'empty.fcs')")
    page.wait(f"{shown}.startsWith('empty.fcs: ')")
    assert page.run(f"{SAVED} && fcsPage.current().name") == "The example"


def test_a_file_that_is_cut_plays_up_to_there(page: Chromium) -> None:
    page.run("document.getElementById('example').click()")
    page.wait(SAVED)
    samples = checks(
        page,
        """
        const whole = await saved("save-fcs");
        const { tokens } = tokensOf(whole.subarray(0, -14), await codec);
        drop(whole.subarray(0, -14), "cut.fcs");
        await until(() => fcsPage.current().name === "cut.fcs" && fcsPage.current().done, "cut");
        const sound = await saved("save-wav");
        const { samplesOutPerToken } = (await codec).facts;
        return [(sound.length - 44) / 2, tokens.length * samplesOutPerToken];
        """,
    )
    assert samples[0] == samples[1] > 0


def test_the_codec_runs_in_a_worklet(page: Chromium) -> None:
    names = page.run(
        """(async () => {
        const { facts } = await (await import("./page_checks.js")).codec;
        const bytes = async (name) => (await fetch(name)).arrayBuffer();
        const context = new AudioContext();
        await context.audioWorklet.addModule("page_worklet.js");
        const [module, model] = [await bytes("fcs.wasm"), await bytes("model.fcsm")];
        const options = { processorOptions: { module, model } };
        const node = new AudioWorkletNode(context, "own", options);
        const { data } = await new Promise((done) => (node.port.onmessage = done));
        await context.close();
        return [data, facts.name];
        })()"""
    )
    assert names[0] == names[1]


def test_one_file_runs_from_a_disk(
    browser: Chromium,
    parts: tuple[bytes, bytes, bytes],
    speech: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    path = tmp_path / "index.html"
    path.write_bytes(page_files.one_file(*parts))
    browser.messages.clear()
    browser.requests.clear()
    browser.open(path.as_uri())
    browser.wait(READY)
    assert browser.run("document.getElementById('example').hidden")
    data = json.dumps(list(wav(speech[:32000], 16000)))
    browser.run(DROP.format(data))
    browser.wait(SAVED)
    browser.wait("fcsPage.report()?.decodedRms > 1e-3")
    assert browser.messages == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in browser.requests)
