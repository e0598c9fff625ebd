"""A LoRA adapter imported into Alibaba Cloud's Model Studio (Bailian), by way of OSS."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftrl.core import log
from swiftrl.core.config import setting
from swiftrl.core.errors import ExportError
from swiftrl.export.publish.bailian_rules import BASES, LISTED_ON, adapter_problems
from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, oss, place
from swiftrl.export.publish.config import ApiConfig, StoreConfig
from swiftrl.export.publish.http import Request, ServiceError, send
from swiftrl.export.publish.listing import PublishedFile, digest
from swiftrl.export.publish.secret import dashscope_key
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target
from swiftrl.export.publish.waiting import wait_for

_API = "https://dashscope.aliyuncs.com"
_TAG = ("bailian-datahub-access", "read")
_ROLE = "AliyunServiceRoleForSFMDataHubOSSImport"
_GOOD, _BAD = ("SUCCESSED", "SUCCEEDED"), ("FAILED", "CANCELED")
_CLOSED = (404, 405)
_BUCKET = bucket_steps(oss, "oss")


@dataclass(frozen=True)
class BailianConfig:
    """Model Studio (Bailian)."""

    base_model: str | None = setting(
        None, "Name of the base in Bailian, e.g. qwen3-8b. Unset: from the adapter's base."
    )
    display_name: str | None = setting(
        None, "Name shown in the console, at most 50 characters. Unset: from --destination."
    )
    deploy_plan: str = setting(
        "lora", "How a deployment is billed.", choices=("lora", "mu", "ptu", "cu")
    )
    deploy_capacity: int = setting(1, "Units of a deployment.")


def _url(job: Job) -> str:
    return (job.settings[ApiConfig].api_endpoint or _API).rstrip("/") + "/api/v1"


def _base_name(job: Job) -> str | None:
    given = job.settings[BailianConfig].base_model
    if given:
        return given
    name = job.base.name if job.base else ""
    return next((ours for hub, ours in BASES.items() if hub.lower() == name.lower()), None)


def _display_name(job: Job) -> str:
    return job.settings[BailianConfig].display_name or job.name


def _problems(job: Job) -> list[str]:
    problems = bucket_problems(job, "oss", region=True)
    allowed = job.publish.allow_unlisted
    if not place(job, "oss").prefix:
        problems.append("--destination: files must be in a folder of the bucket, not its root.")
    if len(_display_name(job)) > 50:
        problems.append(f"--display_name has {len(_display_name(job))} characters; at most 50.")
    base = _base_name(job)
    if base is None:
        problems.append("the base model is not known: give --base_model, its name in Bailian.")
    elif base not in BASES.values() and not allowed:
        problems.append(
            f"--base_model {base}: LoRA is imported for {', '.join(BASES.values())} (as of "
            f"{LISTED_ON}); --allow_unlisted true goes on."
        )
    return problems + adapter_problems(job.folder, job.base, any_dtype=allowed)


def _made(job: Job) -> Sequence[PublishedFile]:
    """Return the base's config.json, which goes with the adapter."""
    if job.base is None:
        return ()
    path = job.base / "config.json"
    return (PublishedFile("config.json", path.stat().st_size, digest(path), path),)


def _check_online(job: Job) -> None:
    """Refuse a wrong key, and a bucket that the import could not read."""
    try:
        _ask(job, _requests(job)["register"][0])
    except ServiceError as error:
        if error.status not in _CLOSED:  # then the import is finished by hand
            raise
    store = oss(job)
    key, value = _TAG
    found = store.tags().get(key)
    if found != value:
        raise ExportError(
            f"{store.place}: the bucket has the tag {key}={found}; the import needs {key}={value}. "
            "Set it in the OSS console (Bucket Tagging), and give the command again."
        )
    if "Archive" in store.storage_class():
        raise ExportError(
            f"{store.place}: the bucket is of class {store.storage_class()}; the import does not "
            "read archives. Use a bucket of class Standard or IA."
        )


def _requests(job: Job) -> dict[str, list[Request]]:
    where, url = place(job, "oss"), _url(job)
    config = job.settings[BailianConfig]
    imported = {
        "model_name": _base_name(job),
        "display_name": _display_name(job),
        "source": "oss",
        "weight_type": "lora",
        "storage_info": {"bucket_name": where.bucket, "object_key": where.prefix},
    }
    deployment = {
        "model_name": "{model_name}",
        "name": _display_name(job),
        "plan": config.deploy_plan,
        "capacity": config.deploy_capacity,
    }
    question = {
        "model": "{deployed_model}",
        "input": {"messages": [{"role": "user", "content": "1+1="}]},
        "parameters": {"result_format": "message", "max_tokens": 8},
    }
    return {
        "register": [
            Request("GET", f"{url}/custom_models/import?page_no=1&page_size=100",
                    note="whether it was imported before"),
            Request("POST", f"{url}/custom_models/import", imported),
            Request("GET", f"{url}/custom_models/import/{{job_id}}", note="until it is done"),
        ],
        "deploy": [
            Request("POST", f"{url}/deployments", deployment),
            Request("GET", f"{url}/deployments/{{deployed_model}}", note="until it is RUNNING"),
        ],
        "verify": [
            Request("POST", f"{url}/services/aigc/text-generation/generation", question)
        ],
        "cleanup": [
            Request("DELETE", f"{url}/deployments/{{deployed_model}}"),
            Request("DELETE", f"{url}/custom_models/import/{{job_id}}"),
        ],
    }  # fmt: skip


def _filled(request: Request, **values: str) -> Request:
    """Return a request with what earlier answers gave."""
    url, body = request.url, request.body
    for name, value in values.items():
        url = url.replace(f"{{{name}}}", value)
        if body is not None:
            body = {k: value if v == f"{{{name}}}" else v for k, v in body.items()}
    return dataclasses.replace(request, url=url, body=body)


def _ask(job: Job, request: Request) -> dict[str, Any]:
    key = dashscope_key()

    def sign(request: Request) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key.reveal()}"}

    return send(request, sign, attempts=job.publish.upload_attempts).get("output", {})


def _register(job: Job, state: State) -> None:
    look, create, poll = _requests(job)["register"]
    known = state.section("bailian").get("job_id")
    try:
        job_id = known or _imported_before(job, look, create) or _ask(job, create)["job_id"]
    except ServiceError as error:
        if error.status not in _CLOSED:
            raise
        log.warn(f"{error} The interface of the import is not open to this account.")
        for line in _console_steps(job):
            log.info(line)
        raise ExportError("Finish the import in the console, by the steps above.") from error
    state.put("bailian", job_id=job_id)

    def look_again() -> tuple[str, str]:
        answer = _ask(job, _filled(poll, job_id=job_id))
        state.put("bailian", model_name=answer.get("model_name", ""))
        return str(answer.get("status")), str(answer.get("message", ""))

    wait_for(
        f"import {job_id}", look_again, good=_GOOD, bad=_BAD,
        minutes=job.settings[ApiConfig].wait_minutes,
    )  # fmt: skip


def _imported_before(job: Job, look: Request, create: Request) -> str | None:
    """Return the id of an import of the same name and place, so that none is made twice."""
    body = create.body or {}
    for entry in _ask(job, look).get("jobs", []):
        same = all(entry.get(name) == body[name] for name in ("display_name", "storage_info"))
        if same and entry.get("status") not in _BAD:
            return entry["job_id"]
    return None


def _deploy(job: Job, state: State) -> None:
    create, poll = _requests(job)["deploy"]
    deployed = state.section("bailian").get("deployed_model")
    if not deployed:
        name = state.section("bailian").get("model_name", "")
        if not name:
            raise ExportError("nothing is imported yet: give --stage register first.")
        deployed = _ask(job, _filled(create, model_name=name))["deployed_model"]
        state.put("bailian", deployed_model=deployed)

    def look() -> tuple[str, str]:
        answer = _ask(job, _filled(poll, deployed_model=deployed))
        return str(answer.get("status")), str(answer.get("message", ""))

    wait_for(
        f"deployment {deployed}", look, good=("RUNNING",), bad=("FAILED", "DELETING", "STOPPED"),
        minutes=job.settings[ApiConfig].wait_minutes,
    )  # fmt: skip


def _verify(job: Job, state: State) -> None:
    _BUCKET["verify"](job, state)
    deployed = state.section("bailian").get("deployed_model")
    if deployed:
        answer = _ask(job, _filled(_requests(job)["verify"][0], deployed_model=deployed))
        said = answer["choices"][0]["message"]["content"]
        log.info(f"{deployed}: asked 1+1=, it answers {said!r}.")


def _cleanup(job: Job, state: State) -> None:
    known = state.section("bailian")
    undeploy, forget = _requests(job)["cleanup"]
    for request, name in ((undeploy, "deployed_model"), (forget, "job_id")):
        if known.get(name):
            _ask(job, _filled(request, **{name: known[name]}))
            log.info(f"{known[name]}: removed.")
    _BUCKET["cleanup"](job, state)


def _console_steps(job: Job) -> list[str]:
    where = place(job, "oss")
    return [
        "By hand, where the interface is closed: in the console of Model Studio (Bailian),",
        f"  1. authorise OSS once (service-linked role {_ROLE});",
        "  2. My Models > Import model > from OSS;",
        f"  3. bucket {where.bucket}, folder {where.prefix}, base {_base_name(job)}, kind LoRA;",
        f"  4. name {_display_name(job)}; then Deploy. Do not change the files afterwards.",
    ]


TARGET = Target(
    summary="A LoRA adapter for Alibaba Cloud's Model Studio (Bailian), through OSS.",
    destination="oss://bucket/folder/",
    settings=(StoreConfig, ApiConfig, BailianConfig),
    takes=frozenset({"adapter"}),
    check=_problems,
    check_online=_check_online,
    only=lambda job: ("adapter_config.json", "adapter_model.safetensors"),
    made=_made,
    requests=_requests,
    steps={
        "upload": _BUCKET["upload"], "register": _register, "deploy": _deploy, "verify": _verify,
        "cleanup": _cleanup,
    },
    cost="a deployment is billed from the moment it is RUNNING until it is deleted",
)  # fmt: skip
