"""Settings of the server."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["DeployConfig"]


@dataclass(frozen=True)
class DeployConfig:
    """The server: who may ask, and how much."""

    host: str = setting(
        "127.0.0.1", "Address to listen on; 0.0.0.0 is every network this machine is in."
    )
    port: int = setting(8000, "Port to listen on; 0 takes a free one.")
    api_key: list[str] = setting(
        [], "Keys of which a request must bring one (Authorization: Bearer KEY).", secret=True
    )
    served_model_name: list[str] = setting(
        [], "Names by which requests may ask for the model. Unset: the model's own name."
    )
    owned_by: str = setting("swiftrl", "Said of the models in /v1/models.")
    max_model_len: int | None = setting(
        None, "Most tokens of prompt and reply together. Unset: what the model can take."
    )
    max_logprobs: int = setting(20, "Most top_logprobs that a request may ask for.")
    max_prefill_tokens: int = setting(
        512, "Most prompt tokens read in one step, while running replies wait for their next token."
    )
    cache_gib: float | None = setting(
        None, "Memory of keys and values in GiB. Unset: half of what is free after loading."
    )
    max_waiting: int = setting(
        256, "Replies that may wait for a place beside --max_batch_size; more are told 429."
    )
    max_request_mib: float = setting(16.0, "Largest request in MiB; larger ones are told 413.")
    request_timeout_s: float = setting(600.0, "Seconds after which a request is given up.")
    drain_timeout_s: float = setting(
        120.0, "Seconds that accepted requests may take after SIGTERM before they are cut off."
    )
    media_hosts: list[str] = setting(
        [],
        "Hosts from which pictures, videos and audio may be fetched, by https alone. Unset: none; "
        "data: URIs always work.",
    )
    adapters_root: str | None = setting(
        None,
        "Folder whose adapters may be loaded and unloaded by request (/v1/load_lora_adapter). "
        "Unset: none may.",
    )
    ssl_certfile: str | None = setting(None, "Certificate for https, a PEM file.")
    ssl_keyfile: str | None = setting(None, "Key of --ssl_certfile, a PEM file.")
    access_log: bool = setting(
        True, "Write a JSON line for each request to standard error, without what it says."
    )
