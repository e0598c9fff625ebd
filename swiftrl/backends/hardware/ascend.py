"""Huawei Ascend NPUs, through torch_npu on CANN."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from swiftrl.backends import cann
from swiftrl.backends.base import Backend
from swiftrl.backends.capabilities import Capabilities, Chip
from swiftrl.backends.check import Check, torch_build

if TYPE_CHECKING:
    from swiftrl.backends.kernels import Kernels

_A2 = Capabilities(
    float64=False,
    complex=False,
    quant_load=("nf4", "gptq", "awq"),
    quant_serve=("ascend", "compressed-tensors"),
    quant_export=("gptq", "awq"),
)
A2 = Chip("Ascend A2 or A3", _A2, "910B, 910C: Atlas 800T A2, Atlas 800T A3")
A5 = Chip("Ascend 950", replace(_A2, fp8=True), "950PR, 950DT")
OLDER = Chip("Ascend before A2", replace(_A2, bf16=False), "910A, 310P")
# Names as torch_npu tells them, e.g. Ascend910B3, Ascend910_9362 (A3), Ascend950PR_9579.
_NAMES = (
    (A5, ("Ascend950", "Ascend910_95")),
    (A2, ("Ascend910B", "Ascend910_93", "Ascend910C")),
)


class AscendBackend(Backend):
    """NPUs. torch loads torch_npu by itself, through the entry point "torch.backends"."""

    def kernels(self, *, liger: bool = False) -> Kernels:
        """Return torch_npu's fused operators."""
        from swiftrl.backends.npu_operators import NPU_KERNELS

        return NPU_KERNELS

    def chip(self) -> Chip:
        """Return the generation of this process's NPU, by its name."""
        if not self.available():
            return A2
        name = self.describe()
        known = (chip for chip, prefixes in _NAMES if name.startswith(prefixes))
        return next(known, OLDER if name.startswith(("Ascend910", "Ascend310")) else A2)

    def doctor(self) -> list[Check]:
        """Add CANN, the driver's tool, and whether torch_npu matches torch."""
        return [*super().doctor(), *cann.checks()]

    def unusable(self) -> Check | None:
        """Say that torch_npu is there and no NPU is, or that it is another torch's."""
        ours = cann.installed()
        if ours is None:
            return None
        paired = cann.pairing(torch_build()[0].split("+")[0], ours, None)
        if not paired.ok or self.available():
            return None if paired.ok else paired
        return Check(
            "NPU",
            f"torch_npu {ours} is installed, and no NPU can be used",
            "an NPU",
            "look at `swiftrl env`, `npu-smi info` and ASCEND_RT_VISIBLE_DEVICES",
            ok=False,
        )


BACKEND = AscendBackend(
    name="ascend",
    device_type="npu",
    dist_backend="cpu:gloo,npu:hccl",
    visible_env="ASCEND_RT_VISIBLE_DEVICES",
    ray_resource="NPU",
    chips=(A2, A5, OLDER),
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
