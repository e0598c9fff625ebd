"""NVIDIA GPUs, and AMD GPUs: ROCm builds of torch answer to the same name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from swiftrl.backends import nvidia
from swiftrl.backends.base import Backend
from swiftrl.backends.capabilities import Capabilities, Chip
from swiftrl.backends.check import Check

if TYPE_CHECKING:
    from swiftrl.backends.kernels import Kernels

# Sources: flash-attention's README (Ampere and newer; version 3 for Hopper), vLLM's table of
# quantisation by hardware, bitsandbytes' installation page, CUDA's compute capabilities.
_AMPERE = Capabilities(
    grouped_mm=True,
    compile=True,
    attention=("flash_attention_2", "flex_attention", "sdpa", "eager"),
    quant_load=("nf4", "bnb", "gptq", "awq", "eetq"),
    quant_serve=("gptq", "awq", "bnb", "fp8", "compressed-tensors"),
    quant_export=("gptq", "awq", "bnb"),
    liger=True,
    bnb=True,
)
_ADA = replace(
    _AMPERE,
    fp8=True,
    quant_load=(*_AMPERE.quant_load, "fp8"),
    quant_export=(*_AMPERE.quant_export, "fp8"),
)
HOPPER = Chip(
    "NVIDIA Hopper",
    replace(_ADA, attention=("flash_attention_3", *_ADA.attention)),
    "H100, H200, H20",
)
ADA = Chip("NVIDIA Ada or Blackwell", _ADA, "L4, L40S, RTX 4090, B200, RTX 5090")
AMPERE = Chip("NVIDIA Ampere", _AMPERE, "A100, A10, RTX 3090")
TURING = Chip(
    "NVIDIA Turing or older",
    Capabilities(
        bf16=False,
        quant_load=("nf4", "bnb", "gptq", "awq"),
        quant_serve=("gptq", "awq", "bnb"),
        quant_export=("gptq", "awq", "bnb"),
        bnb=True,
    ),
    "T4, V100, RTX 2080",
)
ROCM = Chip(
    "AMD GPU (ROCm)",
    replace(
        _AMPERE,
        quant_load=("nf4", "bnb", "gptq", "awq"),
        quant_serve=("fp8", "compressed-tensors"),
    ),
    "MI250, MI300X",
)


class CudaBackend(Backend):
    """CUDA, or ROCm where torch.version.hip is set."""

    def chip(self) -> Chip:
        """Return the generation of this process's GPU, by its compute capability."""
        import torch

        if torch.version.hip:
            return ROCM
        if not self.available():
            return HOPPER
        version = self.module().get_device_capability()
        if version < (8, 0):
            return TURING
        if version < (8, 9):
            return AMPERE
        return HOPPER if version[0] == 9 else ADA

    def kernels(self, *, liger: bool = False) -> Kernels:
        """Return flash_attn's attention where installed, and Liger's kernels where asked for."""
        from swiftrl.backends.cuda_kernels import cuda_kernels

        return cuda_kernels(liger=liger)

    def doctor(self) -> list[Check]:
        """Add the toolkit beside the driver, NCCL, and GPUs of several generations."""
        import torch

        rows = [*super().doctor(), nvidia.driver_check()]
        if torch.version.hip:
            rows[-1] = Check("toolkit", f"ROCm {torch.version.hip}")
        if torch.distributed.is_nccl_available() and self.available():
            from torch.cuda import nccl

            rows.append(Check("NCCL", ".".join(map(str, nccl.version()))))
        names = {self.module().get_device_name(index) for index in range(self.count())}
        if len(names) > 1:
            todo = f"if they differ in bfloat16 or memory, name equal ones in {self.visible_env}"
            rows.append(Check("mixed GPUs", ", ".join(sorted(names)), todo=todo))
        if not self.capabilities.bf16:
            rows.append(Check("bfloat16", "not on this GPU", todo="--torch_dtype float16"))
        return rows

    def unusable(self) -> Check | None:
        """Say that there is an NVIDIA GPU that this torch cannot use."""
        if self.available() or nvidia.tool() is None:
            return None
        return nvidia.driver_check()


BACKEND = CudaBackend(
    name="cuda",
    device_type="cuda",
    dist_backend="cpu:gloo,cuda:nccl",
    visible_env="CUDA_VISIBLE_DEVICES",
    ray_resource="GPU",
    chips=(HOPPER, ADA, AMPERE, TURING, ROCM),
    environment={
        "train": {"PYTORCH_ALLOC_CONF": "expandable_segments:True"},
        "rollout": {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
    },
)
