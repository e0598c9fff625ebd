"""A script that serves the model by vllm-ascend on this machine."""

from __future__ import annotations

import shlex

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.manifests import ManifestConfig, manifest_target, model_uri
from swiftrl.export.publish.serving import vllm_words
from swiftrl.export.publish.target import Job


def _texts(job: Job) -> dict[str, str]:
    config, serve = job.settings[ManifestConfig], job.settings[ServeConfig]
    cards = ",".join(map(str, range(serve.accelerators)))
    words = shlex.join(["vllm", "serve", *vllm_words(job, model_uri(job), config.serve_port)])
    lines = [
        "#!/bin/sh",
        "# Serves the model on Ascend NPUs; needs vllm and vllm-ascend, and CANN's set_env.sh.",
        "set -e",
        f'export ASCEND_RT_VISIBLE_DEVICES="${{ASCEND_RT_VISIBLE_DEVICES:-{cards}}}"',
        f'exec {words} "$@"',
    ]
    return {"serve.sh": "\n".join(lines) + "\n"}


TARGET = manifest_target(
    "A script that serves the model by vllm-ascend.", _texts, "sh {folder}/serve.sh"
)
