"""Key files, stream numbers, and replays."""

from __future__ import annotations

import base64
import os
import stat
import threading

import pytest

from fcs_edge.errors import FcsError
from fcs_edge.link import keys
from fcs_edge.link.keys import ReplayGuard, key_warning, new_key, new_stream, read_key

TOP = (1 << 64) - 1


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "link.key"
    new_key(path)
    return path


def sidecar(key, suffix):
    return key.with_name(key.name + suffix)


def denied(*_args, **_kwargs):
    raise PermissionError(13, "Permission denied")


class TestKeyFile:
    def test_new(self, key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key_warning(key) is None
        assert len(read_key(key)) == 32
        lines = key.read_text().splitlines()
        assert [line[0] == "#" for line in lines] == [True, False]
        assert base64.b64decode(lines[1]) == read_key(key)

    def test_two_differ(self, key):
        other = key.with_name("other.key")
        new_key(other)
        assert read_key(other) != read_key(key)

    def test_not_overwritten(self, key):
        before = key.read_bytes()
        with pytest.raises(FcsError, match="exists, and keys are not overwritten"):
            new_key(key)
        assert key.read_bytes() == before

    def test_no_folder(self, tmp_path):
        with pytest.raises(FcsError, match=r"cannot write .*: No such file"):
            new_key(tmp_path / "none" / "link.key")

    def test_full_disk_leaves_nothing(self, tmp_path, monkeypatch):
        def full(_descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(keys.os, "fsync", full)
        with pytest.raises(FcsError, match="No space left"):
            new_key(tmp_path / "link.key")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
    def test_warning(self, key, mode):
        key.chmod(mode)
        assert f"mode {mode:o}" in key_warning(key)
        assert "\n" not in key_warning(key)
        assert len(read_key(key)) == 32

    def test_no_comment_needed(self, tmp_path):
        path = tmp_path / "link.key"
        path.write_bytes(b"\n " + base64.b64encode(bytes(range(32))) + b"\r\n\n")
        assert read_key(path) == bytes(range(32))

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"# only a comment\n",
            b"hello\n",
            base64.b64encode(bytes(31)),
            base64.b64encode(bytes(33)),
            base64.b64encode(bytes(32)) + b"\n" + base64.b64encode(bytes(32)),
            base64.b64encode(bytes(32))[:20] + b"\n" + base64.b64encode(bytes(32))[20:],
            base64.b64encode(bytes(32)).replace(b"A", b"*", 1),
            bytes(32),
            "ключ\n".encode(),
            b"\xff" * 43,
        ],
    )
    def test_wrong_content(self, tmp_path, content):
        path = tmp_path / "link.key"
        path.write_bytes(content)
        with pytest.raises(FcsError, match="is not a key file") as caught:
            read_key(path)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path):
        with pytest.raises(FcsError, match="no such key file"):
            read_key(tmp_path / "link.key")
        assert key_warning(tmp_path / "link.key") is None

    def test_huge_file_is_not_read(self, tmp_path):
        path = tmp_path / "link.key"
        path.touch()
        os.truncate(path, 1 << 40)
        with pytest.raises(FcsError, match="is not a key file"):
            read_key(path)

    def test_folder_and_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(FcsError, match="is not a key file"):
                read_key(path)


class TestNewStream:
    def test_without_key(self, tmp_path):
        assert new_stream(None, 123) == (123, None)
        first, _ = new_stream(None)
        assert new_stream(None)[0] > first > 1_600_000_000 * 10**9
        assert list(tmp_path.iterdir()) == []

    def test_rises_whatever_the_clock(self, key):
        clocks = [1000, 2000, 2000, 5, -7, 2001, 9000]
        numbers = [new_stream(key, clock) for clock in clocks]
        assert numbers == [(n, None) for n in (1000, 2000, 2001, 2002, 2003, 2004, 9000)]
        assert sidecar(key, ".sent").read_text() == "9000\n"

    def test_no_number_left(self, key):
        assert new_stream(key, TOP)[0] == TOP
        with pytest.raises(FcsError, match="no stream number remains"):
            new_stream(key, 5)

    def test_unwritable(self, key, monkeypatch):
        new_stream(key, 1000)
        monkeypatch.setattr(keys, "replacing", denied)
        stream, warning = new_stream(key, 2000)
        assert stream == 2000
        assert "cannot write" in warning
        assert "\n" not in warning
        with pytest.raises(FcsError, match="clock is behind the last stream"):
            new_stream(key, 500)

    def test_two_senders_at_once(self, key):
        numbers = []

        def send():
            numbers.extend(new_stream(key, 5)[0] for _ in range(5))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers) == list(range(5, 25))

    def test_no_key_file(self, tmp_path):
        with pytest.raises(FcsError, match="cannot lock"):
            new_stream(tmp_path / "link.key", 5)


@pytest.mark.parametrize("suffix", [".sent", ".seen"])
@pytest.mark.parametrize(
    "content", [b"", b"12", b"12 \n", b"-1\n", b"x\n", b"1 2 3\n", b"9" * 21 + b"\n", b"0" * 5000]
)
def test_damaged_sidecar(key, suffix, content):
    path = sidecar(key, suffix)
    path.write_bytes(content)
    with pytest.raises(FcsError, match=r"damaged.*create a new key") as caught:
        new_stream(key, 5) if suffix == ".sent" else ReplayGuard(key)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("suffix", "content"),
    [(".sent", f"{TOP + 1}\n"), (".seen", f"{TOP + 1} 0\n"), (".seen", f"5 {1 << 32}\n")],
)
def test_number_out_of_range(key, suffix, content):
    sidecar(key, suffix).write_text(content)
    with pytest.raises(FcsError, match="damaged"):
        new_stream(key, 5) if suffix == ".sent" else ReplayGuard(key)


def test_sidecar_that_cannot_be_read(key):
    sidecar(key, ".sent").mkdir()
    with pytest.raises(FcsError, match="damaged"):
        new_stream(key, 5)


class TestReplayGuard:
    def test_streams(self, key):
        guard = ReplayGuard(key)
        assert guard.admit(100, 0, 0)
        assert guard.admit(100, 5, 0)
        assert guard.admit(100, 3, 0)
        assert guard.admit(200, 900, 1)
        assert not guard.admit(100, 6, 1)
        assert not guard.admit(199, 0, 1)
        assert guard.admit(200, 0, 1)

    def test_restart_inside_a_stream(self, key):
        guard = ReplayGuard(key)
        for sequence in (0, 1, 7, 4):
            assert guard.admit(100, sequence, 0)
        guard.save()
        again = ReplayGuard(key)
        assert not any(again.admit(100, sequence, 0) for sequence in range(8))
        assert not again.admit(99, 5000, 0)
        assert again.admit(100, 9, 0)
        assert again.admit(100, 8, 0)
        assert again.admit(101, 0, 0)

    def test_first_of_all(self, key):
        assert ReplayGuard(key).admit(0, 0, 0)

    def test_saved_at_a_new_stream_and_every_few_seconds(self, key, monkeypatch):
        path = sidecar(key, ".seen")
        guard = ReplayGuard(key)
        states = []
        for i in range(150):
            guard.admit(7, i, 50 + i * 0.08)
            states.append(path.read_text())
        assert list(dict.fromkeys(states)) == ["7 0\n", "7 63\n", "7 126\n"]
        guard.admit(8, 0, 62)
        assert path.read_text() == "8 0\n"
        monkeypatch.setattr(keys, "_write_numbers", denied)
        guard.save()

    def test_a_crash_costs_the_last_seconds(self, key):
        guard = ReplayGuard(key)
        for i in range(100):
            guard.admit(7, i, i * 0.08)
        again = ReplayGuard(key)
        assert not again.admit(7, 63, 0)
        assert again.admit(7, 64, 0)

    def test_unwritable(self, key, monkeypatch):
        guard = ReplayGuard(key)
        with monkeypatch.context() as patch:
            patch.setattr(keys, "replacing", denied)
            assert guard.admit(7, 0, 0)
            assert "cannot write" in guard.warning
            assert "\n" not in guard.warning
            assert not guard.admit(6, 0, 1)
        guard.admit(7, 1, 1)
        assert guard.warning
        guard.admit(7, 2, 6)
        assert guard.warning is None
        assert not ReplayGuard(key).admit(7, 2, 0)

    def test_another_key_is_another_matter(self, key):
        other = key.with_name("other.key")
        new_key(other)
        ReplayGuard(key).admit(100, 0, 0)
        assert ReplayGuard(other).admit(5, 0, 0)
