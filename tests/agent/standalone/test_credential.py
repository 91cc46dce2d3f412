"""Who is believed: key files and what is wrong with them. Munge is in tests/slurm."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from madrun.agent.standalone.credential import SharedKey, make_key, named_key, shared_key
from madrun.agent.standalone.keys import Keys
from madrun.system.errors import ClusterError, InputError

KEY = SharedKey("key", b"k" * 32)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 8])
def test_what_is_sealed_comes_back(payload: bytes) -> None:
    sealed = KEY.seal(payload)
    assert sealed.isascii()
    assert b"\n" not in sealed
    assert KEY.open(sealed) == payload


def test_any_changed_bit_is_seen() -> None:
    text = base64.b64decode(KEY.seal(b"rank 1"))
    for index in range(len(text)):
        changed = text[:index] + bytes([text[index] ^ 1]) + text[index + 1 :]
        with pytest.raises(ClusterError, match="does not know the key"):
            KEY.open(base64.b64encode(changed))


@pytest.mark.parametrize("text", [b"", b"!", b"AAAA", b"\xff\xfe", b"MUNGE:AwQ:"])
def test_what_is_no_credential_is_none(text: bytes) -> None:
    with pytest.raises(ClusterError):
        KEY.open(text)


def test_another_key_is_not_believed() -> None:
    with pytest.raises(ClusterError, match="does not know the key"):
        SharedKey("key", b"x" * 32).open(KEY.seal(b"hello"))


def test_the_key_that_node_0_makes_is_for_us_alone_and_is_read_by_the_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"left by a run that was killed")
    made = make_key(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert shared_key(str(path)).open(made.seal(b"hello")) == b"hello"


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [
        (0o640, b"k" * 32, "others may use it (mode 0640)"),
        (0o604, b"k" * 32, "others may use it (mode 0604)"),
        (0o600, b"k" * 15, "a key has 16 to 4096 bytes, this has 15"),
        (0o600, b"k" * 4097, "a key has 16 to 4096 bytes"),
    ],
)
def test_a_key_file_that_cannot_be_used_says_why(
    tmp_path: Path, mode: int, content: bytes, words: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(InputError) as caught:
        named_key(str(path))
    assert f"--key-file {path}: " in str(caught.value)
    assert words in str(caught.value)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "key"
    os.mkfifo(pipe, 0o600)
    for path, words in ((pipe, "no file"), (tmp_path, "no file"), (tmp_path / "x", "No such file")):
        with pytest.raises(InputError, match=words):
            named_key(str(path))


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user's file")
def test_a_key_of_another_user_is_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    os.chown(path, 65534, 65534)
    with pytest.raises(InputError, match="it belongs to another user"):
        named_key(str(path))


def test_a_link_in_the_shared_folder_is_not_followed(tmp_path: Path) -> None:
    make_key(str(tmp_path / "key"))
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(ClusterError):
        shared_key(str(tmp_path / "link"))


def test_with_a_key_file_nothing_else_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    keys = Keys(str(path), "job")
    assert keys.named("key").open(KEY.seal(b"hello")) == b"hello"
    for name in ("file", "munge"):
        with pytest.raises(ClusterError, match="does not use the key file"):
            keys.named(name)


def test_without_munge_the_home_folder_has_the_key_while_the_agents_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("madrun.agent.standalone.credential._LIBMUNGE", "libnone.so")
    here, there = Keys("", "slurm-1.0"), Keys("", "slurm-1.0")
    with here.on_node_zero() as credential:
        assert there.named(credential.name).open(credential.seal(b"hello")) == b"hello"
    assert os.listdir(tmp_path / ".madrun" / "keys") == []
    with pytest.raises(ClusterError, match="No such file"):
        there.named("file")


def test_where_nothing_is_there_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("madrun.agent.standalone.credential._LIBMUNGE", "libnone.so")
    with (
        pytest.raises(ClusterError, match="--key-file names a file with a key"),
        Keys("", "j").on_node_zero(),
    ):
        raise AssertionError("there is no credential")
