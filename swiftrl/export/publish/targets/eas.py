"""A service of Alibaba Cloud PAI-EAS, with the model on OSS."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core.config import setting
from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, oss, place
from swiftrl.export.publish.config import ServeConfig, StoreConfig
from swiftrl.export.publish.listing import PublishedFile, made_file
from swiftrl.export.publish.serving import vllm_words
from swiftrl.export.publish.target import Job, Target

_PORT = 8000
_MOUNT = "/model_dir"


@dataclass(frozen=True)
class EasConfig:
    """PAI-EAS."""

    instance_type: str | None = setting(None, "Type of the machine, e.g. ecs.gn7i-c8g1.2xlarge.")
    workspace_id: str | None = setting(None, "Id of the workspace.")


def _service_name(job: Job) -> str:
    return re.sub(r"[^a-z0-9_]", "_", job.name.lower())


def _problems(job: Job) -> list[str]:
    problems = bucket_problems(job, "oss", region=True)
    if not job.settings[EasConfig].instance_type:
        problems.append("--instance_type is missing, e.g. ecs.gn7i-c8g1.2xlarge.")
    if not 3 <= len(_service_name(job)) <= 63:
        problems.append(
            f"the service's name {_service_name(job)} (from --destination) has "
            f"{len(_service_name(job))} characters; expected 3 to 63."
        )
    return problems


def _service(job: Job) -> dict[str, Any]:
    config, serve, where = job.settings[EasConfig], job.settings[ServeConfig], place(job, "oss")
    region = job.settings[StoreConfig].region
    image = serve.image or f"eas-registry-vpc.{region}.cr.aliyuncs.com/pai-eas/vllm:latest"
    metadata: dict[str, Any] = {"name": _service_name(job), "instance": serve.replicas}
    if config.workspace_id:
        metadata["workspace_id"] = config.workspace_id
    return {
        "metadata": metadata,
        "cloud": {"computing": {"instance_type": config.instance_type}},
        "containers": [
            {
                "image": image,
                "port": _PORT,
                "script": shlex.join(["vllm", "serve", *vllm_words(job, _MOUNT, _PORT)]),
                "startup_check": {"http_get": {"path": "/health", "port": _PORT}},
            }
        ],
        "storage": [
            {
                "mount_path": _MOUNT,
                "oss": {"path": f"oss://{where.bucket}/{where.prefix}", "readOnly": True},
            }
        ],
    }


def _made(job: Job) -> Sequence[PublishedFile]:
    return (made_file("service.json", json.dumps(_service(job), indent=2) + "\n"),)


def _manual(job: Job) -> list[str]:
    where = place(job, "oss")
    return [
        f"Deploy, which costs money: ossutil cp {where}service.json . && eascmd create "
        "service.json (or paste service.json, shown by --dry_run, into the console of PAI-EAS)."
    ]


TARGET = Target(
    summary="The model on OSS with the service.json that PAI-EAS deploys it by.",
    destination="oss://bucket/folder/",
    settings=(StoreConfig, ServeConfig, EasConfig),
    check=_problems,
    made=_made,
    steps=bucket_steps(oss, "oss"),
    manual=_manual,
    cost="an instance of PAI-EAS is billed from its creation until it is deleted",
)
