"""Rows of items: the tokens of `fcs-edge encode`, for files, members of archives, and parts."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import DATA
from item_cases import item, recipe, same
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.audio import library
from fcs_edge.audio.byte_source import FilePart
from fcs_edge.audio.reader import open_input
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.schema import COLUMNS, is_cut
from fcs_edge.errors import ModelFileError

FORMATS = {
    "wav": ("WAV", "PCM_16", 16000),
    "flac": ("FLAC", "PCM_16", 48000),
    "mp3": ("MP3", "MPEG_LAYER_III", 44100),
    "ogg": ("OGG", "VORBIS", 22050),
    "opus": ("OGG", "OPUS", 48000),
    "aiff": ("AIFF", "PCM_24", 8000),
    "sph": ("NIST", "PCM_16", 16000),
    "ima.wav": ("WAV", "IMA_ADPCM", 16000),
}
"""Format, subtype and rate by suffix."""

SECONDS = 5.0


@pytest.fixture
def encoder(tiny: fcs_edge.Codec) -> Iterator[ItemEncoder]:
    encoder = ItemEncoder(tiny, recipe())
    yield encoder
    encoder.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same speech in each format."""
    folder = tmp_path_factory.mktemp("formats")
    speech, rate = soundfile.read(DATA / "84-121123-0005.flac", dtype="float32")
    paths = {}
    for suffix, (format, subtype, to) in FORMATS.items():
        times = np.arange(round(SECONDS * to)) * rate / to
        sound = np.interp(times, np.arange(speech.size), speech)
        paths[suffix] = folder / f"speech.{suffix}"
        soundfile.write(paths[suffix], sound, to, subtype, format=format)
    return paths


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_row_has_the_tokens_of_the_command(
    suffix: str, files: dict[str, Path], encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path
) -> None:
    path = files[suffix]
    row = encoder.row(item(path, columns={"speaker": "x", "path": "y"}))
    result = fcs_edge.encode_file(path, tmp_path / "x.npy", tiny)
    assert list(row) == [*COLUMNS, "speaker", "manifest_path"]
    assert same(row, np.load(tmp_path / "x.npy"))
    assert row["n_samples"] == result.n_samples
    assert row["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert (row["sample_rate_in"], row["channels"]) == (FORMATS[suffix][2], 1)
    assert (row["size"], row["mtime_ns"]) == (path.stat().st_size, 7)
    assert (row["warning"], row["error"], row["n_not_finite"]) == (None, None, 0)


def part_tokens(path: Path, start: float, seconds: float | None, codec: Any) -> Any:
    """Return the tokens of a part as if a file held nothing else."""
    with open_input(str(path), None, 1, 1) as sound:
        signal = np.concatenate(list(sound.blocks))
    first = round(start * sound.rate)
    end = None if seconds is None else first + round(seconds * sound.rate)
    buffer = path.with_name("part.wav")
    soundfile.write(buffer, signal[first:end], sound.rate, "FLOAT")
    return fcs_edge.encode_file(buffer, codec=codec).tokens


PARTS = ((2.5, 1.2), (0.0, 1.0), (0.7, None), (2.5, 1.2), (4.01, 0.3), (4.2, 0.1), (1.0, 1.0))
"""Offsets and durations, not in order."""


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_is_as_if_a_file_held_nothing_else(
    suffix: str, files: dict[str, Path], encoder: ItemEncoder, tiny: fcs_edge.Codec
) -> None:
    path = files[suffix]
    for start, seconds in PARTS:
        row = encoder.row(item(path, offset=start, duration=seconds))
        assert same(row, part_tokens(path, start, seconds, tiny)), (start, seconds)
        assert row["warning"] is None
    assert same(encoder.row(item(path)), fcs_edge.encode_file(path, codec=tiny).tokens)


@pytest.mark.parametrize("suffix", ["mp3", "opus", "flac"])
def test_parts_in_order_are_decoded_in_one_pass(
    suffix: str, files: dict[str, Path], encoder: ItemEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds_read = 0.0
    read = library.read_blocks

    def counted(*arguments: Any) -> Iterator[Any]:
        nonlocal seconds_read
        for block in read(*arguments):
            seconds_read += len(block) / FORMATS[suffix][2]
            yield block

    monkeypatch.setattr(library, "read_blocks", counted)
    hashed: list[object] = []
    monkeypatch.setattr("fcs_edge.audio.sound_slices.sha256_of", lambda *_: hashed.append(_) or "")
    for i in range(20):
        encoder.row(item(files[suffix], offset=i * 0.24, duration=0.24))
    # A seek reads to the end of a block of a second.
    assert seconds_read <= SECONDS + (20 if suffix == "flac" else 0.1)
    assert len(hashed) == 1


def test_members_of_an_archive_are_as_files(
    files: dict[str, Path], encoder: ItemEncoder, tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for path in files.values():
            tar.add(path, path.name)
    with tarfile.open(archive) as tar:
        members = {m.name: (m.offset_data, m.size) for m in tar}
    for path in reversed(files.values()):
        start, size = members[path.name]
        for offset, seconds in ((None, None), (3.0, 1.0), (1.0, None)):
            part = {"offset": offset, "duration": seconds}
            member = item(archive, member=path.name, start=start, size=size, **part)
            row, alone = encoder.row(member), encoder.row(item(path, **part))
            assert same(row, alone["tokens"])
            assert row["sha256"] == alone["sha256"]
            assert (row["warning"], row["member"]) == (None, path.name)


def test_an_archive_that_is_cut(
    files: dict[str, Path], encoder: ItemEncoder, tmp_path: Path
) -> None:
    data, stated = files["sph"].read_bytes(), files["sph"].stat().st_size
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(512) + data[: stated // 2])
    row = encoder.row(item(archive, member="a.sph", start=512, size=stated))
    assert is_cut(row)
    # Frames of MPEG audio that state no number: only the archive knows.
    frame = b"\xff\xfb\x90\xc4" + bytes(413)
    archive.write_bytes(frame * 10)
    row = encoder.row(item(archive, member="a.mp3", start=0, size=417 * 20))
    assert row["warning"].startswith("cut: 4170 of 8340 bytes; ends before its archive says")
    for start in (4171, 1 << 62, -1):
        row = encoder.row(item(archive, member="a.mp3", start=start, size=100))
        assert row["error"] == f"its place, byte {start}, is beyond the end of the file"


@pytest.mark.parametrize(
    ("offset", "duration", "error"),
    [
        (-1.0, 1.0, "its offset is -1 s; 0 or more is expected"),
        (float("nan"), None, "its offset is nan s; 0 or more is expected"),
        (float("inf"), None, "its offset is inf s; 0 or more is expected"),
        (0.0, 0.0, "its duration is 0 s; more than 0 is expected"),
        (0.0, -2.0, "its duration is -2 s; more than 0 is expected"),
        (0.0, float("nan"), "its duration is nan s; more than 0 is expected"),
        (5.0, None, "ends before 5 s"),
        (7.25, 1.0, "ends before 7.25 s"),
        (1e300, 1e300, "ends before 1e+09 s"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_parts_that_are_not_there(
    suffix: str,
    offset: float,
    duration: float | None,
    error: str,
    files: dict[str, Path],
    encoder: ItemEncoder,
) -> None:
    row = encoder.row(item(files[suffix], offset=offset, duration=duration))
    assert (row["error"], row["tokens"]) == (error, None)


def test_a_duration_beyond_the_end(
    files: dict[str, Path], encoder: ItemEncoder, tiny: fcs_edge.Codec
) -> None:
    for seconds, warning in ((1e300, "before its stated end"), (1.05, None), (1.5, "ends 0.50 s")):
        row = encoder.row(item(files["wav"], offset=4.0, duration=seconds))
        assert same(row, part_tokens(files["wav"], 4.0, None, tiny))
        assert not is_cut(row)
        assert (warning or "") in (row["warning"] or "")
        assert (row["warning"] is None) == (warning is None)


def test_a_part_before_the_cut_is_whole(
    files: dict[str, Path], encoder: ItemEncoder, tmp_path: Path
) -> None:
    for suffix in ("wav", "flac", "ogg", "mp3"):
        data = files[suffix].read_bytes()
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(data[: len(data) * 6 // 10])
        before = encoder.row(item(path, offset=0.5, duration=1.0))
        whole = encoder.row(item(files[suffix], offset=0.5, duration=1.0))
        across = encoder.row(item(path, offset=1.5, duration=3.0))
        beyond = encoder.row(item(path, offset=4.5, duration=0.1))
        again = encoder.row(item(path, offset=0.5, duration=1.0))
        assert same(before, whole["tokens"])
        assert not is_cut(before)
        assert (before["tokens"].tolist(), before["warning"]) == (
            again["tokens"].tolist(),
            again["warning"],
        )
        assert is_cut(across)
        assert 0 < across["n_tokens"] < 150
        assert beyond["error"].startswith("ends before 4.5 s; ")


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "opus", "ima.wav", "wav"])
def test_a_row_does_not_depend_on_the_rows_before(
    suffix: str, files: dict[str, Path], encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path
) -> None:
    """Nor where the file is damaged, and a decoder stops, or begins anew."""
    rng = np.random.default_rng(7)
    path = tmp_path / f"damaged.{suffix}"
    data = np.frombuffer(files[suffix].read_bytes(), np.uint8).copy()
    for _ in range(3):
        data[rng.integers(data.size // 5, data.size)] ^= rng.integers(1, 256, dtype=np.uint8)
        path.write_bytes(data.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fcs_edge.AudioWarning)
            tokens = fcs_edge.encode_file(path, codec=tiny).tokens
        assert same(encoder.row(item(path)), tokens)
        for start in rng.permutation(9) * 0.5:
            part = item(path, offset=float(start), duration=1.0)
            row, alone = encoder.row(part), ItemEncoder(tiny, recipe()).row(part)
            assert str(row["tokens"]) == str(alone["tokens"])
            assert row | {"tokens": 0} == alone | {"tokens": 0}


def test_channels(encoder: ItemEncoder, tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).standard_normal((8000, 2)).astype(np.float32) * 0.1
    path = tmp_path / "two.wav"
    soundfile.write(path, sound, 16000, "FLOAT")
    second = ItemEncoder(tiny, recipe(channel=2)).row(item(path))
    assert same(second, tiny.encode(sound[:, 1]))
    assert same(encoder.row(item(path, channel=1)), tiny.encode(sound[:, 0]))
    assert same(encoder.row(item(path, channel=2)), tiny.encode(sound[:, 1]))
    row = encoder.row(item(path, channel=3))
    assert (row["error"], row["channels"]) == ("has 2 channels; there is no channel 3", None)


def test_the_resampler_of_the_recipe(files: dict[str, Path], tiny: fcs_edge.Codec) -> None:
    encoder = ItemEncoder(tiny, recipe(resampler="torchaudio"))
    tokens = fcs_edge.encode_file(files["flac"], codec=tiny, resampler="torchaudio").tokens
    assert same(encoder.row(item(files["flac"])), tokens)


def test_a_model_that_needs_the_whole_sound(
    golden: Callable[[str], Any], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = golden("nc_tiny").codec
    path, done = files["wav"], list[float]()
    row = ItemEncoder(codec, recipe()).row(item(path), done.append)
    assert same(row, fcs_edge.encode_file(path, codec=codec).tokens)
    assert done[-1] == pytest.approx(SECONDS)
    windowed = ItemEncoder(codec, recipe(window=2.0, overlap=0.5))
    for _ in range(2):
        row = windowed.row(item(path))
        tokens = fcs_edge.encode_file(path, codec=codec, window=2.0, overlap=0.5).tokens
        assert same(row, tokens)
    monkeypatch.setattr("fcs_edge.streams.whole_signal.EXACT_LIMIT", 4.0)
    encoder = ItemEncoder(codec, recipe())
    row = encoder.row(item(path))
    assert row["error"] == "longer than 60 minutes: --exact or --window 30 encodes it"
    part = encoder.row(item(path, offset=1.0, duration=3.5))
    assert same(part, part_tokens(path, 1.0, 3.5, codec))
    exact = ItemEncoder(codec, recipe(exact=True)).row(item(path))
    assert same(exact, fcs_edge.encode_file(path, codec=codec, exact=True).tokens)


def test_half_a_model(golden: Callable[[str], Any], files: dict[str, Path], tmp_path: Path) -> None:
    from fcs_edge.convert import convert

    halves = {part: tmp_path / f"{part}.safetensors" for part in ("encoder", "decoder")}
    for part, path in halves.items():
        convert(golden("tiny").model, path, "tiny", "f32", part)
    row = ItemEncoder(fcs_edge.load(halves["encoder"]), recipe()).row(item(files["wav"]))
    assert same(row, fcs_edge.encode_file(files["wav"], codec=golden("tiny").codec).tokens)
    with pytest.raises(ModelFileError, match="the decoder half"):
        ItemEncoder(fcs_edge.load(halves["decoder"]), recipe())


class _Counting:
    """An encoder that computes nothing: 50 tokens a second."""

    used = None

    def __init__(self) -> None:
        self.n = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.uint16]:
        before, self.n = self.n, self.n + samples.size
        return np.zeros(self.n // 320 - before // 320, np.uint16)

    def flush(self) -> NDArray[np.uint16]:
        self.n = 0
        return np.zeros(0, np.uint16)


@contextmanager
def sparse_wav(path: Path, seconds: int) -> Iterator[Path]:
    """A file of zeros that takes no room on the disk."""
    head = io.BytesIO()
    soundfile.write(head, np.zeros(0), 16000, "PCM_16", format="WAV")
    data, n = bytearray(head.getvalue()), seconds * 32000
    data[40:44] = n.to_bytes(4, "little")
    path.write_bytes(data)
    os.truncate(path, len(data) + n)
    yield path
    path.unlink()


def test_memory_does_not_grow_with_the_sound(tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    peaks = []
    with ExitStack() as stack:
        for seconds in (60, 3600):
            path = stack.enter_context(sparse_wav(tmp_path / f"{seconds}.wav", seconds))
            encoder = ItemEncoder(tiny, recipe())
            encoder._encoder = _Counting()  # type: ignore[assignment]
            tracemalloc.start()
            row = encoder.row(item(path))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert row["n_tokens"] == seconds * 50
    assert peaks[1] - peaks[0] < 1 << 20


def test_names_that_are_not_utf8(encoder: ItemEncoder, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff\n.wav")
    soundfile.write(os.fsencode(path), np.zeros(320), 16000, format="WAV")
    row = encoder.row(item(path, id="a", member=os.fsdecode(b"\xfe")))
    assert row["error"] is None
    assert row["path"] == f"{tmp_path}/a\\xff\\x0a.wav"
    assert row["member"] == "\\xfe"


def test_a_part_of_a_file_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(100)))
    with (tmp_path / "x").open("rb") as file:
        part = FilePart(file.fileno(), 10, 20)
        assert part.read(5) == bytes(range(10, 15))
        assert (part.tell(), part.seek(-2, io.SEEK_END), part.read(9)) == (5, 18, b"\x1c\x1d")
        assert (part.seek(-1), part.seek(50), part.read(1)) == (20, 50, b"")
        assert part.bytes()[3:6] == b"\x0d\x0e\x0f"
        assert len(part.bytes()) == 20
        assert FilePart(file.fileno(), 90, 20).read() == bytes(range(90, 100))
        assert file.tell() == 0
