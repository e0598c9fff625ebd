"""`swiftrl export --to TARGET`: merge, quantise, write, read again, publish."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from swiftrl.backends.importing import import_torch
from swiftrl.cli.target_folder import check_target
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import ConfigError
from swiftrl.core.files import write_json
from swiftrl.export.config import ExportConfig, QuantConfig
from swiftrl.export.publish.config import PublishConfig
from swiftrl.export.publish.run import publish
from swiftrl.export.publish.target import TARGETS, Job, Target
from swiftrl.export.publish.weights import read_json
from swiftrl.models.config import ModelConfig

__all__ = ["publish_model"]


def publish_model(settings: Settings) -> int:
    """Make the folder that is published, unless it is there, and publish it.

    Raises:
        SwiftRLError: what the user must know.
    """
    name = settings[PublishConfig].to or ""
    target = TARGETS.get(name)
    _check(settings, name, target)
    config = settings[ModelConfig]
    if _is_made(settings, target):
        folder = _made(settings)
        if name == "local" and settings[PublishConfig].destination is None:
            return 0
        job = Job(folder, adapter=False, base=None, settings=settings)
    elif config.adapters:
        job = Job(Path(config.adapters[0]), adapter=True, base=_base(config), settings=settings)
    else:
        named = Path(config.model or "")
        beside = None if named.is_dir() else Path(named.name.removeprefix("builtin:"))
        job = Job(_folder(config), adapter=False, base=None, settings=settings, beside=beside)
    publish(name, target, job)
    return 0


def _check(settings: Settings, name: str, target: Target) -> None:
    """Refuse before anything is made what the settings alone show to be wrong."""
    config, export = settings[ModelConfig], settings[ExportConfig]
    if config.model is None and not config.adapters:
        raise ConfigError("--model is missing: the folder that is published; or --adapters.")
    if len(config.adapters) > 1:
        raise ConfigError("--adapters: one at a time can be merged or published.")
    quantised = settings[QuantConfig].quant_method is not None
    if config.adapters and not quantised and not _merges(settings, target):
        if "adapter" not in target.takes:
            raise ConfigError(f"--merge_lora false: --to {name} takes whole models; leave it out.")
    elif "model" not in target.takes:
        raise ConfigError(
            f"--to {name}: takes LoRA adapters as training saved them: give --adapters, without "
            f"{'--merge_lora' if export.merge_lora else '--quant_method or --merge_lora'}."
        )
    job = Job(Path(config.model or config.adapters[0]), False, None, settings)
    if name != "local" or settings[PublishConfig].destination is not None:
        target.place(job)


def _merges(settings: Settings, target: Target) -> bool:
    """Return whether adapters are folded in: as asked, else where whole models are taken."""
    asked = settings[ExportConfig].merge_lora
    return "model" in target.takes if asked is None else asked


def _is_made(settings: Settings, target: Target) -> bool:
    """Return whether the published folder has to be made first."""
    if settings[QuantConfig].quant_method is not None:
        return True
    return bool(settings[ModelConfig].adapters) and _merges(settings, target)


def _made(settings: Settings) -> Path:
    """Return the folder with merged or quantised weights; it is made once.

    A file beside it says of what it was made, so that the same command does not make it again.
    """
    export = settings[ExportConfig]
    target = _output(settings)
    record = target.with_name(f".{target.name}.made.json")
    wanted = _fingerprint(settings)
    if target.is_dir() and read_json(record) == wanted:
        log.info(f"{target}: was made before, of the same settings and files.")
        return target
    check_target(target, export.exist_ok)
    record.unlink(missing_ok=True)
    import_torch()
    if settings[QuantConfig].quant_method is not None:
        from swiftrl.cli.exporting import quantise

        quantise(settings.replace(output_dir=str(target)))
    else:
        from swiftrl.cli.merging import merge_checked

        merge_checked(settings[ModelConfig], target, export.max_shard_size)
    write_json(record, wanted)
    return target


def _output(settings: Settings) -> Path:
    """Return where the made folder stands: as asked, else beside adapter or model."""
    export, config = settings[ExportConfig], settings[ModelConfig]
    if export.output_dir is not None:
        return Path(export.output_dir)
    given = Path(config.adapters[0] if config.adapters else config.model or "")
    suffix = settings[QuantConfig].quant_method or "merged"
    if given.is_dir():
        return given.with_name(f"{given.name}-{suffix}")
    return Path(f"{str(given).split('/')[-1].removeprefix('builtin:')}-{suffix}")


_MAKING = (ExportConfig, QuantConfig)


def _fingerprint(settings: Settings) -> dict[str, Any]:
    """Return what the made folder depends on."""
    config = settings[ModelConfig]
    folders = [Path(name) for name in (config.model, *config.adapters) if name]
    chosen = {
        field.name: settings.shown(field.name)
        for group in _MAKING
        for field in dataclasses.fields(group)
        if field.name not in ("output_dir", "exist_ok")
    }
    stamps = {
        f"{folder.absolute()}/{file.name}": [file.stat().st_size, file.stat().st_mtime_ns]
        for folder in folders
        if folder.is_dir()
        for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    }
    value = {"model": config.model, "adapters": config.adapters, "settings": chosen,
             "files": stamps}  # fmt: skip
    return json.loads(json.dumps(value, default=str))


def _folder(config: ModelConfig) -> Path:
    """Return the folder of --model; one that is here needs neither torch nor a hub."""
    model = config.model or ""
    if Path(model).is_dir():
        return Path(model)
    import_torch()
    from swiftrl.cli.loading import find_model

    return find_model(config).path


def _base(config: ModelConfig) -> Path | None:
    """Return the folder of an adapter's base model."""
    named = config.model or read_json(Path(config.adapters[0]) / "adapter_config.json").get(
        "base_model_name_or_path"
    )
    if not named:
        return None
    return _folder(dataclasses.replace(config, model=str(named), adapters=[]))
