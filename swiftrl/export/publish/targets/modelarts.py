"""A service of Huawei Cloud ModelArts (v2), with the model on OBS."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import Any

from swiftrl.core import log
from swiftrl.core.config import setting
from swiftrl.core.errors import ExportError
from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, obs, place
from swiftrl.export.publish.config import ApiConfig, ServeConfig, StoreConfig
from swiftrl.export.publish.http import Request, send
from swiftrl.export.publish.huawei_signature import signer
from swiftrl.export.publish.secret import huawei_key
from swiftrl.export.publish.serving import vllm_words
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target
from swiftrl.export.publish.waiting import wait_for

_PORT = 8080
_MOUNT = "/model/"
_BUCKET = bucket_steps(obs, "obs")


@dataclass(frozen=True)
class ModelArtsConfig:
    """ModelArts."""

    project_id: str | None = setting(None, "Id of the project (region) at Huawei Cloud.")
    pool_id: str | None = setting(None, "Id of the resource pool that the service runs in.")
    workspace_id: str = setting("0", "Id of the workspace.")
    cpu: int = setting(24, "Cores of a replica.")
    memory_mib: int = setting(196608, "Memory of a replica, in MiB.")


def _url(job: Job) -> str:
    config = job.settings[ModelArtsConfig]
    region = job.settings[StoreConfig].region
    given = job.settings[ApiConfig].api_endpoint
    base = (given or f"https://modelarts.{region}.myhuaweicloud.com").rstrip("/")
    return f"{base}/v2/{config.project_id}/services"


def _problems(job: Job) -> list[str]:
    problems = bucket_problems(job, "obs", region=True)
    config = job.settings[ModelArtsConfig]
    for name in ("project_id", "pool_id"):
        if not getattr(config, name):
            problems.append(f"--{name} is missing; it stands in the console of ModelArts.")
    if not job.settings[ServeConfig].image:
        problems.append(
            "--image is missing: path of a vllm-ascend image in SWR, e.g. "
            "swr.cn-southwest-2.myhuaweicloud.com/mine/vllm-ascend:v1."
        )
    return problems


def _service(job: Job) -> dict[str, Any]:
    """Return the body that makes a service."""
    config, serve = job.settings[ModelArtsConfig], job.settings[ServeConfig]
    where = place(job, "obs")
    unit = {
        "name": "vllm",
        "role": "COMMON",
        "custom_spec": {
            "cpu": config.cpu, "memory": config.memory_mib, "ascend": serve.accelerators,
            "arch": "arm64",
        },
        "image": {"source": "SWR", "swr_path": serve.image, "category": "ASCEND"},
        "files": [
            {"source": "OBS", "address": f"obs://{where.bucket}/{where.prefix}",
             "mount_path": _MOUNT, "read_only": True},
        ],
        "cmd": shlex.join(["vllm", "serve", *vllm_words(job, _MOUNT, _PORT)]),
        "port": _PORT,
        "envs": {},
        "readiness_health": {
            "check_method": "HTTP", "url": "/health", "initial_delay_seconds": 30,
            "timeout_seconds": 30, "period_seconds": 10, "failure_threshold": 3,
        },
    }  # fmt: skip
    group = {
        "name": "group-1", "pool_id": config.pool_id, "count": serve.replicas, "weight": 100,
        "framework": "VLLM", "unit_configs": [unit],
    }  # fmt: skip
    return {
        "name": job.name,
        "version": "1.0.0",
        "type": "REAL_TIME",
        "deploy_type": "SINGLE",
        "workspace_id": config.workspace_id,
        "workload_type": "DEPLOYMENT",
        "task_type": "TEXT_GENERATION",
        "group_configs": [group],
        "runtime_config": {
            "service_invoke": {"port": _PORT, "protocol": "HTTP", "auth_type": "API_KEY"},
            "service_limit": {"request_timeout": 600},
        },
    }


def _requests(job: Job) -> dict[str, list[Request]]:
    url = _url(job)
    return {
        "deploy": [
            Request("GET", f"{url}?name={job.name}", note="whether it was made before"),
            Request("POST", url, _service(job)),
            Request("GET", f"{url}/{{id}}", note="until it is RUNNING"),
        ],
        "cleanup": [Request("DELETE", f"{url}/{{id}}")],
    }


def _ask(job: Job, request: Request, identity: str = "") -> dict[str, Any]:
    filled = dataclasses.replace(request, url=request.url.replace("{id}", identity))
    return send(filled, signer(huawei_key(), {}), attempts=job.publish.upload_attempts)


def _check_online(job: Job) -> None:
    """Refuse keys that the service does not take, before anything is sent."""
    _ask(job, _requests(job)["deploy"][0])


def _deploy(job: Job, state: State) -> None:
    look, create, poll = _requests(job)["deploy"]
    identity = state.section("modelarts").get("id")
    if not identity:
        named = [s for s in _ask(job, look).get("services", []) if s.get("name") == job.name]
        identity = named[0]["id"] if named else _ask(job, create)["id"]
        state.put("modelarts", id=identity)

    def look_again() -> tuple[str, str]:
        answer = _ask(job, poll, identity)
        return str(answer.get("status")).upper(), str(answer.get("error_msg") or "")

    wait_for(
        f"service {job.name} ({identity})", look_again, good=("RUNNING",),
        bad=("FAILED", "STOPPED", "DELETING"), minutes=job.settings[ApiConfig].wait_minutes,
    )  # fmt: skip


def _cleanup(job: Job, state: State) -> None:
    identity = state.section("modelarts").get("id")
    if identity:
        _ask(job, _requests(job)["cleanup"][0], identity)
        log.info(f"service {identity}: removed.")
    _BUCKET["cleanup"](job, state)


def _verify(job: Job, state: State) -> None:
    _BUCKET["verify"](job, state)
    identity = state.section("modelarts").get("id")
    if identity:
        status = str(_ask(job, _requests(job)["deploy"][2], identity).get("status")).upper()
        if status != "RUNNING":
            raise ExportError(f"service {identity}: is {status}; expected RUNNING.")
        log.info(f"service {identity}: RUNNING.")


TARGET = Target(
    summary="A service of Huawei Cloud ModelArts (v2) on Ascend NPUs, through OBS.",
    destination="obs://bucket/folder/",
    settings=(StoreConfig, ApiConfig, ServeConfig, ModelArtsConfig),
    check=_problems,
    check_online=_check_online,
    requests=_requests,
    steps={
        "upload": _BUCKET["upload"], "deploy": _deploy, "verify": _verify, "cleanup": _cleanup,
    },
    cost="the service is billed by its pool's devices until it is deleted",
)  # fmt: skip
