"""Downloads from ModelScope and Hugging Face, with errors that say what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from swiftrl.core.compat import require
from swiftrl.core.errors import ModelError

__all__ = ["download", "is_hub_id"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Pickles, other frameworks' and llama.cpp's copies of the weights are never fetched.
_IGNORED = [
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ot",
    "original/*", "consolidated*", "onnx/*", "*.md", "*.png", "*.jpg", "*.mp4",
]  # fmt: skip


def is_hub_id(text: str) -> bool:
    """Return whether `text` has the form "owner/name"."""
    return _HUB_ID.fullmatch(text) is not None


def download(
    hub_id: str,
    *,
    use_hf: bool = False,
    revision: str | None = None,
    token: str | None = None,
    only: Sequence[str] | None = None,
) -> Path:
    """Return the folder of a published model, downloaded unless it is in the hub's cache.

    Args:
        hub_id: "owner/name".
        use_hf: Hugging Face instead of ModelScope.
        revision: branch, tag or commit; None is the hub's default branch.
        token: for private and gated models; None uses the hub's own log-in. Never shown.
        only: patterns of the files wanted; None is all that loading needs.

    Raises:
        ModelError: no such model or revision, no access, or no connection.
    """
    patterns: dict[str, Any] = (
        {"allow_patterns": list(only)} if only else {"ignore_patterns": _IGNORED}
    )
    fetch = _huggingface if use_hf else _modelscope
    return fetch(hub_id, revision, token, patterns)


def _huggingface(
    hub_id: str, revision: str | None, token: str | None, patterns: dict[str, Any]
) -> Path:
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(hub_id, revision=revision, token=token, **patterns)
        )
    except (OSError, ValueError) as error:
        raise ModelError(_explain(error, hub_id, revision, "Hugging Face", "HF_TOKEN")) from None


def _modelscope(
    hub_id: str, revision: str | None, token: str | None, patterns: dict[str, Any]
) -> Path:
    modelscope = require(
        "modelscope",
        extra="modelscope",
        purpose=f"--model {hub_id} from ModelScope (--use_hf true takes it from Hugging Face)",
    )
    errors = require("modelscope.hub.errors", extra="modelscope", purpose="ModelScope")
    expected = (OSError, ValueError, getattr(errors, "HubError", OSError))
    fetch = partial(modelscope.snapshot_download, hub_id, revision=revision, **patterns)
    try:
        return Path(fetch(token=token) if token else fetch())
    except expected as error:
        if _kinds(error) & _OFFLINE:
            # Unlike Hugging Face's, this client does not look into its cache by itself.
            with contextlib.suppress(*expected):
                return Path(fetch(local_files_only=True))
        message = _explain(error, hub_id, revision, "ModelScope", "MODELSCOPE_API_TOKEN")
        raise ModelError(message) from None


_OFFLINE = frozenset(
    {
        "LocalEntryNotFoundError", "OfflineModeIsEnabled", "NetworkError", "ConnectionError",
        "ConnectError", "Timeout", "TimeoutError", "RequestTimeoutError",
    }
)  # fmt: skip
# The hubs' exception classes by name, since they differ among versions. First match wins.
_CAUSES = (
    (
        ("GatedRepoError", "PermissionDeniedError"),
        "access to it is restricted. Accept its terms on the site, then give --hub_token or set "
        "{variable}.",
    ),
    (
        ("RevisionNotFoundError", "NoValidRevisionError"),
        "it has no revision {revision!r}. Check --model_revision.",
    ),
    (
        ("RepositoryNotFoundError", "NotExistError"),
        "there is no such model, or it is private. Check the spelling; for a private one give "
        "--hub_token or set {variable}.{other_hub}",
    ),
    (
        ("AuthenticationError", "NotLoginException", "LocalTokenNotFoundError"),
        "the site refused the token. Check --hub_token or {variable}.",
    ),
    (
        _OFFLINE,
        "the site cannot be reached and the model is not in the local cache. Check the network "
        "and proxy settings, or give a local folder.",
    ),
)  # fmt: skip


def _explain(error: Exception, hub_id: str, revision: str | None, site: str, variable: str) -> str:
    kinds = _kinds(error)
    other_hub = (
        " It may be on Hugging Face: --use_hf true."
        if site == "ModelScope"
        else " It may be on ModelScope: --use_hf false."
    )
    for names, cause in _CAUSES:
        if kinds & set(names):
            said = cause.format(variable=variable, revision=revision, other_hub=other_hub)
            return f"{hub_id} on {site}: {said}"
    # Some messages of the hubs quote the request, whose headers may hold the token.
    first_line = str(error).strip().split("\n")[0]
    return f"{hub_id} on {site}: {type(error).__name__}: {_without_token(first_line)}"


def _kinds(error: Exception) -> set[str]:
    """Return the names of an error's classes, and of those its HTTP status stands for."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    by_status = {401: "AuthenticationError", 403: "GatedRepoError", 404: "NotExistError"}
    return {cls.__name__ for cls in type(error).__mro__} | {by_status.get(status, "")}


def _without_token(text: str) -> str:
    return re.sub(r"(hf_|ms-|Bearer\s+)[\w-]{8,}", r"\1***", text)
