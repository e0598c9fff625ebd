"""Huawei Ascend NPUs, through torch_npu on CANN."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from typing import TYPE_CHECKING

from swiftrl.backends.base import Backend, Capabilities, Check

if TYPE_CHECKING:
    from swiftrl.backends.kernels import Kernels

# Published pairs of torch and torch_npu: minor versions are equal.
_SOURCE_CANN = "source /usr/local/Ascend/ascend-toolkit/set_env.sh"


class AscendBackend(Backend):
    """NPUs. torch loads torch_npu by itself, through the entry point "torch.backends"."""

    def kernels(self) -> Kernels:
        """Return torch_npu's fused operators."""
        from swiftrl.backends.npu_operators import NPU_KERNELS

        return NPU_KERNELS

    def doctor(self) -> list[Check]:
        """Add CANN, the driver's tool, and whether torch_npu matches torch."""
        return [*super().doctor(), *_cann(), _versions()]


def _cann() -> list[Check]:
    home = os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")
    tool = shutil.which("npu-smi")
    return [
        Check(
            "CANN",
            home or "not set up",
            expected="ASCEND_TOOLKIT_HOME",
            todo="" if home else _SOURCE_CANN,
            ok=home is not None,
        ),
        Check(
            "driver",
            tool or "npu-smi not found",
            expected="npu-smi",
            todo="" if tool else "install the Ascend driver, or mount it into the container",
            ok=tool is not None,
        ),
    ]


def _versions() -> Check:
    import torch

    try:
        ours = importlib.metadata.version("torch_npu")
    except importlib.metadata.PackageNotFoundError:
        ours = "absent"
    torch_version = torch.__version__.split("+")[0]
    ok = ours.split(".")[:2] == torch_version.split(".")[:2]
    return Check(
        "torch_npu",
        ours,
        expected=f"{torch_version}.* beside torch {torch.__version__}",
        todo="" if ok else f"pip install 'torch_npu=={torch_version}.*'",
        ok=ok,
    )


BACKEND = AscendBackend(
    name="ascend",
    device_type="npu",
    dist_backend="cpu:gloo,npu:hccl",
    visible_env="ASCEND_RT_VISIBLE_DEVICES",
    ray_resource="NPU",
    capabilities=Capabilities(float64=False, complex=False),
    environment={
        "train": {
            "HCCL_CONNECT_TIMEOUT": "600",
            "TASK_QUEUE_ENABLE": "2",
            "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True",
        },
        "rollout": {
            "HCCL_CONNECT_TIMEOUT": "600",
            "TASK_QUEUE_ENABLE": "2",
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "VLLM_ASCEND_ENABLE_NZ": "0",
        },
    },
)
