"""What the corpus takes from packages, on folders of the same form, and the shards it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click import ClickException

av = pytest.importorskip("av")
pytest.importorskip("faster_whisper")
pytest.importorskip("pyworld")

from train.corpus import audio, games, recordings, shard  # noqa: E402
from train.corpus.held_out_text import KLETTRES_LANGUAGES, KOKORO_VOICES  # noqa: E402
from train.corpus.jobs import Job, gather, revoiced, sped  # noqa: E402
from train.corpus.shard import Origin, Utterance  # noqa: E402
from train.corpus.styles import draw, pushed  # noqa: E402

ORIGIN = Origin("tones", "none", "1", "CC0-1.0", "nobody", 11000, real=True)


def tone(hz: float, seconds: float = 0.5, rate: int = 24000) -> np.ndarray:
    """Return one that grows to 0.3: an even one stands at its largest too often, as if clipped."""
    n = round(seconds * rate)
    grown = np.linspace(0.15, 0.3, n) * np.sin(2 * np.pi * hz * np.arange(n) / rate)
    return grown.astype(np.float32)


def pitch(sound: np.ndarray, rate: int = 24000) -> float:
    """Return the strongest frequency."""
    n = 1 << 17
    return float(np.argmax(np.abs(np.fft.rfft(sound * np.hanning(sound.size), n))) * rate / n)


def write(path: Path, hz: float, rate: int = 22050) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(hz, rate=rate), rate)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every package is there."""
    for module in (games, recordings):
        monkeypatch.setattr(module, "version", lambda package: f"{package} 1")


def utterances_of(job: Job) -> list[tuple[str, int]]:
    """Return who speaks in a job, in order, and at what pitch, to the nearest 10 Hz."""
    return [(one.voice, round(pitch(one.sound), -1)) for one in job.speak(Path())]


def test_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, hz in (("a_desc_fr", 300), ("b_desc_fr", 400), ("a_desc", 500), ("a_desc_nl", 600)):
        write(tmp_path / "town" / f"{name}.ogg", hz)
    write(tmp_path / "town" / "a_desc_el.wav", 700)
    write(tmp_path / "town" / "c_desc_fr.wav", 800, rate=8000)
    write(tmp_path / "town" / "a.wav", 900)
    monkeypatch.setattr(games, "STAMPS", tmp_path)
    jobs = {job.name: job for job in games.stamps()}
    assert utterances_of(jobs["tuxpaint-fr"]) == [("tuxpaint_fr", 300), ("tuxpaint_fr", 400)]
    assert utterances_of(jobs["tuxpaint"]) == [("tuxpaint_en", 500), ("tuxpaint_nl", 600)]
    assert jobs["tuxpaint-el"].origin.band_hz < jobs["tuxpaint-fr"].origin.band_hz


def test_a_folder_a_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for voice in ("Pirate", "Robot", "lt", "sv", "sr@latin"):
        write(tmp_path / voice / "deep" / "x.wav", 400)
    (tmp_path / "README").write_text("no voice")
    for name in ("HEDGEHOGS", "POTATOES", "TILES"):
        monkeypatch.setattr(games, name, tmp_path)
    [shouts], [toys], [tiles] = games.hedgehogs(), games.potatoes(), games.tiles()
    assert utterances_of(shouts) == [
        (f"hedgewars_{one}", 400) for one in ("Pirate", "lt", "sr@latin", "sv")
    ]
    assert "lt" in KLETTRES_LANGUAGES
    assert utterances_of(toys) == [(f"ktuberling_{one}", 400) for one in ("Pirate", "Robot", "sv")]
    assert len(utterances_of(tiles)) == 5
    monkeypatch.setattr(games, "TILES", tmp_path / "none")
    with pytest.raises(ClickException, match="apt-get install kajongg"):
        games.tiles()


def test_two_fish_and_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, hz in (("bar-m-hello", 500), ("bar-v-hello", 300), ("1-m-v-duet", 700), ("vm", 800)):
        write(tmp_path / "bar" / "cs" / f"{name}.wav", hz)
    write(tmp_path / "bar" / "nl" / "m-dag.wav", 550)
    write(tmp_path / "bar" / "splash.wav", 900)
    monkeypatch.setattr(games, "FISHES", tmp_path)
    czech, dutch = games.fishes()
    assert sorted(utterances_of(czech)) == [
        ("fillets_cs_large", 300),
        ("fillets_cs_others", 700),
        ("fillets_cs_others", 800),
        ("fillets_cs_small", 500),
    ]
    assert utterances_of(dutch) == [("fillets_nl_small", 550)]


def test_a_spelling_game_without_its_held_out_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("es", "fr", *KLETTRES_LANGUAGES):
        write(tmp_path / language / "alpha" / "a.ogg", 440)
    monkeypatch.setattr(recordings, "KLETTRES", tmp_path)
    jobs = recordings.klettres()
    assert [utterances_of(job) for job in jobs] == [[("klettres_fr", 440)], [("klettres_es", 440)]]


def test_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "ru_0001.wav", 220, rate=16000)
    monkeypatch.setattr(recordings, "RUSSIAN", tmp_path)
    assert [utterances_of(job) for job in recordings.russian()] == [[("festvox_ru_nsh", 220)]]


def test_bare_g722_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.g722"
    with av.open(str(path), "w", format="g722") as file:
        stream = file.add_stream("adpcm_g722", rate=16000)
        stream.layout = "mono"
        samples = (tone(1000, rate=16000) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], layout="mono")
        frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    sound, rate = recordings.read(path)
    assert rate == 16000
    assert abs(pitch(sound, rate) - 1000) < 5
    assert abs(np.abs(sound).max() - 0.3) < 0.05


def test_what_is_cleaned_and_what_is_refused() -> None:
    quiet = np.zeros(24000, np.float32)
    clean = audio.clean(np.concatenate([quiet, tone(300), quiet]), 24000)
    assert clean is not None
    assert abs(clean.size / 24000 - (0.5 + 0.06 + 0.1)) < 0.02
    assert abs(np.abs(clean).max() - audio.PEAK) < 1e-3
    assert abs(pitch(clean) - 300) < 2
    assert audio.clean(tone(300, 0.2), 24000) is None
    assert audio.clean(tone(300, 29.0), 24000) is None
    assert audio.clean(tone(300) / 30, 24000) is None
    assert audio.clean(np.clip(tone(300), -0.2, 0.2), 24000) is None
    assert audio.clean(tone(300) * np.float32(np.nan), 24000) is None


class Teacher:
    """Gives each frame's number, as often as the sound has frames."""

    def features(self, narrow: np.ndarray) -> np.ndarray:
        return np.arange(narrow.size // shard.NARROW_FRAME, dtype=np.float16)[:, None]


def build(folder: Path) -> None:
    spoken = [Utterance(tone(hz, seconds), f"v{hz}") for hz, seconds in ((500, 0.61), (300, 0.5))]
    shard.write(folder, "tones", ORIGIN, spoken, Teacher())  # type: ignore[arg-type]


def test_a_shard_holds_its_utterances(tmp_path: Path) -> None:
    assert not shard.is_complete(tmp_path, "tones")
    build(tmp_path)
    assert shard.is_complete(tmp_path, "tones")
    about = json.loads((tmp_path / "tones.json").read_text("utf-8"))
    assert {key: about[key] for key in vars(ORIGIN)} == vars(ORIGIN)
    first, second = shard.read(tmp_path, "tones")
    assert (first.voice, second.voice) == ("v500", "v300")
    assert first.sound.size == 31 * shard.FRAME
    np.testing.assert_allclose(first.sound[: round(0.61 * 24000)], tone(500, 0.61), atol=5e-3)
    wide = np.load(tmp_path / "tones.24k.npy")
    narrow = np.load(tmp_path / "tones.16k.npy")
    assert wide.size // shard.FRAME * shard.NARROW_FRAME == narrow.size
    inner = slice(1000, 9000)
    assert np.abs(narrow[inner] / 32767 - tone(500, 0.61, 16000)[inner]).max() < 5e-3
    rows = np.load(tmp_path / "tones.whisper.npy")
    assert len(rows) * shard.FRAME == wide.size


def test_variants_of_a_shard(tmp_path: Path) -> None:
    build(tmp_path)
    base = Job("tones", ORIGIN, lambda folder: iter(()))
    faster = sped(base, "faster", 1.2, 1.2)
    assert faster.origin.band_hz == 12000
    for one, hz in zip(faster.speak(tmp_path), (500, 300), strict=True):
        assert one.change == {"pitch": 1.2, "formant": 1.2, "rate": 1.2}
        assert abs(pitch(one.sound) - 1.2 * hz) < 5
    moved = {one.voice: one for one in revoiced(base, 1).speak(tmp_path)}
    for hz in (500, 300):
        one = moved[f"v{hz}"]
        assert one.change["rate"] == 1.0
        assert 0.7 <= one.change["pitch"] <= 1.5


def test_voice_moved_by_world() -> None:
    line = np.zeros(24000 // 2 + 1)
    line[120::120] = np.exp(-(((np.arange(120, 12001, 120) - 1500) / 900.0) ** 2))
    vowel = np.fft.irfft(line * np.exp(1j * np.arange(12001) ** 1.3)).astype(np.float32)
    vowel *= 0.5 / np.abs(vowel).max()
    result = np.abs(np.fft.rfft(audio.revoice(vowel, 1.25, 1.1)[:24000] * np.hanning(24000)))
    assert abs(np.argmax(result[1200:2100]) + 1200 - 1650) <= 100
    harmonics = result[150::150][:20].sum()
    assert harmonics > 5 * result[225::150][:20].sum()


def test_utterances_are_taken_until_they_last() -> None:
    def endless() -> Iterator[Utterance]:
        while True:
            yield Utterance(tone(300, 1.0), "v")

    assert len(gather(endless(), 0.1)) == 6


def test_styles_pushed_beyond() -> None:
    rng = np.random.default_rng(0)
    style, reading, mean = rng.standard_normal((3, 510, 256)).astype(np.float32)
    as_it_is = pushed(style, style, mean, 1.0, 1.0)
    np.testing.assert_allclose(as_it_is, style, atol=1e-6)
    far = pushed(style, reading, mean, 1.5, 2.0)
    np.testing.assert_allclose(
        far[:, :128] - mean[:, :128], 1.5 * (style - mean)[:, :128], 1e-4, 1e-5
    )
    np.testing.assert_allclose(
        far[:, 128:] - mean[:, 128:], 2 * (reading - mean)[:, 128:], 1e-4, 1e-5
    )
    assert far.dtype == np.float32


def test_held_out_voices_are_not_drawn() -> None:
    names = [*KOKORO_VOICES, "af_one", "bm_two", "ff_three"]
    styles = {name: np.full((510, 256), i, np.float32) for i, name in enumerate(names)}
    rng = np.random.default_rng(0)
    drawn = [draw(styles, rng) for _ in range(300)]
    assert not any(name in voice for voice, _, _ in drawn for name in KOKORO_VOICES)
    assert {british for _, _, british in drawn} == {True, False}
    mixed = [(voice, style) for voice, style, _ in drawn if "*" in voice]
    assert 100 < len(mixed) < 200
    for voice, style in mixed[:20]:
        first, weight, second = voice.removeprefix("kokoro_").replace("+", "*").split("*")
        expected = float(weight) * styles[first] + (1 - float(weight)) * styles[second]
        np.testing.assert_allclose(style, expected, rtol=1e-5)
