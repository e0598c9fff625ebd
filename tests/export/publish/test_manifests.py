"""Files that run a model: read by other readers, and what they say."""

import json
import subprocess

import pytest
import yaml
from cloud_fakes import folders

from swiftrl.cli.main import main


def write(tmp_path, to, *more, code=0):
    folder = folders.model(tmp_path / "My_Model", max_position_embeddings=4096)
    out = tmp_path / "out"
    words = ["export", "--to", to, "--model", str(folder), "--destination", str(out)]
    assert main([*words, "--served_name", "My_Model", *more]) == code
    return folder, out


def test_compose_on_cuda(tmp_path):
    folder, out = write(tmp_path, "compose", "--accelerators", "2")
    service = yaml.safe_load((out / "compose.yaml").read_text())["services"]["model"]
    assert service["image"] == "vllm/vllm-openai:latest"
    assert service["command"] == [
        "/model", "--host", "0.0.0.0", "--port", "8000", "--served-model-name", "My_Model",
        "--tensor-parallel-size", "2",
    ]  # fmt: skip
    devices = service["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}]
    assert service["volumes"] == [f"{folder}:/model:ro"]


def test_compose_on_ascend(tmp_path):
    _, out = write(tmp_path, "compose", "--hardware", "npu", "--accelerators", "2")
    service = yaml.safe_load((out / "compose.yaml").read_text())["services"]["model"]
    assert service["image"] == "quay.io/ascend/vllm-ascend:latest"
    assert service["command"][:2] == ["vllm", "serve"]
    assert service["devices"][:2] == ["/dev/davinci0", "/dev/davinci1"]
    assert len([d for d in service["devices"] if "davinci_manager" in d]) == 1


def test_kserve(tmp_path, capsys):
    write(tmp_path, "kserve", code=2)
    assert "KServe fetches the model from one of" in capsys.readouterr().err
    _, out = write(tmp_path, "kserve", "--model_uri", "s3://b/m/", "--serve_args", "dtype=half")
    found = yaml.safe_load((out / "inferenceservice.yaml").read_text())
    assert found["apiVersion"] == "serving.kserve.io/v1beta1"
    assert found["metadata"]["name"] == "my-model"
    model = found["spec"]["predictor"]["model"]
    assert model["args"] == ["--model_name=My_Model", "--dtype=half"]
    assert model["storageUri"] == "s3://b/m/"
    assert model["modelFormat"] == {"name": "huggingface"}


def test_leaderworkerset(tmp_path):
    more = ["--nodes", "2", "--accelerators", "8", "--model_uri", "pvc://weights/mine"]
    _, out = write(tmp_path, "leaderworkerset", *more)
    group, service = yaml.safe_load_all((out / "leaderworkerset.yaml").read_text())
    template = group["spec"]["leaderWorkerTemplate"]
    assert group["apiVersion"] == "leaderworkerset.x-k8s.io/v1" and template["size"] == 2
    leader = template["leaderTemplate"]["spec"]
    command = leader["containers"][0]["command"][2]
    assert "--tensor-parallel-size 8 --pipeline-parallel-size 2" in command
    assert leader["volumes"][0]["persistentVolumeClaim"]["claimName"] == "weights"
    assert leader["containers"][0]["volumeMounts"][0]["subPath"] == "mine"
    labels = template["leaderTemplate"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    for pod in (leader, template["workerTemplate"]["spec"]):
        script = pod["containers"][0]["command"][2]
        assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


def test_vllm_ascend_script(tmp_path):
    """Run by a shell, with a stand-in for vllm that shows its words."""
    folder, out = write(tmp_path, "vllm_ascend", "--accelerators", "2")
    (tmp_path / "bin").mkdir()
    vllm = tmp_path / "bin" / "vllm"
    vllm.write_text('#!/bin/sh\necho "$ASCEND_RT_VISIBLE_DEVICES $*"\n')
    vllm.chmod(0o755)
    environ = {"PATH": f"{vllm.parent}:/usr/bin:/bin"}
    shown = subprocess.run(
        [str(out / "serve.sh"), "--seed", "1"], env=environ, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert shown.stdout == (
        f"0,1 serve {folder} --host 0.0.0.0 --port 8000 --served-model-name My_Model "
        "--tensor-parallel-size 2 --seed 1\n"
    )


def test_mindie(tmp_path):
    folder, out = write(tmp_path, "mindie", "--accelerators", "4")
    found = json.loads((out / "config.json").read_text())
    backend = found["BackendConfig"]
    assert backend["npuDeviceIds"] == [[0, 1, 2, 3]]
    model = backend["ModelDeployConfig"]["ModelConfig"][0]
    assert model["modelWeightPath"] == str(folder) and model["worldSize"] == 4
    assert backend["ModelDeployConfig"]["maxSeqLen"] == 4096


@pytest.mark.parametrize("to", ["compose", "mindie", "vllm_ascend"])
def test_dry_run_shows_the_files_and_writes_none(tmp_path, capsys, to):
    _, out = write(tmp_path, to, "--dry_run")
    assert "made for" in capsys.readouterr().out and not out.exists()
