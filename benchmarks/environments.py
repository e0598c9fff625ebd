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
}


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
        subprocess.run([python, "-m", "compileall", "-q", folder / "lib"], check=False)
        (folder / "complete").touch()
    return str(python)
