"""Makes a plan and prints it."""

from __future__ import annotations

from typing import Any

from swiftrl.backends.base import Backend
from swiftrl.cli.loading import load_template
from swiftrl.cli.plan_config import PlanConfig
from swiftrl.cli.plan_inputs import (
    backend_of,
    choices_of,
    device_of,
)
from swiftrl.cli.plan_report import Plan, record, show
from swiftrl.cli.plan_rows import Lengths, measured_lengths, stated_lengths
from swiftrl.core import log
from swiftrl.core.config import Settings
from swiftrl.core.errors import TemplateError
from swiftrl.data.config import DataConfig
from swiftrl.data.dataset import load_datasets
from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.models.config import ModelConfig
from swiftrl.models.resolve import Resolved
from swiftrl.models.skeleton import resolve_config, skeleton
from swiftrl.rlhf.algorithm import Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.online import OnlineAlgorithm
from swiftrl.rlhf.planning.memory import plan_memory
from swiftrl.rlhf.planning.remedies import remedies
from swiftrl.rlhf.planning.shape import ModelShape, read_shape
from swiftrl.templates.config import TemplateConfig
from swiftrl.templates.template import Template

__all__ = ["plan"]

_GIB = 2**30
DOES_NOT_FIT = 3


def plan(settings: Settings, kind: type[Algorithm[Any]]) -> int:
    """Print what a run would need.

    Returns:
        0 if it fits, else `DOES_NOT_FIT`.

    Raises:
        SwiftRLError: what is wrong with the settings.
    """
    quiet = settings[PlanConfig].json
    log.set_quiet(quiet)
    algorithm = kind(settings[kind.Config])
    backend = backend_of(settings)
    dtype = backend.compute_dtype(settings[ModelConfig].torch_dtype)
    made = _make(settings, algorithm, backend, dtype)
    log.set_quiet(False)
    if quiet:
        import json

        log.info(json.dumps(record(made), indent=2, ensure_ascii=False))
    else:
        show(made)
    return 0 if made.memory.total <= made.device.memory else DOES_NOT_FIT


def _make(settings: Settings, algorithm: Algorithm[Any], backend: Backend, dtype: str) -> Plan:
    config = settings[ModelConfig]
    resolved = resolve_config(
        config.model,
        settings[PlanConfig].model_shape,
        use_hf=config.use_hf,
        revision=config.model_revision,
        model_type=config.model_type,
        token=config.hub_token,
    )
    device = device_of(settings, backend, dtype)
    model = skeleton(resolved)
    shape = read_shape(model, resolved.spec)
    template = _template(settings, algorithm, resolved)
    lengths = _lengths(settings, algorithm, template, shape)
    choices = choices_of(settings, algorithm, resolved, model, shape, lengths, dtype)
    memory = plan_memory(shape, choices, device)
    return Plan(
        settings,
        algorithm,
        resolved,
        _name_of(template, resolved),
        shape,
        choices,
        device,
        lengths,
        memory,
        remedies(shape, choices, device),
    )


def _template(settings: Settings, algorithm: Algorithm[Any], resolved: Resolved) -> Template | None:
    """Return the chat template where the files are there to have one."""
    names = ("tokenizer.json", "tokenizer_config.json")
    if resolved.path.name == "" or not any((resolved.path / name).is_file() for name in names):
        return None
    try:
        return load_template(settings, resolved, text_only=algorithm.row_kind == "text")
    except TemplateError:
        # Training will say what is wrong; the memory does not depend on it.
        return None


def _name_of(template: Template | None, resolved: Resolved) -> str:
    if template is not None:
        library = template.renderer.library
        return f"{library} (of the library)" if library else template.renderer.name
    known = resolved.spec.template if resolved.spec is not None else None
    return f"{known} (of the library)" if known else "not known: no tokenizer files here"


def _lengths(
    settings: Settings, algorithm: Algorithm[Any], template: Template | None, shape: ModelShape
) -> Lengths:
    data, asked = settings[DataConfig], settings[PlanConfig]
    stated = asked.prompt_tokens is not None or asked.reply_tokens is not None
    unready = template is None or data.streaming or isinstance(algorithm, OnlineAlgorithm)
    if not data.dataset or stated or unready or template is None:
        return stated_lengths(settings, algorithm, shape.context)
    config = settings[TemplateConfig]
    encoder = TemplateRowEncoder(
        template,
        algorithm.row_kind,
        columns=data.columns,
        max_length=config.max_length or shape.context,
        truncation_strategy=config.truncation_strategy or ("raise" if data.strict else "delete"),
        train=config.loss_scale or algorithm.loss_scale,  # type: ignore[arg-type]
        step_separator=algorithm.step_separator,
        objectives=algorithm.objectives,
    )
    seed = settings[TrainConfig].seed
    found = load_datasets(data, encoder, seed=seed, use_hf=settings[ModelConfig].use_hf)
    layout = "rows" if settings[TrainConfig].layout == "rows" else "tree"
    return measured_lengths(found.train, settings, layout=layout, name=" ".join(data.dataset))
