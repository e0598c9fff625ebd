"""A model with its adapters, from the model settings, for commands that do not train."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from swiftrl.models.load import LoadedModel
    from swiftrl.models.resolve import Resolved
    from swiftrl.templates.fetch import UrlRule
    from swiftrl.templates.media import MediaOptions
    from swiftrl.templates.source import TemplateOptions
    from swiftrl.templates.template import Template

__all__ = ["find_model", "load", "load_template"]


def find_model(config: ModelConfig, flag: str = "--model") -> Resolved:
    """Return the checked folder of --model, or of the base that --adapters names.

    Args:
        config: the model settings.
        flag: that gave `config.model`, for messages.

    Raises:
        ConfigError: neither is given.
        ModelError: the folder is absent or broken.
    """
    from swiftrl.models.lora import base_of_adapter, check_adapter_folder
    from swiftrl.models.resolve import resolve

    for folder in config.adapters:
        check_adapter_folder(Path(folder))
    model = config.model
    if model is None and config.adapters:
        model = base_of_adapter(Path(config.adapters[0]))
        if model is not None:
            log.info(f"Base model of the adapter: {model}")
    if model is None:
        raise ConfigError(
            "--model is missing: a folder, a hub id, or builtin:tiny-instruct to try things out."
        )
    return resolve(
        model,
        use_hf=config.use_hf,
        revision=config.model_revision,
        model_type=config.model_type,
        token=config.hub_token,
        flag=flag,
    )


def load(
    config: ModelConfig,
    resolved: Resolved,
    *,
    as_stored: bool = False,
    quantisation: QuantLoadConfig | None = None,
) -> LoadedModel:
    """Load a model with the adapters of these settings.

    Args:
        config: the model settings.
        resolved: what `find_model` found for them.
        as_stored: without --torch_dtype keep the type of the files, instead of the one that the
            hardware computes in best.
        quantisation: of the model's linear layers; None leaves them as they are.

    Raises:
        SwiftRLError: what is wrong with the folder, the adapters or the hardware.
    """
    from swiftrl.cli.hardware import choose
    from swiftrl.models.heads import scores_in, scores_tokens
    from swiftrl.models.load import load_model
    from swiftrl.models.lora import load_adapters

    backend = choose(config)
    dtype = resolved.stored_dtype if as_stored and config.torch_dtype is None else None
    scores = scores_in(resolved, config.adapters)
    loaded = load_model(
        resolved,
        config,
        backend,
        dtype=dtype,
        scores=scores,
        scores_tokens=scores_tokens(resolved, config.adapters),
        quantisation=quantisation,
    )
    if not config.adapters:
        return loaded
    model = load_adapters(loaded.model, config.adapters)
    return dataclasses.replace(loaded, model=model)  # type: ignore[type-var]


def load_template(
    settings: Settings,
    resolved: Resolved,
    *,
    text_only: bool = False,
    url_rule: UrlRule | None = None,
) -> Template:
    """Return the model's chat template with the user's switches; weights are not read.

    Args:
        settings: the model's and the template's.
        resolved: the model's folder.
        text_only: the data are plain text, for which a model needs no chat template.
        url_rule: which addresses media are fetched from; None: as --allow_media_urls says.

    Raises:
        TemplateError: there is none, or it does not work.
    """
    from swiftrl.models.load import load_tokenizer
    from swiftrl.models.processor import load_media_processor
    from swiftrl.templates.template import Template

    config = settings[TemplateConfig]
    tokenizer = load_tokenizer(resolved)
    template = Template.load(
        tokenizer,
        processor=load_media_processor(resolved, tokenizer),
        chat_template=config.template,
        options=_options(config, resolved, text_only),
        media=_media_options(config, config.allow_media_urls if url_rule is None else url_rule),
    )
    template.check()
    if template.renderer.library and not config.template and not text_only:
        log.info(
            f"The model publishes no chat template: --template {template.renderer.library} is used."
        )
    return template


def _media_options(config: TemplateConfig, url_rule: UrlRule) -> MediaOptions:
    from swiftrl.templates.clips import FrameSampling
    from swiftrl.templates.media import MediaOptions

    names = ("fps", "nframes", "fps_min_frames", "fps_max_frames", "video_max_pixels", "max_pixels")
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} {value}: expected more than 0.")
    if config.fps_min_frames > config.fps_max_frames:
        raise ConfigError("--fps_min_frames is above --fps_max_frames; lower it.")
    sampling = FrameSampling(
        config.fps,
        config.nframes,
        config.fps_min_frames,
        config.fps_max_frames,
        config.video_max_pixels,
    )
    return MediaOptions(config.max_pixels, url_rule, sampling)


def _options(config: TemplateConfig, resolved: Resolved, text_only: bool) -> TemplateOptions:
    """Return the template's switches: the user's, and what the model's family adds."""
    from swiftrl.templates.source import TemplateOptions

    system, spec = config.system, resolved.spec
    if system is not None and len(system) < 256 and Path(system).is_file():
        system = Path(system).read_text(encoding="utf-8").strip()
    return TemplateOptions(
        system=system,
        enable_thinking=config.enable_thinking,
        response_prefix=config.response_prefix or "",
        variables=config.chat_template_kwargs,
        stop_tokens=tuple(spec.stop_tokens) if spec else (),
        agent_template=config.agent_template,
        tool_syntax=spec.tool_syntax if spec else None,
        reasoning=spec.reasoning if spec else None,
        fallback=(spec.template if spec else None) or ("default" if text_only else None),
    )
