"""A Compose file with vLLM, for CUDA or Ascend."""

from __future__ import annotations

from typing import Any

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.manifests import ManifestConfig, manifest_target, model_uri, serving_of
from swiftrl.export.publish.serving import vllm_words
from swiftrl.export.publish.target import Job
from swiftrl.export.publish.written import text_of

_MOUNT = "/model"


def _texts(job: Job) -> dict[str, str]:
    config, serve = job.settings[ManifestConfig], job.settings[ServeConfig]
    serving, port = serving_of(job), config.serve_port
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
    service["volumes"] += serving.compose_volumes
    service = {
        "image": serve.image or serving.image,
        "command": [*serving.command, *vllm_words(job, _MOUNT, port)],
        **service,
        **serving.compose(serve.accelerators),
    }
    return {"compose.yaml": text_of({"services": {"model": service}})}


TARGET = manifest_target(
    "A Compose file that serves the model by vLLM, on CUDA or Ascend.",
    _texts,
    "docker compose -f {folder}/compose.yaml up",
)
