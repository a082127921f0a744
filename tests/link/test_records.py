"""Records beside a key: numbers of streams whatever the clock and the disk do, and replays."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest

from fcs_edge.errors import FcsError
from fcs_edge.link import records
from fcs_edge.link.keys import new_key, peer_path, read_key
from fcs_edge.link.packets import MAX_STREAM, stream_bytes
from fcs_edge.link.records import EPOCH_SECONDS, ReplayGuard, new_stream, stream_time

LAST_TIME = (1 << 40) - 1


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "link.key"
    new_key(path)
    return path


def beside(key, suffix):
    return key.with_name(key.name + suffix)


def clock(milliseconds):
    """Return a clock in nanoseconds since 1970, from milliseconds since 2020."""
    return (milliseconds + 1000 * EPOCH_SECONDS) * 1_000_000


def moments(key, *clocks):
    return [new_stream(key, clock(each))[0] >> 40 for each in clocks]


def denied(*_args, **_kwargs):
    raise PermissionError(13, "Permission denied")


class TestNewStream:
    def test_without_key(self, tmp_path):
        stream, warning = new_stream(None, clock(123))
        assert (stream >> 40, warning) == (123, None)
        assert stream_time(stream) == EPOCH_SECONDS + 0.123
        assert new_stream(None)[0] >> 40 > 200 * 10**9
        assert list(tmp_path.iterdir()) == []

    def test_rises_whatever_the_clock(self, key):
        assert moments(key, 1000, 2000, 2000, 5, -7, 2001, 9000) == [
            *(1000, 2000, 2001, 2002, 2003, 2004, 9000)
        ]
        assert beside(key, ".sent").read_text() == "9000\n"

    def test_no_time_left(self, key):
        assert moments(key, LAST_TIME) == [LAST_TIME]
        with pytest.raises(FcsError, match=r"2054: set the clock, and create a new key"):
            new_stream(key, clock(5))
        with pytest.raises(FcsError, match="after 2054: set it"):
            new_stream(None, clock(LAST_TIME + 1))

    def test_unwritable_is_reported(self, key, monkeypatch):
        new_stream(key, clock(1000))
        monkeypatch.setattr(records, "replacing", denied)
        for now, moment in ((2000, 2000), (500, 1001)):
            stream, warning = new_stream(key, clock(now))
            assert stream >> 40 == moment
            assert "cannot write" in warning
            assert "\n" not in warning

    def test_two_senders_at_once(self, key):
        numbers = []

        def send():
            numbers.extend(moments(key, 5, 5, 5, 5, 5))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers) == list(range(5, 25))

    def test_damaged_record_is_written_anew(self, key):
        for content in (b"", b"12", b"x\n", b"1 2\n", b"9" * 30 + b"\n"):
            beside(key, ".sent").write_bytes(content)
            stream, warning = new_stream(key, clock(70))
            assert stream >> 40 == 70
            assert "was damaged" in warning
            assert moments(key, 5) == [71]

    def test_record_that_is_a_folder(self, key):
        beside(key, ".sent").mkdir()
        assert "cannot write" in new_stream(key, clock(5))[1]

    def test_another_program_holds_the_lock(self, key, monkeypatch):
        monkeypatch.setattr(records, "_LOCK_SECONDS", 0.05)
        with key.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            stream, warning = new_stream(key, clock(5))
            assert not beside(key, ".sent").exists()
        assert stream >> 40 == 5
        assert "another program holds it" in warning

    @pytest.mark.parametrize("state", ["absent", "read-only", "rolled back"])
    @pytest.mark.parametrize("now", [[77] * 40, range(40, 0, -1), [-(10**9)] * 40])
    def test_no_key_and_nonce_repeats(self, key, state, now, monkeypatch):
        """A board without a clock or a disk: the nonce is the sequence, so each key is new."""
        record = beside(key, ".sent")
        new_stream(key, clock(60))
        before = record.read_bytes()
        if state == "read-only":
            monkeypatch.setattr(records, "replacing", denied)
        outgoing, used = read_key(key).outgoing, set()
        for milliseconds in now:
            if state == "absent":
                record.unlink(missing_ok=True)
            elif state == "rolled back":
                record.write_bytes(before)
            stream = new_stream(key, clock(milliseconds))[0]
            used.add(outgoing.of_stream(stream_bytes(stream), bytes(8)))
        assert len(used) == len(now)


@pytest.mark.parametrize(
    "content", [b"", b"12", b"12 \n", b"-1 2\n", b"x\n", b"1 2 3\n", b"0" * 5000]
)
def test_damaged_record_of_received_streams(key, content):
    path = beside(key, ".seen")
    path.write_bytes(content)
    with pytest.raises(FcsError, match=r"damaged.*create a new key") as caught:
        ReplayGuard(key)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [f"{MAX_STREAM + 1} 0\n", f"5 {(1 << 32) + 1}\n"])
def test_number_out_of_range(key, content):
    beside(key, ".seen").write_text(content)
    with pytest.raises(FcsError, match="damaged"):
        ReplayGuard(key)


class TestReplayGuard:
    def test_streams(self, key):
        guard = ReplayGuard(key)
        assert guard.admit(100, 0)
        assert guard.admit(100, 5)
        assert guard.admit(100, 3)
        assert guard.admit(200, 900)
        assert not guard.admit(100, 6)
        assert not guard.admit(199, 0)
        assert guard.admit(200, 0)

    def test_restart_inside_a_stream(self, key):
        guard = ReplayGuard(key)
        assert guard.fresh
        assert all(guard.admit(100, sequence) for sequence in (0, 1, 7, 4))
        guard.save()
        again = ReplayGuard(key)
        assert not again.fresh
        assert not any(again.admit(100, sequence) for sequence in range(8))
        assert not again.admit(99, 5000)
        assert again.admit(100, 9)
        assert again.admit(100, 8)
        assert again.admit(101, 0)

    def test_first_and_last_of_all(self, key):
        guard = ReplayGuard(key)
        assert guard.admit(0, 0)
        assert guard.admit(MAX_STREAM, (1 << 32) - 1)
        guard.save()
        assert not ReplayGuard(key).admit(MAX_STREAM, (1 << 32) - 1)

    def test_recorded_at_a_new_stream_and_by_save(self, key):
        path = beside(key, ".seen")
        guard = ReplayGuard(key)
        assert path.read_text() == "0 0\n"
        guard.admit(7, 3)
        assert path.read_text() == "7 0\n"
        guard.save()
        assert path.read_text() == "7 4\n"
        guard.admit(8, 0)
        assert path.read_text() == "8 0\n"

    def test_nothing_new_is_not_written(self, key, monkeypatch):
        guard = ReplayGuard(key)
        guard.admit(7, 3)
        guard.save()
        monkeypatch.setattr(records, "_write_numbers", denied)
        guard.admit(7, 2)
        guard.save()

    def test_unwritable_at_the_start(self, key, monkeypatch):
        warnings = []
        monkeypatch.setattr(records, "replacing", denied)
        guard = ReplayGuard(key, warnings.append)
        assert len(warnings) == 1
        assert "cannot write" in warnings[0]
        assert "in this run only" in warnings[0]
        assert not guard.fresh
        assert "\n" not in warnings[0]
        assert guard.admit(7, 0)
        assert not guard.admit(6, 0)
        guard.save()
        assert len(warnings) == 1

    def test_unwritable_later(self, key, monkeypatch):
        warnings = []
        guard = ReplayGuard(key, warnings.append)
        with monkeypatch.context() as patch:
            patch.setattr(records, "replacing", denied)
            assert guard.admit(7, 0)
            assert len(warnings) == 1
        guard.save()
        assert not ReplayGuard(key).admit(7, 0)

    def test_damaged_meanwhile(self, key):
        warnings = []
        guard = ReplayGuard(key, warnings.append)
        beside(key, ".seen").write_bytes(b"")
        assert guard.admit(7, 0)
        guard.save()
        assert len(warnings) == 1
        assert beside(key, ".seen").read_bytes() == b""

    def test_deleted_meanwhile(self, key):
        guard = ReplayGuard(key)
        guard.admit(7, 5)
        beside(key, ".seen").unlink()
        guard.save()
        assert beside(key, ".seen").read_text() == "7 6\n"

    def test_two_receivers_never_lower_the_record(self, key):
        one, two = ReplayGuard(key), ReplayGuard(key)
        assert one.admit(100, 0)
        assert two.admit(200, 50)
        two.save()
        assert one.admit(100, 9)
        one.save()
        assert beside(key, ".seen").read_text() == "200 51\n"
        assert not ReplayGuard(key).admit(200, 50)

    def test_a_second_receiver_takes_no_stream_of_the_first(self, key):
        one, two = ReplayGuard(key), ReplayGuard(key)
        assert all(one.admit(100, sequence) for sequence in range(10))
        one.save()
        assert not any(two.admit(100, sequence) for sequence in range(10))
        assert two.admit(100, 10)
        assert one.admit(300, 0)
        assert not two.admit(200, 0)

    def test_many_at_once(self, key):
        def receive(first):
            guard = ReplayGuard(key)
            for stream in range(first, 60, 4):
                guard.admit(stream, 0)
                guard.save()

        threads = [threading.Thread(target=receive, args=(first,)) for first in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert beside(key, ".seen").read_text() == "59 1\n"

    def test_another_key_is_another_matter(self, key):
        other = key.with_name("other.key")
        new_key(other)
        ReplayGuard(key).admit(100, 0)
        assert ReplayGuard(other).admit(5, 0)


class TestLock:
    """A lock that another program holds, or that the file system does not offer."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch):
        monkeypatch.setattr(records, "_LOCK_SECONDS", 0.05)

    def test_nothing_is_written_beside_another_program(self, key):
        """It may be slow, have read an older record, and be about to write that."""
        warnings = []
        guard = ReplayGuard(key, warnings.append)
        with key.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert guard.admit(7, 3)
            guard.save()
            assert beside(key, ".seen").read_text() == "0 0\n"
        assert len(warnings) == 1
        assert "another program holds it" in warnings[0]
        guard.save()
        assert beside(key, ".seen").read_text() == "7 4\n"

    def test_file_system_without_locks(self, key, monkeypatch):
        def no_locks(*_args):
            raise OSError(37, "No locks available")

        warnings = []
        monkeypatch.setattr(fcntl, "flock", no_locks)
        guard = ReplayGuard(key, warnings.append)
        assert guard.admit(7, 3)
        guard.save()
        assert beside(key, ".seen").read_text() == "7 4\n"
        assert len(warnings) == 1
        assert "a second receiver of this key may take replays" in warnings[0]
        monkeypatch.setattr(records, "replacing", denied)
        assert guard.admit(8, 0)
        assert "rejected in this run only" in warnings[1]

    def test_file_system_that_locks_writers_only(self, key, monkeypatch):
        """NFS does."""

        def nfs(file, operation):
            if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(9, "Bad file descriptor")

        warnings = []
        monkeypatch.setattr(fcntl, "flock", nfs)
        ReplayGuard(key, warnings.append)
        assert not warnings


def test_a_flood_of_streams_that_another_receiver_passed_reads_no_files(key, monkeypatch):
    one, two = ReplayGuard(key), ReplayGuard(key)
    assert one.admit(300, 0)
    assert not two.admit(200, 0)
    monkeypatch.setattr(records, "_locked", denied)
    assert not any(two.admit(stream, 0) for stream in range(100, 300))


def test_two_names_of_one_key_share_the_records(key, tmp_path):
    link = tmp_path / "other.key"
    link.symlink_to(key)
    assert ReplayGuard(key).admit(7, 0)
    assert not ReplayGuard(link).admit(6, 0)
    assert moments(link, 50) == [50]
    assert moments(key, 40) == [51]


def test_a_new_key_has_no_records_of_a_deleted_one(key):
    """Else the advice of a damaged record would lead back to it."""
    peer = peer_path(key)
    for half in (key, peer):
        beside(half, ".seen").write_bytes(b"damaged")
        beside(half, ".sent").write_text(f"{LAST_TIME}\n")
        half.unlink()
    new_key(key)
    assert sorted(key.parent.iterdir()) == sorted([key, peer])
    assert ReplayGuard(key).fresh
