"""A Compose file with vLLM, for CUDA or Ascend."""

from __future__ import annotations

from typing import Any

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.manifests import ManifestConfig, manifest_target, model_uri
from swiftrl.export.publish.serving import ASCEND_IMAGE, CUDA_IMAGE, vllm_words
from swiftrl.export.publish.target import Job
from swiftrl.export.publish.written import text_of

_MOUNT = "/model"

_ASCEND_FILES = (
    "/usr/local/dcmi:/usr/local/dcmi:ro",
    "/usr/local/bin/npu-smi:/usr/local/bin/npu-smi:ro",
    "/usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64:ro",
    "/usr/local/Ascend/driver/version.info:/usr/local/Ascend/driver/version.info:ro",
    "/etc/ascend_install.info:/etc/ascend_install.info:ro",
)


def _texts(job: Job) -> dict[str, str]:
    config, serve = job.settings[ManifestConfig], job.settings[ServeConfig]
    port = config.serve_port
    service: dict[str, Any] = {
        "volumes": [f"{model_uri(job)}:{_MOUNT}:ro"],
        "ports": [f"{port}:{port}"],
        "shm_size": "16g",
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", "curl", "-f", f"http://localhost:{port}/health"],
            "interval": "10s",
            "start_period": "10m",
        },
    }
    words = vllm_words(job, _MOUNT, port)
    if config.hardware == "cuda":
        devices = [{"driver": "nvidia", "count": serve.accelerators, "capabilities": ["gpu"]}]
        # The image's entry point is `vllm serve`.
        service = {
            "image": serve.image or CUDA_IMAGE,
            "command": words,
            **service,
            "deploy": {"resources": {"reservations": {"devices": devices}}},
        }
    else:
        cards = [f"/dev/davinci{index}" for index in range(serve.accelerators)]
        service = {
            "image": serve.image or ASCEND_IMAGE,
            "command": ["vllm", "serve", *words],
            **service,
            "devices": [*cards, "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"],
        }
        service["volumes"] += _ASCEND_FILES
    return {"compose.yaml": text_of({"services": {"model": service}})}


TARGET = manifest_target(
    "A Compose file that serves the model by vLLM, on CUDA or Ascend.",
    _texts,
    "docker compose -f {folder}/compose.yaml up",
)
