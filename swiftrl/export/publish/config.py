"""Settings of `swiftrl export --to`."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["STAGES", "ApiConfig", "PublishConfig", "ServeConfig", "StoreConfig"]

STAGES = ("plan", "upload", "register", "deploy", "verify", "cleanup")
"""In order. Without --stage: plan, upload, register, then deploy with --yes, and verify."""


@dataclass(frozen=True)
class PublishConfig:
    """Publishing."""

    to: str | None = setting(
        None, "Where the model goes, e.g. local, huggingface, oss, s3, ollama; see Export."
    )
    destination: str | None = setting(
        None,
        "Place at the target: s3://bucket/folder/ (oss://, obs://), owner/name on a hub, a folder, "
        "or a name.",
        aliases=("hub_model_id",),
    )
    stage: list[str] = setting(
        [],
        "Only these steps. Unset: plan, upload, register, deploy if --yes is given, and verify.",
        choices=STAGES,
    )
    dry_run: bool = setting(
        False, "Check, and show files with sizes and SHA-256 and the requests; send nothing."
    )
    yes: bool = setting(False, "Go on where it costs money (deploy) or deletes (cleanup).")
    allow_unlisted: bool = setting(
        False, "Go on where a model, or a rule of the target, is not among those that are known."
    )
    part_size_mib: int = setting(32, "Large files are sent in parts of this size, in MiB.")
    upload_attempts: int = setting(6, "Times that a request is tried, with growing pauses.")
    upload_threads: int = setting(4, "Parts that are under way at once.")


@dataclass(frozen=True)
class StoreConfig:
    """Object store."""

    region: str | None = setting(None, "Region of the bucket, e.g. cn-beijing, us-east-1.")
    endpoint: str | None = setting(None, "URL of the store, where it is not the vendor's own.")


@dataclass(frozen=True)
class ApiConfig:
    """Service's interface."""

    api_endpoint: str | None = setting(
        None, "URL of the service's interface, where it is not the vendor's own."
    )
    wait_minutes: float = setting(60, "How long to wait for the service to be done.")


@dataclass(frozen=True)
class ServeConfig:
    """Serving."""

    served_name: str | None = setting(
        None, "Name under which the model answers. Unset: the last part of --destination."
    )
    image: str | None = setting(None, "Container image. Unset: the one that the target names.")
    accelerators: int = setting(1, "Devices of one replica.")
    replicas: int = setting(1, "Copies of the service.")
    serve_args: list[str] = setting(
        [], "More words for the server, e.g. max-model-len=8192 (dashes in front are added)."
    )
