"""The Hugging Face hub's interface: repositories, LFS batches, commits, paths-info."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cloud_fakes.services import Answer, JsonService


class FakeHub(JsonService):
    """One repository; files of more than 1000 bytes go by LFS. `public` is the proxy's URL."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.public = ""
        self.made: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.commits = 0
        super().__init__()

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        if path.startswith("/store/") and method == "PUT":
            digest = hashlib.sha256(data).hexdigest()
            if path != f"/store/{digest}":
                return 400, {"error": "wrong content"}
            self.blobs[digest] = data
            return 200, None
        if headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        if path == "/api/repos/create":
            self.made.append(json.loads(data))
            return 200, {"url": f"{self.public}/me/model", "name": "me/model", "id": "1"}
        if path == "/api/models/me/model/preupload/main":
            files = [
                {"path": f["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if f["size"] > 1000 else "regular"}
                for f in json.loads(data)["files"]
            ]  # fmt: skip
            return 200, {"files": files}
        if path == "/me/model.git/info/lfs/objects/batch":
            objects = [self.action(entry) for entry in json.loads(data)["objects"]]
            return 200, {"transfer": "basic", "objects": objects}
        if path == "/api/models/me/model/commit/main":
            return self.commit(data)
        if path == "/api/models/me/model/paths-info/main":
            names = json.loads(data)["paths"] if data.startswith(b"{") else _form(data)
            return 200, [self.entry(name) for name in names if name in self.files]
        if path == "/verify":
            return 200, {}
        return 404, {"error": path}

    def action(self, entry: dict[str, Any]) -> dict[str, Any]:
        if entry["oid"] in self.blobs:
            return entry
        href = {"href": f"{self.public}/store/{entry['oid']}", "header": {}}
        return {**entry, "actions": {"upload": href}}

    def commit(self, data: bytes) -> Answer:
        for line in data.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.files[value["path"]] = ("", base64.b64decode(value["content"]))
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.blobs:
                    return 400, {"error": "no such object"}
                self.files[value["path"]] = (value["oid"], self.blobs[value["oid"]])
            elif entry["key"] == "deletedFile":
                del self.files[value["path"]]
        self.commits += 1
        url = f"{self.public}/me/model/commit/1"
        return 200, {"success": True, "commitOid": "1" * 40, "commitUrl": url}

    def entry(self, name: str) -> dict[str, Any]:
        oid, data = self.files[name]
        git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        found = {"type": "file", "path": name, "size": len(data), "oid": git}
        if oid:
            found["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 1}
        return found


def _form(data: bytes) -> list[str]:
    from urllib.parse import parse_qs

    return parse_qs(data.decode())["paths"]
