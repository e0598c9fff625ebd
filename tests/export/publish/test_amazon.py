"""`--to sagemaker` against moto, `--to bedrock` against a fake of its imports."""

import json
import re

import pytest
from cloud_fakes import folders
from cloud_fakes.services import JsonService
from cloud_fakes.way import Way

from swiftrl.cli.main import main

boto3 = pytest.importorskip("boto3", reason="swiftrl[aws]")
moto_server = pytest.importorskip("moto.server", reason="moto[s3]")

ROLE = "arn:aws:iam::123456789012:role/reader"


@pytest.fixture
def moto(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("swiftrl.export.publish.retrying._LONGEST_S", 0.05)
    monkeypatch.setattr("swiftrl.export.publish.waiting.wait_for.__kwdefaults__",
                        {"every_s": 0.0, "sleep": lambda s: None})  # fmt: skip
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket="amazon")
    yield url
    server.stop()


def words(folder, to, moto, *more):
    return [
        "export", "--to", to, "--model", str(folder), "--destination", "s3://amazon/my_model/",
        "--region", "us-east-1", "--endpoint", moto, "--role_arn", ROLE, *more,
    ]  # fmt: skip


def test_sagemaker(tmp_path, moto, capsys):
    folder = folders.model(tmp_path / "model")
    given = words(
        folder, "sagemaker", moto, "--api_endpoint", moto, "--instance_type", "ml.g4dn.xlarge",
        "--image", "1.dkr.ecr.us-east-1.amazonaws.com/vllm:1", "--serve_args", "max-model-len=64",
    )  # fmt: skip
    assert main(given) == 0
    client = boto3.client("sagemaker", endpoint_url=moto, region_name="us-east-1")
    container = client.describe_model(ModelName="my-model")["PrimaryContainer"]
    assert container["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": "s3://amazon/my_model/", "S3DataType": "S3Prefix", "CompressionType": "None",
    }  # fmt: skip
    assert container["Environment"]["SM_VLLM_MAX_MODEL_LEN"] == "64"
    assert not client.list_endpoints()["Endpoints"]  # it costs money
    assert main([*given, "--yes"]) == 0
    assert client.describe_endpoint(EndpointName="my-model")["EndpointStatus"] == "InService"
    assert "register: done before" in capsys.readouterr().out
    assert main([*given, "--stage", "cleanup", "--yes"]) == 0
    assert not client.list_endpoints()["Endpoints"] and not client.list_models()["Models"]


class FakeBedrock(JsonService):
    """Model import jobs; boto3 checks the shape of what is sent and of what comes back."""

    def __init__(self) -> None:
        self.jobs = {}
        super().__init__()

    def answer(self, method, path, query, headers, data):
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
        if method == "POST":
            body = json.loads(data)
            arn = f"arn:aws:bedrock:us-east-1:123456789012:model-import-job/{len(self.jobs):012d}"
            self.jobs[arn] = {**body, "jobArn": arn, "status": "InProgress",
                              "creationTime": "2026-01-01T00:00:00Z"}  # fmt: skip
            return 201, {"jobArn": arn}
        if path == "/model-import-jobs":
            return 200, {"modelImportJobSummaries": list(self.jobs.values())}
        found = next(job for arn, job in self.jobs.items() if arn in re.sub("%3A", ":", path)
                     .replace("%2F", "/"))  # fmt: skip
        shown = dict(found)
        found["status"] = "Completed"
        return 200, shown


def test_bedrock(tmp_path, moto):
    service = FakeBedrock()
    way = Way(service.address)
    folder = folders.model(tmp_path / "model")
    given = words(folder, "bedrock", moto, "--api_endpoint", way.url)
    way.fault = lambda method, path, seen: "lost" if method == "POST" and seen == 0 else None
    assert main(given) == 2  # made, but nobody heard of it
    assert main(given) == 0
    (job,) = service.jobs.values()
    assert job["importedModelName"] == "my-model" and job["roleArn"] == ROLE
    assert job["modelDataSource"] == {"s3DataSource": {"s3Uri": "s3://amazon/my_model/"}}
    way.close()
    service.close()


def test_what_bedrock_does_not_import_is_named(tmp_path, moto, capsys):
    folder = folders.model(tmp_path / "model", model_type="bloom", quantization_config={"a": 1})
    assert main(words(folder, "bedrock", moto)) == 2
    said = capsys.readouterr().err
    assert "model_type bloom: imports are known for" in said and "are quantised" in said
