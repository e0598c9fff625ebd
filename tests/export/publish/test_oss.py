"""`--to oss`: the vendor's SDK against a fake OSS that checks V4 signatures, over a bad way."""

import os
import signal
import subprocess
import sys
import time

import pytest
from cloud_fakes import folders
from cloud_fakes.oss import Bucket, FakeOss, crc64
from cloud_fakes.way import Way

from swiftrl.cli.main import main
from swiftrl.export.publish.state import state_file

pytest.importorskip("alibabacloud_oss_v2", reason="swiftrl[alibaba]")

SECRET = "a-secret-that-must-not-show"
PART = 2**20


@pytest.fixture
def oss(monkeypatch):
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", SECRET)
    monkeypatch.setattr("swiftrl.export.publish.retrying._LONGEST_S", 0.05)
    fake = FakeOss({"AKID": SECRET})
    fake.buckets["models"] = Bucket()
    yield fake
    fake.close()


@pytest.fixture
def way(oss):
    way = Way(oss.address)
    yield way
    way.close()


def words(folder, way, *more):
    return [
        "export", "--to", "oss", "--model", str(folder), "--destination", "oss://models/mine/",
        "--region", "cn-beijing", "--endpoint", way.url, "--part_size_mib", "1", *more,
    ]  # fmt: skip


def all_right(oss, folder):
    objects = oss.buckets["models"].objects
    assert set(objects) == {f"mine/{path.name}" for path in folder.iterdir()}
    for path in folder.iterdir():
        assert objects[f"mine/{path.name}"][0] == path.read_bytes(), path.name
    assert not oss.buckets["models"].uploads


def each_part_once(way, count):
    sent = [path.partition("partNumber=")[2].partition("&")[0] for path in way.parts()]
    assert sorted(sent, key=int) == [str(number + 1) for number in range(count)]


def test_the_fakes_checksum():
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA


def test_sent_over_a_way_that_fails(tmp_path, oss, way, capsys):
    folder = folders.model(tmp_path / "model", 3 * PART + 1000)
    faults = {"1": ["cut", "500"], "2": ["lost"], "3": ["slow"], "4": ["500", "lost"]}

    def fault(method, path, seen):
        if "partNumber=" in path and method == "PUT":
            return dict(enumerate(faults[path.partition("partNumber=")[2][0]])).get(seen)
        if method == "POST":  # beginning, completing
            return "lost" if seen == 0 else None
        if method == "PUT":
            return "lost" if seen == 0 else None
        return "500" if seen == 0 and method == "HEAD" else None

    way.fault = fault
    assert main(words(folder, way)) == 0
    all_right(oss, folder)
    each_part_once(way, 4)
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err + state_file(folder, "oss").read_text()


def test_killed_and_resumed(tmp_path, oss, way):
    folder = folders.model(tmp_path / "model", 4 * PART + 7)
    way.fault = lambda method, path, seen: "hang" if "partNumber=4" in path else None
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftrl", *words(folder, way, "--upload_threads", "1")],
        env=dict(os.environ), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not any("partNumber=4" in path for _, path in way.seen):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(way.parts()) == 3
    way.fault = lambda method, path, seen: None
    assert main(words(folder, way)) == 0
    all_right(oss, folder)
    each_part_once(way, 5)


def test_an_object_that_changed_is_named(tmp_path, oss, way, capsys):
    folder = folders.model(tmp_path / "model", PART + 10)
    assert main(words(folder, way)) == 0
    data, notes = oss.buckets["models"].objects["mine/model.safetensors"]
    oss.buckets["models"].objects["mine/model.safetensors"] = (data[:-1] + b"!", notes)
    assert main(words(folder, way, "--stage", "verify")) == 2
    assert "mine/model.safetensors: its CRC64 is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OSS_ACCESS_KEY_ID", "OTHER", "the access key is unknown (InvalidAccessKeyId)"),
        ("OSS_ACCESS_KEY_SECRET", "other", "the secret key does not fit the access key"),
    ],
)
def test_wrong_credentials(tmp_path, oss, way, monkeypatch, capsys, name, value, message):
    monkeypatch.setenv(name, value)
    folder = folders.model(tmp_path / "model", PART + 10)
    assert main(words(folder, way)) == 2
    assert message in capsys.readouterr().err
    assert not oss.buckets["models"].objects


def test_no_credentials_and_no_region(tmp_path, monkeypatch, capsys, oss, way):
    folder = folders.model(tmp_path / "model")
    monkeypatch.delenv("OSS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(words(folder, way)) == 2
    assert "no keys of Alibaba Cloud: set OSS_ACCESS_KEY_ID" in capsys.readouterr().err
    (tmp_path / ".ossutilconfig").write_text(
        f"[Credentials]\naccessKeyID = AKID\naccessKeySecret = {SECRET}\n"
    )
    assert main(words(folder, way)) == 0
    bare = words(folder, way)
    del bare[bare.index("--region") : bare.index("--region") + 2]
    assert main(bare) == 2
    assert "--region is missing" in capsys.readouterr().err
