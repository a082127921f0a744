"""A voice changes speech live: through the virtual sound card, and over a link."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge.model.layers import F32
from helpers import stream_tokens
from sound_card import SoundCard, interrupt

SECONDS = 3


@pytest.fixture
def voice(tmp_path: Path, speech: F32) -> Path:
    """The second half of the speech, of which the tests send the first."""
    codec = fcs_edge.load()
    rows = codec.decompress(codec.codes(codec.encode(speech[90000:])))
    path = tmp_path / "a.voice"
    fcs_edge.Voice(rows.astype(np.float16), codec.fingerprint, codec.name, "decompressor").save(
        path
    )
    return path


def played(path: Path) -> F32:
    sound, _ = soundfile.read(path, dtype="int16")
    return np.asarray(sound)


def as_stored(sound: F32) -> F32:
    """Return samples as a file of 16 bits holds them."""
    return np.rint(np.clip(sound, -1, 1) * np.float32(32767)).astype(np.int16)


def test_microphone_to_speaker(
    sound_card: SoundCard,
    tmp_path: Path,
    voice: Path,
    speech: F32,
    finished: Callable[..., str],
) -> None:
    source, tokens_file, out = (tmp_path / name for name in ("s.wav", "t.fcs", "o.wav"))
    # Speech for longer than the command takes to start.
    soundfile.write(source, np.tile(speech[:90000], 9), 16000)
    sound_card.speak(source)
    recording = tmp_path / "speaker.raw"
    sound_card.record("spk.monitor", recording, 48000)
    options = ("--record-bitstream", tokens_file, "--record-output", out)
    finished(sound_card.fcs("mic", "--duration", SECONDS, "--voice", voice, *options))
    codec = fcs_edge.load()
    tokens = stream_tokens(tokens_file, strict=True)
    changed = codec.decode(tokens, voice=fcs_edge.load_voice(voice))
    # To the bit, what is decoded offline with the voice; and that is another sound.
    np.testing.assert_array_equal(played(out), as_stored(changed))
    assert np.corrcoef(changed, codec.decode(tokens))[0, 1] < 0.9
    assert np.abs(np.fromfile(recording, "<i2").astype(np.int32)).max() > 1000


def test_over_a_link(
    sound_card: SoundCard,
    tmp_path: Path,
    voice: Path,
    speech: F32,
    finished: Callable[..., str],
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    source, out = tmp_path / "s.wav", tmp_path / "o.wav"
    soundfile.write(source, speech[:90000], 16000)
    options = ("--monitor", "off", "--record-output", out, "--voice", voice)
    receiver = sound_card.fcs("receive", port, *options)
    assert receiver.stderr is not None
    while b"listening" not in receiver.stderr.readline():
        assert receiver.poll() is None
    finished(sound_card.fcs("send", f"127.0.0.1:{port}", "--from", source))
    interrupt(receiver)
    finished(receiver)
    codec = fcs_edge.load()
    signal = codec.encode(speech[:90000])
    changed = as_stored(codec.decode(signal, voice=fcs_edge.load_voice(voice)))
    size = codec.samples_out_per_token * codec.chunk_tokens
    # Where the first chunks play depends on the buffer: look for four chunks.
    part, got = changed[13 * size : 17 * size], played(out)
    assert any(np.array_equal(part, got[at : at + part.size]) for at in range(0, got.size, size))
