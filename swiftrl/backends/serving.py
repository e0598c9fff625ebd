"""What servers of models are given on each kind of hardware: images, devices, resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SERVING", "Serving"]


@dataclass(frozen=True, slots=True)
class Serving:
    """How containers that serve a model get at the hardware.

    Attributes:
        title: for people.
        image: vLLM's for this hardware.
        command: what starts the server in that image; empty where its entry point does.
        kubernetes_resource: what Kubernetes calls one device.
        in_kserve: the image that KServe brings runs on it.
        compose: returns what a Compose service needs for so many devices.
        compose_volumes: of the driver's files.
    """

    title: str
    image: str
    command: tuple[str, ...]
    kubernetes_resource: str
    in_kserve: bool
    compose: Callable[[int], dict[str, Any]]
    compose_volumes: tuple[str, ...] = ()


def _nvidia(count: int) -> dict[str, Any]:
    devices = [{"driver": "nvidia", "count": count, "capabilities": ["gpu"]}]
    return {"deploy": {"resources": {"reservations": {"devices": devices}}}}


def _davinci(count: int) -> dict[str, Any]:
    cards = [f"/dev/davinci{index}" for index in range(count)]
    return {"devices": [*cards, "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"]}


SERVING: Mapping[str, Serving] = {
    "cuda": Serving("CUDA", "vllm/vllm-openai:latest", (), "nvidia.com/gpu", True, _nvidia),
    "npu": Serving(
        "Ascend",
        "quay.io/ascend/vllm-ascend:latest",
        ("vllm", "serve"),
        "huawei.com/Ascend910",
        False,
        _davinci,
        (
            "/usr/local/dcmi:/usr/local/dcmi:ro",
            "/usr/local/bin/npu-smi:/usr/local/bin/npu-smi:ro",
            "/usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64:ro",
            "/usr/local/Ascend/driver/version.info:/usr/local/Ascend/driver/version.info:ro",
            "/etc/ascend_install.info:/etc/ascend_install.info:ro",
        ),
    ),
}
"""Name -> what servers get there; the first is the default."""
