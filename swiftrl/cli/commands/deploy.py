"""`swiftrl deploy`: an OpenAI-compatible server."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.deploy.config import DeployConfig
from swiftrl.engine.config import GenerationConfig
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.models.quantise import check_quantisation
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from swiftrl.backends.base import Backend
    from swiftrl.engine.sampling import SamplingParams

__all__ = ["COMMAND"]

_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def run(settings: Settings) -> int:
    """Load a model and answer requests until a signal ends it."""
    _check(settings)
    from swiftrl.deploy.server import banner, listen, serve

    config = settings[DeployConfig]
    sock = listen(config)
    try:
        service = _service(settings)
        from swiftrl.deploy.app import make_app

        banner(config, sock, service.names[0])
        serve(make_app(service), sock, config)
        service.engine.close()
    finally:
        sock.close()
    return 0


def _check(settings: Settings) -> None:
    """Find out what is wrong before anything is loaded."""
    config = settings[DeployConfig]
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(
            f"swiftrl deploy needs {', '.join(absent)}: pip install 'swiftrl[deploy]'."
        )
    _check_files(config)
    if any(not key.strip() for key in config.api_key):
        raise ConfigError("--api_key: a key is empty.")
    _check_numbers(config)
    if settings[GenerationConfig].max_batch_size < 1:
        raise ConfigError("--max_batch_size: expected at least 1.")


def _check_files(config: DeployConfig) -> None:
    for name in ("ssl_certfile", "ssl_keyfile"):
        value = getattr(config, name)
        if value is not None and not Path(value).is_file():
            raise ConfigError(f"--{name} {value}: no such file.")
    if (config.ssl_certfile is None) != (config.ssl_keyfile is None):
        raise ConfigError("--ssl_certfile and --ssl_keyfile belong together; give both.")
    if config.adapters_root is not None and not Path(config.adapters_root).is_dir():
        raise ConfigError(f"--adapters_root {config.adapters_root}: no such folder.")


def _check_numbers(config: DeployConfig) -> None:
    least = {"max_model_len": 2, "max_prefill_tokens": 1, "max_waiting": 0, "max_logprobs": 0}
    for name, lowest in least.items():
        value = getattr(config, name)
        if value is not None and value < lowest:
            raise ConfigError(f"--{name} {value}: expected at least {lowest}.")
    for name in ("max_request_mib", "request_timeout_s", "drain_timeout_s", "cache_gib"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} {value}: expected more than 0.")


def _service(settings: Settings) -> Any:
    from swiftrl.cli import hardware
    from swiftrl.cli.loading import find_model, load, load_template
    from swiftrl.deploy.service import Service
    from swiftrl.engine.continuous import Limits
    from swiftrl.engine.embedded import EmbeddedEngine
    from swiftrl.models.heads import scores_in

    config, model = settings[DeployConfig], settings[ModelConfig]
    adapters = _named(model.adapters)
    model = dataclasses.replace(model, adapters=list(adapters.values()))
    check_quantisation(settings[QuantLoadConfig])
    backend = hardware.choose(model)
    hardware.check(settings, backend)
    resolved = find_model(model)
    # Requests may name no address but at --media_hosts, and be sent on to no other.
    template = load_template(settings, resolved, url_rule=tuple(config.media_hosts))
    if scores_in(resolved, model.adapters) is not None:
        raise ConfigError(
            f"{resolved.name} is a reward model, which writes nothing; swiftrl infer --dataset "
            "scores conversations with it."
        )
    loaded = load(
        dataclasses.replace(model, adapters=[]),
        resolved,
        quantisation=settings[QuantLoadConfig],
    )
    engine = EmbeddedEngine(
        loaded.model,
        loaded.tokenizer,
        stop_token_ids=template.stop_token_ids,
        shown_token_ids=template.mark_token_ids,
        limits=Limits(
            replies=settings[GenerationConfig].max_batch_size,
            prefill_tokens=config.max_prefill_tokens,
            cache_bytes=_cache_bytes(config, backend),
        ),
        max_model_len=config.max_model_len,
    )
    for name, folder in adapters.items():
        engine.add_adapter(name, Path(folder))
    return Service(
        engine,
        template,
        tuple(config.served_model_name) or (resolved.name,),
        _defaults(settings, loaded.model.generation_config),
        config,
        settings[GenerationConfig].max_batch_size,
    )


def _named(adapters: list[str]) -> dict[str, str]:
    """Return adapters by name: name=folder, or a folder by its own name."""
    found: dict[str, str] = {}
    for entry in adapters:
        name, equals, folder = entry.partition("=")
        name, folder = (name, folder) if equals else (Path(entry).name, entry)
        if name in found:
            raise ConfigError(f"--adapters: two are called {name!r}; give name=folder.")
        found[name] = folder
    return found


def _cache_bytes(config: DeployConfig, backend: Backend) -> int:
    if config.cache_gib is not None:
        return int(config.cache_gib * 2**30)
    return backend.mem_info().free // 2


def _defaults(settings: Settings, published: Any) -> SamplingParams:
    """Return the sampling of requests that say nothing.

    What a chat in the terminal takes for granted (512 tokens, a fixed seed) counts only if given.
    """
    from swiftrl.engine.config import sampling_params

    config = settings[GenerationConfig]
    for name in ("max_new_tokens", "seed"):
        if name not in settings.sources:
            config = dataclasses.replace(config, **{name: None})
    return sampling_params(config, published)


COMMAND = Command(
    summary="Serve a model by OpenAI's API.",
    description="Serve a model by OpenAI's API: chat, completions, tools, structured output, "
    "streams; adapters by name. Listens on this machine alone unless --host says otherwise.",
    groups=lambda argv: [
        ModelConfig,
        QuantLoadConfig,
        GenerationConfig,
        TemplateConfig,
        DeployConfig,
    ],
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
