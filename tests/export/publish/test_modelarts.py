"""`--to modelarts` and `--to eas`: bodies, signatures, OBS and OSS; fakes of the services."""

import json

import pytest
from cloud_fakes import folders
from cloud_fakes.modelarts import FakeModelArts
from cloud_fakes.oss import Bucket, FakeOss
from cloud_fakes.way import Way

from swiftrl.cli.main import main
from swiftrl.export.publish.huawei_signature import signed_headers
from swiftrl.export.publish.secret import AccessKey, Secret
from swiftrl.export.publish.state import state_file

SECRET = "a-secret-that-must-not-show"


def test_the_signature_is_that_of_the_vendors_sdk():
    """The value was computed with huaweicloudsdkcore 3.1.219's Signer."""
    url = "https://modelarts.cn-north-4.myhuaweicloud.com/v2/p1/services?name=my%20model&a=1"
    key = AccessKey(Secret("AKID"), Secret("SECRET"))
    headers = {"Content-Type": "application/json"}
    found = signed_headers("POST", url, headers, b'{"a": "b"}', key, "20260101T120000Z")
    assert found["Authorization"] == (
        "SDK-HMAC-SHA256 Access=AKID, SignedHeaders=content-type;host;x-sdk-date, "
        "Signature=c906073da8366553c68f56d8b9b711702dfed76fe5c2a7f90e519d4875cfcd25"
    )


@pytest.fixture
def cloud(monkeypatch):
    moto_server = pytest.importorskip("moto.server", reason="moto[s3]")
    boto3 = pytest.importorskip("boto3", reason="swiftrl[huawei]")
    monkeypatch.setenv("HUAWEICLOUD_SDK_AK", "AKID")
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", SECRET)
    monkeypatch.setattr("swiftrl.export.publish.retrying._LONGEST_S", 0.05)
    monkeypatch.setattr("swiftrl.export.publish.waiting.wait_for.__kwdefaults__",
                        {"every_s": 0.0, "sleep": lambda s: None})  # fmt: skip
    moto = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    store = "http://{}:{}".format(*moto.get_host_and_port())
    client = boto3.client("s3", endpoint_url=store, region_name="cn-north-4",
                          aws_access_key_id="a", aws_secret_access_key="b")  # fmt: skip
    client.create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": "cn-north-4"}
    )
    service = FakeModelArts({"AKID": SECRET})
    way = Way(service.address)
    yield client, store, service, way
    way.close()
    service.close()
    for entry in client.list_objects_v2(Bucket="models").get("Contents", []):
        client.delete_object(Bucket="models", Key=entry["Key"])
    client.delete_bucket(Bucket="models")
    moto.stop()


def words(folder, cloud, *more):
    return [
        "export", "--to", "modelarts", "--model", str(folder), "--destination",
        "obs://models/served/", "--region", "cn-north-4", "--endpoint", cloud[1],
        "--api_endpoint", cloud[3].url, "--project_id", "p1", "--pool_id", "pool-1",
        "--image", "swr.cn-north-4.myhuaweicloud.com/mine/vllm-ascend:v1", "--accelerators", "2",
        "--serve_args", "max-model-len=4096", *more,
    ]  # fmt: skip


def test_deployed_and_removed(tmp_path, cloud, capsys):
    client, _, service, way = cloud
    folder = folders.model(tmp_path / "model")
    assert main(words(folder, cloud)) == 0
    assert not service.services  # it costs money
    way.fault = lambda method, path, seen: "lost" if method == "POST" and seen == 0 else None
    assert main(words(folder, cloud, "--yes")) == 2  # made, but nobody heard of it
    assert main(words(folder, cloud, "--yes")) == 0
    assert list(service.services) == ["s1"]
    made = service.services["s1"]
    unit = made["group_configs"][0]["unit_configs"][0]
    assert made["name"] == "served" and made["workload_type"] == "DEPLOYMENT"
    assert unit["custom_spec"]["ascend"] == 2
    assert unit["files"][0]["address"] == "obs://models/served/"
    assert unit["cmd"] == (
        "vllm serve /model/ --host 0.0.0.0 --port 8080 --served-model-name served "
        "--tensor-parallel-size 2 --max-model-len=4096"
    )
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err + state_file(folder, "modelarts").read_text()
    assert main(words(folder, cloud, "--stage", "cleanup", "--yes")) == 0
    assert not service.services and not client.list_objects_v2(Bucket="models").get("Contents")


def test_wrong_keys_are_named_before_anything_is_sent(tmp_path, cloud, monkeypatch, capsys):
    monkeypatch.setenv("HUAWEICLOUD_SDK_SK", "other")
    assert main(words(folders.model(tmp_path / "model"), cloud)) == 2
    assert "401 APIG.0301 verify aksk signature fail" in capsys.readouterr().err
    assert not cloud[0].list_objects_v2(Bucket="models").get("Contents")


def test_what_is_missing_is_named_at_once(tmp_path, capsys):
    folder = folders.model(tmp_path / "model")
    assert main(["export", "--to", "modelarts", "--model", str(folder),
                 "--destination", "obs://models/a/"]) == 2  # fmt: skip
    said = capsys.readouterr().err
    for name in ("--region", "--project_id", "--pool_id", "--image"):
        assert f"{name} is missing" in said


def test_eas_sends_the_service_with_the_model(tmp_path, monkeypatch, capsys):
    pytest.importorskip("alibabacloud_oss_v2", reason="swiftrl[alibaba]")
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", SECRET)
    oss = FakeOss({"AKID": SECRET})
    oss.buckets["models"] = Bucket()
    folder = folders.model(tmp_path / "model")
    given = [
        "export", "--to", "eas", "--model", str(folder), "--destination", "oss://models/my-Model/",
        "--region", "cn-beijing", "--endpoint", "http://{}:{}".format(*oss.address),
    ]  # fmt: skip
    assert main(given) == 2
    assert "--instance_type is missing" in capsys.readouterr().err
    assert main([*given, "--instance_type", "ecs.gn7i-c8g1.2xlarge"]) == 0
    service = json.loads(oss.buckets["models"].objects["my-Model/service.json"][0])
    assert service["metadata"] == {"name": "my_model", "instance": 1}
    assert service["storage"][0]["oss"] == {"path": "oss://models/my-Model/", "readOnly": True}
    assert service["containers"][0]["script"].startswith("vllm serve /model_dir --host 0.0.0.0")
    assert "eascmd create service.json" in capsys.readouterr().out
    oss.close()
