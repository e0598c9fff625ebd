"""Command lines of servers, shared by the targets that run them."""

from __future__ import annotations

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.target import Job

__all__ = ["served_name", "vllm_words"]


def served_name(job: Job) -> str:
    """Return the name under which the model answers."""
    return job.settings[ServeConfig].served_name or job.name


def vllm_words(job: Job, model: str, port: int) -> list[str]:
    """Return the words behind `vllm serve`.

    Args:
        job: what is published.
        model: the model's folder where the server runs.
        port: to listen at.
    """
    config = job.settings[ServeConfig]
    words = [model, "--host", "0.0.0.0", "--port", str(port), "--served-model-name",
             served_name(job)]  # fmt: skip
    if config.accelerators > 1:
        words += ["--tensor-parallel-size", str(config.accelerators)]
    return words + [f"--{word.lstrip('-')}" for word in config.serve_args]
