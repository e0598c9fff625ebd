"""NVIDIA GPUs, and AMD GPUs: ROCm builds of torch answer to the same name."""

from __future__ import annotations

from swiftrl.backends.base import Backend, Capabilities, Check


class CudaBackend(Backend):
    """CUDA, or ROCm where torch.version.hip is set."""

    def doctor(self) -> list[Check]:
        """Add the toolkit, the architecture and whether bfloat16 is native."""
        import torch

        rows = super().doctor()
        rows.append(
            Check(
                "toolkit",
                f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}",
            )
        )
        for index in range(self.count()):
            major, minor = self.module().get_device_capability(index)
            rows.append(
                Check(
                    f"architecture of {self.device_type}:{index}",
                    f"{major}.{minor}",
                    expected=">= 8.0 for bfloat16",
                    todo="" if major >= 8 else "train with --torch_dtype float16 or float32",
                    ok=major >= 8,
                )
            )
        return rows


BACKEND = CudaBackend(
    name="cuda",
    device_type="cuda",
    dist_backend="cpu:gloo,cuda:nccl",
    visible_env="CUDA_VISIBLE_DEVICES",
    ray_resource="GPU",
    capabilities=Capabilities(
        fp8=True,
        grouped_mm=True,
        attention=(
            "flash_attention_3",
            "flash_attention_2",
            "flex_attention",
            "sdpa",
            "eager",
        ),
        quant_load=("bnb", "gptq", "awq", "fp8"),
        quant_export=("gptq", "awq", "bnb", "fp8"),
        liger=True,
        bnb=True,
    ),
    environment={
        "train": {"PYTORCH_ALLOC_CONF": "expandable_segments:True"},
        "rollout": {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
    },
)
