"""ModelArts v2 services: made, looked at, removed; every request's signature is checked."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

from cloud_fakes.services import Answer, JsonService


class FakeModelArts(JsonService):
    def __init__(self, keys: dict[str, str]) -> None:
        self.keys = keys
        self.services: dict[str, dict[str, Any]] = {}
        super().__init__()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        problem = self.unsigned(method, path, query, headers, data)
        if problem:
            return 401, {"error_code": "APIG.0301", "error_msg": problem}
        found = re.fullmatch(r"/v2/p1/services(?:/(\w+))?", path)
        if not found:
            return 404, {"error_code": "ModelArts.0104", "error_msg": f"no project: {path}"}
        identity = found[1]
        if method == "POST":
            identity = f"s{len(self.services) + 1}"
            self.services[identity] = {**json.loads(data), "id": identity, "status": "DEPLOYING"}
            return 200, {"id": identity}
        if not identity:
            return 200, {"services": list(self.services.values())}
        if method == "DELETE":
            del self.services[identity]
            return 204, None
        shown = dict(self.services[identity])
        self.services[identity]["status"] = "RUNNING"
        return 200, shown

    def unsigned(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> str | None:
        """Say what is wrong with the signature ("Signature algorithm", API Gateway's guide)."""
        given = re.fullmatch(
            r"SDK-HMAC-SHA256 Access=(\w+), SignedHeaders=([\w;-]+), Signature=(\w{64})",
            headers.get("authorization", ""),
        )
        if not given or given[1] not in self.keys:
            return "Incorrect IAM authentication information: AK access failed"
        names = given[2].split(";")
        if names != sorted(names) or not {"host", "x-sdk-date"} <= set(names):
            return "signed headers"
        canonical = "\n".join([
            method, f"{path.rstrip('/')}/", "&".join(f"{k}={v}" for k, v in sorted(query.items())),
            *(f"{name}:{headers[name]}" for name in names), "", ";".join(names),
            hashlib.sha256(data).hexdigest(),
        ])  # fmt: skip
        text = "\n".join([
            "SDK-HMAC-SHA256", headers["x-sdk-date"],
            hashlib.sha256(canonical.encode()).hexdigest(),
        ])  # fmt: skip
        key = self.keys[given[1]].encode()
        right = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return None if right == given[3] else "verify aksk signature fail"
