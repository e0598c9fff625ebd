"""`--to s3` and `--to obs` against moto's S3 server, over a way that fails."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from cloud_fakes import folders
from cloud_fakes.way import Way

from swiftrl.cli.main import main
from swiftrl.export.publish.state import state_file

boto3 = pytest.importorskip("boto3", reason="swiftrl[aws]")
moto_server = pytest.importorskip("moto.server", reason="moto[s3]")

SECRET = "a-secret-that-must-not-show"
PART = 5 * 2**20


@pytest.fixture(scope="module")
def moto():
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def way(moto, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AKID")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", SECRET)
    monkeypatch.setattr("swiftrl.export.publish.retrying._LONGEST_S", 0.05)
    way = Way(moto)
    yield way
    way.close()


@pytest.fixture
def bucket(moto):
    client = boto3.client(
        "s3", endpoint_url="http://{}:{}".format(*moto), region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    client.create_bucket(Bucket="models")
    yield client
    found = client.list_objects_v2(Bucket="models").get("Contents", [])
    for entry in found:
        client.delete_object(Bucket="models", Key=entry["Key"])
    for entry in client.list_multipart_uploads(Bucket="models").get("Uploads", []):
        client.abort_multipart_upload(Bucket="models", Key=entry["Key"], UploadId=entry["UploadId"])
    client.delete_bucket(Bucket="models")


def words(folder, way, *more, to="s3"):
    return [
        "export", "--to", to, "--model", str(folder), "--destination", f"{to}://models/mine/",
        "--region", "us-east-1", "--endpoint", way.url, "--part_size_mib", "5", *more,
    ]  # fmt: skip


def all_right(bucket, folder):
    """Every file is there, byte for byte."""
    names = {path.name for path in folder.iterdir()}
    found = {e["Key"] for e in bucket.list_objects_v2(Bucket="models").get("Contents", [])}
    assert found == {f"mine/{name}" for name in names}
    for name in names:
        body = bucket.get_object(Bucket="models", Key=f"mine/{name}")["Body"].read()
        assert body == (folder / name).read_bytes(), name


def each_part_once(way, count):
    sent = [path.partition("partNumber=")[2].partition("&")[0] for path in way.parts()]
    assert sorted(sent, key=int) == [str(number + 1) for number in range(count)]


@pytest.mark.parametrize("to", ["s3", "obs"])
def test_sent_over_a_way_that_fails(tmp_path, way, bucket, to, capsys):
    """Cuts, lost answers, 500s and slow parts: every byte right, and no part sent twice."""
    folder = folders.model(tmp_path / "model", 3 * PART + 1000)
    faults = {"1": ["cut", "500"], "2": ["lost"], "3": ["slow"], "4": ["500", "cut", "lost"]}

    def fault(method, path, seen):
        if "partNumber=" in path and method == "PUT":
            return dict(enumerate(faults[path.partition("partNumber=")[2][0]])).get(seen)
        if path.endswith("?uploads") and method == "POST":
            return "lost" if seen == 0 else None
        if method == "POST" and "uploadId=" in path:  # completing
            return ["500", "lost"][seen] if seen < 2 else None
        if method == "PUT":
            return "lost" if seen == 0 else None
        return "500" if seen == 0 and method == "HEAD" else None

    way.fault = fault
    assert main(words(folder, way, to=to)) == 0
    all_right(bucket, folder)
    each_part_once(way, 4)
    assert not bucket.list_multipart_uploads(Bucket="models").get("Uploads")
    whole = [p for m, p in way.arrived if m == "PUT" and "partNumber" not in p]
    assert len(whole) == len(set(whole)) == 3
    shown = capsys.readouterr()
    state = state_file(folder, to).read_text()
    assert SECRET not in shown.out + shown.err + state
    # Again: nothing is sent, all is verified.
    way.clear()
    assert main(words(folder, way, to=to)) == 0
    assert not [m for m, _ in way.arrived if m in ("PUT", "POST")]
    assert "upload: done before" in capsys.readouterr().out


def test_killed_and_resumed(tmp_path, way, bucket):
    folder = folders.model(tmp_path / "model", 4 * PART + 7)
    way.fault = lambda method, path, seen: "hang" if "partNumber=3" in path else None
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftrl", *words(folder, way, "--upload_threads", "1")],
        env=dict(os.environ), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not any("partNumber=3" in path for _, path in way.seen):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(way.parts()) == 2
    way.fault = lambda method, path, seen: None
    assert main(words(folder, way)) == 0
    all_right(bucket, folder)
    each_part_once(way, 5)
    assert not bucket.list_multipart_uploads(Bucket="models").get("Uploads")


def test_given_up_then_resumed(tmp_path, way, bucket, capsys):
    folder = folders.model(tmp_path / "model", 2 * PART + 7)
    way.fault = lambda method, path, seen: "500" if "partNumber=2" in path else None
    assert main(words(folder, way, "--upload_attempts", "2")) == 2
    assert "part 2: failed 2 times" in capsys.readouterr().err
    way.fault = lambda method, path, seen: None
    assert main(words(folder, way)) == 0
    all_right(bucket, folder)
    each_part_once(way, 3)


def test_changed_files_are_sent_anew(tmp_path, way, bucket):
    folder = folders.model(tmp_path / "model", 1000)
    assert main(words(folder, way)) == 0
    folders.weights(folder / "model.safetensors", 1000, seed=9)
    way.clear()
    assert main(words(folder, way)) == 0
    all_right(bucket, folder)
    assert [p for m, p in way.arrived if m == "PUT"] == ["/models/mine/model.safetensors"]


def test_verify_names_what_was_changed_there(tmp_path, way, bucket, capsys):
    folder = folders.model(tmp_path / "model", 6 * 2**20)
    assert main(words(folder, way)) == 0
    size = (folder / "model.safetensors").stat().st_size
    bucket.put_object(Bucket="models", Key="mine/model.safetensors", Body=b"x" * size)
    assert main(words(folder, way, "--stage", "verify")) == 2
    assert "mine/model.safetensors: its ETag is" in capsys.readouterr().err
    assert main(words(folder, way, "--stage", "upload", "verify")) == 0
    all_right(bucket, folder)
    assert main(words(folder, way, "--stage", "cleanup")) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(words(folder, way, "--stage", "cleanup", "--yes")) == 0
    assert not bucket.list_objects_v2(Bucket="models").get("Contents")
    assert not state_file(folder, "s3").exists()


def test_wrong_bucket_and_no_credentials(tmp_path, way, monkeypatch, capsys):
    folder = folders.model(tmp_path / "model")
    assert main(words(folder, way)) == 2
    assert "s3://models/mine/: there is no such bucket" in capsys.readouterr().err
    assert main([*words(folder, way), "--destination", "models/mine"]) == 2
    assert "expected s3://bucket/folder/" in capsys.readouterr().err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert main(words(folder, way)) == 2
    assert "no credentials: set AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_dry_run_sends_nothing(tmp_path, way, capsys):
    import hashlib

    folder = folders.model(tmp_path / "model")
    assert main(words(folder, way, "--dry_run")) == 0
    shown = capsys.readouterr().out
    for path in folder.iterdir():
        data = path.read_bytes()
        assert hashlib.sha256(data).hexdigest() in shown and str(len(data)) in shown
    assert not way.arrived and not way.seen
    assert not state_file(folder, "s3").exists()


def test_a_cut_off_model_is_refused_before_anything_is_sent(tmp_path, way, capsys):
    folder = folders.model(tmp_path / "model")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-10])
    assert main(words(folder, way)) == 2
    assert "It is cut off" in capsys.readouterr().err
    assert not way.seen


def test_the_state_holds_names_hashes_and_ids(tmp_path, way, bucket):
    folder = folders.model(tmp_path / "model", 100)
    assert main(words(folder, way)) == 0
    state = json.loads(state_file(folder, "s3").read_text())
    assert state["destination"] == "s3 s3://models/mine/"
    assert state["upload"] == {"done": True}
    assert set(state["hashes"]) == {path.name for path in folder.iterdir()}


def test_wrong_credentials_are_named_before_anything_is_sent(tmp_path, way, bucket, moto, capsys):
    """Moto looks at the keys from here on."""
    address = "http://{}:{}/moto-api/reset-auth".format(*moto)
    folder = folders.model(tmp_path / "model")
    plain = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(address, b"0", plain, method="POST"))
    try:
        assert main(words(folder, way)) == 2
        assert "the access key is unknown (InvalidAccessKeyId)" in capsys.readouterr().err
    finally:
        urllib.request.urlopen(urllib.request.Request(address, b"inf", plain, method="POST"))
    assert not [method for method, _ in way.arrived if method in ("PUT", "POST")]
