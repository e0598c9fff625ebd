"""Files are whole or absent."""

import errno
import os
from types import SimpleNamespace

import pytest

from swiftrl.core.errors import ConfigError, MachineError
from swiftrl.core.files import atomic_directory, disk_errors, write_json, write_text


def test_write_text_replaces(tmp_path):
    path = tmp_path / "a" / "x.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["x.txt"]


def test_write_json_keeps_chinese(tmp_path):
    write_json(tmp_path / "x.json", {"a": "中"})
    assert "中" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_directory_appears_whole(tmp_path):
    target = tmp_path / "out"
    with atomic_directory(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"


def test_files_of_a_directory_may_be_read_by_others(tmp_path):
    target = tmp_path / "out"
    with atomic_directory(target) as folder:
        (folder / "weights").write_text("1")
        (folder / "weights").chmod(0o600)
    assert (target / "weights").stat().st_mode & 0o777 == 0o644


def test_directory_survives_an_error(tmp_path):
    target = tmp_path / "out"
    with atomic_directory(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(ValueError), atomic_directory(target) as folder:
        (folder / "a").write_text("2")
        raise ValueError
    assert (target / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["out"]


def test_directory_is_replaced_and_leftovers_go(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("")
    (tmp_path / ".out.tmp-killed").mkdir()
    with atomic_directory(target) as folder:
        (folder / "new").write_text("")
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, MachineError, "no space left"),
        (errno.EACCES, ConfigError, "cannot be written"),
        (errno.ENOENT, ConfigError, "cannot be written"),
        (errno.ENOTDIR, ConfigError, "a file stands where a folder is needed"),
        (errno.EIO, MachineError, "writing failed"),
    ],
)
def test_disk_errors(tmp_path, number, kind, words):
    with pytest.raises(kind, match=words), disk_errors(tmp_path / "x"):
        raise OSError(number, os.strerror(number))


def test_free_space_is_measured_while_what_filled_the_disk_is_there(tmp_path, monkeypatch):
    def usage(path):
        unfinished = list(tmp_path.glob(".out.tmp-*"))
        return SimpleNamespace(free=2**20 if unfinished else 2**30)

    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(MachineError, match="1 MiB free"), atomic_directory(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "full")
