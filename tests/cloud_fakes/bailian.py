"""Model Studio (Bailian): custom_models/import, deployments and generation, as documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cloud_fakes.services import Answer, JsonService


class FakeBailian(JsonService):
    """Jobs are PENDING, RUNNING, then SUCCESSED; `readable` says whether OSS has the files."""

    def __init__(self, key: str, readable: Callable[[str, str], bool]) -> None:
        self.key, self.readable = key, readable
        self.jobs: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.closed = False
        super().__init__()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        if headers.get("authorization") != f"Bearer {self.key}":
            return 401, error("InvalidApiKey", "Invalid API-key provided.")
        if self.closed:
            return 404, error("NotFound", "No such interface.")
        body = json.loads(data or b"{}")
        kind, _, rest = path.removeprefix("/api/v1/").partition("/")
        act = {
            "custom_models": self.imports, "deployments": self.deploy, "services": self.generate
        }[kind]  # fmt: skip
        status, output = act(method, rest, body)
        return (status, output) if status != 200 else (200, {"request_id": "r", "output": output})

    def imports(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        job_id = rest.removeprefix("import").strip("/")
        if method == "POST":
            info = body["storage_info"]
            if not info["object_key"].endswith("/") or len(body["display_name"]) > 50:
                return 400, error("InvalidParameter", "object_key or display_name")
            if not self.readable(info["bucket_name"], info["object_key"]):
                return 400, error("InvalidParameter", "files are absent")
            job_id = f"job-{len(self.jobs) + 1}"
            self.jobs[job_id] = {**body, "job_id": job_id, "status": "PENDING"}
            return 200, dict(self.jobs[job_id])
        if not job_id:
            return 200, {"jobs": list(self.jobs.values())}
        job = self.jobs[job_id]
        if method == "DELETE":
            return 200, self.jobs.pop(job_id)
        job["status"] = {"PENDING": "RUNNING", "RUNNING": "SUCCESSED"}.get(
            job["status"], job["status"]
        )
        found = dict(job)
        if job["status"] == "SUCCESSED":
            found["model_name"] = f"{job['model_name']}-ft-{job_id}"
        return 200, found

    def deploy(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        if method == "POST":
            name = f"{body['model_name']}-d1"
            if name in self.deployments:
                return 409, error("Conflict", "The deployment exists.")
            self.deployments[name] = {**body, "deployed_model": name, "status": "PENDING"}
            return 200, dict(self.deployments[name])
        if method == "DELETE":
            return 200, self.deployments.pop(rest)
        found = dict(self.deployments[rest])
        self.deployments[rest]["status"] = "RUNNING"
        return 200, found

    def generate(self, method: str, rest: str, body: dict[str, Any]) -> Answer:
        if body["model"] not in self.deployments:
            return 404, error("ModelNotFound", "The model does not exist.")
        return 200, {"choices": [{"message": {"role": "assistant", "content": "2"}}]}


def error(code: str, message: str) -> dict[str, str]:
    return {"request_id": "r", "code": code, "message": message}
