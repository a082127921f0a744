"""Key files: two halves, who can read them, and what is refused."""

from __future__ import annotations

import base64
import os
import stat

import pytest

from fcs_edge.errors import FcsError
from fcs_edge.link import keys
from fcs_edge.link.keys import key_warning, new_key, peer_path, read_key
from fcs_edge.link.seal import LinkKey


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "link.key"
    new_key(path)
    return path


class TestKeyFile:
    def test_new(self, key):
        peer = key.with_name("link.peer.key")
        assert sorted(key.parent.iterdir()) == [key, peer]
        for path, side in ((key, "a"), (peer, "b")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert key_warning(path) is None
            lines = path.read_text().splitlines()
            assert [line[0] == "#" for line in lines] == [True, False]
            assert lines[1] == f"{side} {base64.b64encode(read_key(path).secret).decode()}"
            assert read_key(path).side == side
        assert read_key(key).secret == read_key(peer).secret
        assert len(read_key(key).secret) == 32

    def test_two_differ(self, key):
        other = key.with_name("other.key")
        assert new_key(other) == peer_path(other) == key.with_name("other.peer.key")
        assert read_key(other).secret != read_key(key).secret

    @pytest.mark.parametrize("half", ["link.key", "link.peer.key"])
    def test_not_overwritten(self, tmp_path, half):
        (tmp_path / half).write_bytes(b"precious")
        with pytest.raises(FcsError, match="exists, and keys are not overwritten"):
            new_key(tmp_path / "link.key")
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]

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

    @pytest.mark.parametrize("call", [1, 2])
    def test_an_interruption_leaves_nothing(self, tmp_path, monkeypatch, call):
        calls = []

        def interrupted(_descriptor):
            calls.append(1)
            if len(calls) == call:
                raise KeyboardInterrupt

        monkeypatch.setattr(keys.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new_key(tmp_path / "link.key")
        assert list(tmp_path.iterdir()) == []

    def test_the_secret_is_in_no_representation(self, key):
        half = read_key(key)
        for shown in (half, half.outgoing, half.incoming):
            assert repr(half.secret) not in repr(shown)
            assert "secret" not in repr(shown)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
    def test_warning(self, key, mode):
        key.chmod(mode)
        assert f"mode {mode:o}" in key_warning(key)
        assert "\n" not in key_warning(key)
        assert len(read_key(key).secret) == 32

    def test_no_comment_needed(self, tmp_path):
        path = tmp_path / "link.key"
        path.write_bytes(b"\n b " + base64.b64encode(bytes(range(32))) + b"\r\n\n")
        assert read_key(path) == LinkKey(bytes(range(32)), "b")

    def test_no_side(self, tmp_path):
        path = tmp_path / "link.key"
        path.write_bytes(base64.b64encode(bytes(32)))
        with pytest.raises(FcsError, match="names no side, a or b: create a new key"):
            read_key(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"# only a comment\n",
            b"hello\n",
            b"a " + base64.b64encode(bytes(31)),
            b"a " + base64.b64encode(bytes(33)),
            b"c " + base64.b64encode(bytes(32)),
            b"ab " + base64.b64encode(bytes(32)),
            (b"a " + base64.b64encode(bytes(32)) + b"\n") * 2,
            b"a " + base64.b64encode(bytes(32))[:20] + b"\n" + base64.b64encode(bytes(32))[20:],
            b"a " + base64.b64encode(bytes(32)).replace(b"A", b"*", 1),
            b"a " + base64.b64encode(bytes(32)).replace(b"=", b"", 1),
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
