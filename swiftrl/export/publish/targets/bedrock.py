"""A model imported into Amazon Bedrock, with the files on S3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftrl.core import log
from swiftrl.core.config import setting
from swiftrl.export.publish.amazon import AmazonService
from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, place, s3
from swiftrl.export.publish.config import ApiConfig, StoreConfig
from swiftrl.export.publish.http import Request
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target
from swiftrl.export.publish.waiting import wait_for
from swiftrl.export.publish.weights import read_json
from swiftrl.export.publish.written import label

_BUCKET = bucket_steps(s3, "s3")

_TYPES = ("llama", "mistral", "mixtral", "qwen2", "qwen2_vl", "qwen2_5_vl", "qwen3", "qwen3_moe")
"""model_type of config.json that imports are known for (2026-11-22)."""


@dataclass(frozen=True)
class BedrockConfig:
    """Bedrock."""

    role_arn: str | None = setting(
        None, "Role that the service takes on to read the bucket, arn:aws:iam::...:role/..."
    )


def _problems(job: Job) -> list[str]:
    problems = bucket_problems(job, "s3", region=True)
    if not (job.settings[BedrockConfig].role_arn or "").startswith("arn:"):
        problems.append("--role_arn is missing: arn:aws:iam::ACCOUNT:role/NAME.")
    config = read_json(job.folder / "config.json")
    if config.get("quantization_config"):
        problems.append("the weights are quantised; Bedrock imports 16-bit weights.")
    kind = config.get("model_type")
    if kind not in _TYPES and not job.publish.allow_unlisted:
        problems.append(f"model_type {kind}: imports are known for {', '.join(_TYPES)}; "
                        "--allow_unlisted true goes on.")  # fmt: skip
    return problems


def _body(job: Job) -> Mapping[str, Any]:
    name = label(job.name)
    return {
        "jobName": f"{name}-import",
        "importedModelName": name,
        "roleArn": job.settings[BedrockConfig].role_arn,
        "modelDataSource": {"s3DataSource": {"s3Uri": str(place(job, "s3"))}},
    }


def _requests(job: Job) -> dict[str, list[Request]]:
    url = f"https://bedrock.{job.settings[StoreConfig].region}.amazonaws.com/model-import-jobs"
    return {"register": [Request("POST", url, _body(job)), Request("GET", f"{url}/{{jobArn}}")]}


def _register(job: Job, state: State) -> None:
    service, body = AmazonService(job, "bedrock"), _body(job)
    arn = state.section("bedrock").get("job") or _made_before(service, body["jobName"])
    arn = arn or service.ask("create_model_import_job", **body)["jobArn"]
    state.put("bedrock", job=arn)

    def look() -> tuple[str, str]:
        found = service.ask("get_model_import_job", jobIdentifier=arn)
        return found["status"], found.get("failureMessage", "")

    wait_for(
        f"import {body['jobName']}", look, good=("Completed",), bad=("Failed",),
        minutes=job.settings[ApiConfig].wait_minutes,
    )  # fmt: skip


def _made_before(service: AmazonService, name: str) -> str | None:
    """Return a job of this name that has not failed, so that none is made twice."""
    found = service.ask("list_model_import_jobs", nameContains=name)["modelImportJobSummaries"]
    alive = [job for job in found if job["jobName"] == name and job["status"] != "Failed"]
    return alive[0]["jobArn"] if alive else None


def _cleanup(job: Job, state: State) -> None:
    service, name = AmazonService(job, "bedrock"), label(job.name)
    if service.find("get_imported_model", modelIdentifier=name) is not None:
        service.ask("delete_imported_model", modelIdentifier=name)
        log.info(f"imported model {name}: removed.")
    _BUCKET["cleanup"](job, state)


TARGET = Target(
    summary="A model imported into Amazon Bedrock, through S3.",
    destination="s3://bucket/folder/",
    settings=(StoreConfig, ApiConfig, BedrockConfig),
    check=_problems,
    requests=_requests,
    steps={
        "upload": _BUCKET["upload"], "register": _register, "verify": _BUCKET["verify"],
        "cleanup": _cleanup,
    },
    cost="stored models are billed by the month, replies by the minute",
)  # fmt: skip
