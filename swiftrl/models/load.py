"""Tokenizer, processor and weights, read from a checked folder."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from swiftrl.core import log
from swiftrl.core.errors import ModelError
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.models.heads import SCORE_HEAD, score_class, score_head
from swiftrl.models.hub import is_hub_id
from swiftrl.models.quantise import keep_gradients, quantising_arguments
from swiftrl.models.quantised import section_of, stored_quantisation
from swiftrl.models.quiet import quiet_transformers
from swiftrl.models.resolve import Resolved
from swiftrl.models.spec import ModelSpec
from swiftrl.models.spread import check_spread, is_spread, spread_arguments

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from swiftrl.backends.base import Backend

__all__ = [
    "LoadedModel",
    "Place",
    "load_config",
    "load_model",
    "load_processor",
    "load_tokenizer",
    "model_class",
    "stop_token_ids",
]

Place = Literal["device", "host", "nowhere"]
"""Where weights are read to; "nowhere" gives a model without values, on the meta device."""

_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
_TOKENIZER_EXPECTED = (
    "Expected tokenizer.json and tokenizer_config.json (or the files of a sentencepiece or "
    "tiktoken tokenizer) beside the weights."
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready for use, with all that came from its folder.

    Attributes:
        model: on its device, in evaluation mode.
        tokenizer: as published.
        processor: for pictures and the like; None for text models.
        spec: the registry's entry, if there is one.
        path: folder it came from.
        name: what the user called it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    processor: Any | None
    spec: ModelSpec | None
    path: Path
    name: str


def load_tokenizer(resolved: Resolved) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder.

    Raises:
        ModelError: its files are absent or broken, or it runs code of its own.
    """
    # transformers makes an empty tokenizer out of nothing, so its absence is found here.
    if not any(any(resolved.path.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise ModelError(f"{resolved.path}: has no tokenizer. {_TOKENIZER_EXPECTED}")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(
            f"{resolved.path}: the tokenizer cannot be loaded: {_first_line(error)} "
            + _TOKENIZER_EXPECTED
        ) from error
    return tokenizer


def load_processor(resolved: Resolved) -> Any | None:
    """Return what turns pictures and the like into inputs, or None for text models."""
    markers = ("processor_config.json", "preprocessor_config.json")
    if not any((resolved.path / name).is_file() for name in markers):
        return None
    from transformers import AutoImageProcessor, AutoProcessor

    try:
        return AutoProcessor.from_pretrained(resolved.path, trust_remote_code=False)
    except (ImportError, ValueError, OSError):
        # Some processors want a video library merely to be built; pictures do without.
        return AutoImageProcessor.from_pretrained(resolved.path, trust_remote_code=False)


def load_config(resolved: Resolved) -> PretrainedConfig:
    """Return the model's configuration as transformers understands it.

    Raises:
        ModelError: transformers does not know this type of model.
    """
    from transformers import AutoConfig, __version__

    part = _part(resolved)
    try:
        if part is not None:
            return part.config_class.from_pretrained(resolved.path)
        return AutoConfig.from_pretrained(resolved.path, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, OSError) as error:
        known = resolved.config.get("model_type")
        raise ModelError(
            f"{resolved.path}: transformers {__version__} cannot read this model's configuration "
            f"(model_type {known!r}): {_first_line(error)}{_newer(resolved)}"
        ) from error


def load_model(
    resolved: Resolved,
    config: ModelConfig,
    backend: Backend,
    *,
    dtype: str | None = None,
    place: Place = "device",
    scores: int | None = None,
    scores_tokens: bool = False,
    quantisation: QuantLoadConfig | None = None,
) -> LoadedModel:
    """Read tokenizer and weights, and put the model on this process's device.

    Args:
        resolved: a checked folder.
        config: dtype and attention are taken from it.
        backend: where the model goes.
        dtype: overrides config.torch_dtype, e.g. "float32" to merge adapters.
        place: where the weights go instead, for a model that several processes share.
        scores: give it a head of so many scores, new where the folder holds none.
        scores_tokens: the head is of every token, not of the last one alone.
        quantisation: of its frozen linear layers; None leaves them as they are.

    Raises:
        ModelError: the weights do not fit the architecture, or it is not served.
    """
    import torch

    tokenizer = load_tokenizer(resolved)
    model_config = load_config(resolved)
    architecture = (
        model_class(resolved) if scores is None else score_class(resolved, tokens=scores_tokens)
    )
    if scores is not None:
        model_config.num_labels = scores
        _name_padding(model_config, tokenizer)
    section = section_of(resolved.config)
    if section is not None and stored_quantisation(resolved) is not None:
        from swiftrl.models.quantised_loading import load_as_ours

        load_as_ours(model_config, section)
    compute = getattr(torch, dtype or backend.compute_dtype(config.torch_dtype))
    arguments = _arguments(resolved, config, backend, compute, place, quantisation)
    try:
        # Mismatched sizes are collected like missing weights so that one message names them all.
        with quiet_transformers():
            model, report = architecture.from_pretrained(
                resolved.path,
                config=model_config,
                dtype=compute,
                attn_implementation=config.attn_impl,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **arguments,
            )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(f"{resolved.path}: loading failed: {error}") from error
    keep_gradients(model)
    _check_report(resolved, report, head_is_new=scores is not None)
    _check_vocabulary(resolved, model, tokenizer)
    if not backend.capabilities.grouped_mm:
        model.set_experts_implementation("eager")
    if (head := score_head(model)) is not None:
        head.float()  # scores are read in float32, as log-probabilities are
    check_spread(model)
    if place == "device" and not is_spread(model) and "quantization_config" not in arguments:
        model = model.to(backend.current_device())
    model = model.eval()
    if is_hub_id(resolved.name) and not Path(resolved.name).is_dir():
        # What saved adapters record as their base: the id, not this machine's cache folder.
        model.name_or_path = model.config.name_or_path = resolved.name
    else:
        model.name_or_path = model.config.name_or_path = str(resolved.path.absolute())
    processor = load_processor(resolved)
    return LoadedModel(model, tokenizer, processor, resolved.spec, resolved.path, resolved.name)


def _arguments(
    resolved: Resolved,
    config: ModelConfig,
    backend: Backend,
    compute: torch.dtype,
    place: Place,
    quantisation: QuantLoadConfig | None,
) -> dict[str, Any]:
    """Return what `from_pretrained` takes to place and to quantise weights."""
    import torch

    arguments = {"device_map": "meta"} if place == "nowhere" else spread_arguments(config)
    quantised = quantisation and quantising_arguments(resolved, quantisation, compute)
    if not quantised:
        return arguments
    # Weights go to the device one by one and are quantised there.
    device = backend.current_device() if place == "device" else torch.device("cpu")
    return {"device_map": {"": device}, **arguments, **quantised}


def stop_token_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: ModelSpec | None = None
) -> tuple[int, ...]:
    """Return the ids that end a reply: the generation config's, the tokenizer's, the family's."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = list(eos) if isinstance(eos, (list, tuple)) else [eos]
    found.append(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    found += [vocabulary.get(token) for token in (spec.stop_tokens if spec else ())]
    return tuple(dict.fromkeys(token for token in found if token is not None))


def _part(resolved: Resolved) -> Any | None:
    """Return the class of the part of a larger model that trains, or None for the whole."""
    import transformers

    name = resolved.spec.trains_as if resolved.spec is not None else None
    return getattr(transformers, name, None) if name is not None else None


def model_class(resolved: Resolved) -> Any:
    """Return the class of transformers that a folder's config names.

    Raises:
        ModelError: there is none that generates text.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    name, model_type = resolved.architecture, resolved.config.get("model_type")
    found = _part(resolved) or getattr(transformers, name or "", None)
    # Folders older than transformers' own class may name another of the same type.
    for mapping in (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    ):
        if found is None and model_type in mapping:
            found = getattr(transformers, str(mapping[model_type]), None)
    if found is None:
        raise ModelError(
            f"{resolved.path}: transformers {transformers.__version__} has no architecture "
            f"{name!r}.{_newer(resolved)}"
        )
    if not found.can_generate():
        raise ModelError(
            f"{resolved.path}: {found.__name__} does not generate text; expected a causal or "
            "vision-language model with its language-model head."
        )
    return found


def _newer(resolved: Resolved) -> str:
    least = resolved.spec.min_transformers if resolved.spec else None
    if "auto_map" in resolved.config:
        return (
            " It brings Python code of its own, which is never run. Use a version of the model "
            "that transformers implements (often published with -hf in its name)."
        )
    return f" Install transformers{f'>={least}' if least else ' in a newer version'}."


def _name_padding(config: Any, tokenizer: Any) -> None:
    """Let transformers find the last token of padded rows, which it scores."""
    text = config.get_text_config(decoder=True)
    if text.pad_token_id is None:
        padding = tokenizer.pad_token_id
        text.pad_token_id = tokenizer.eos_token_id if padding is None else padding


def _check_report(resolved: Resolved, report: dict[str, Any], *, head_is_new: bool) -> None:
    if head_is_new:
        new = {key for key in report["missing_keys"] if key.startswith(f"{SCORE_HEAD}.")}
        report["missing_keys"] = set(report["missing_keys"]) - new
        report["unexpected_keys"] = set(report["unexpected_keys"]) - {"lm_head.weight"}
        if new:
            log.info("The head of scores is new: its weights start random.")
    mismatched = sorted(report["mismatched_keys"], key=str)
    if mismatched:
        shapes = "; ".join(
            f"{key}: {tuple(stored)} in the file, {tuple(wanted)} by config.json"
            for key, stored, wanted in mismatched[:3]
        )
        raise ModelError(
            f"{resolved.path}: {len(mismatched)} weights do not fit config.json: {shapes}. The "
            "files belong to different models."
        )
    if report.get("error_msgs"):
        raise ModelError(f"{resolved.path}: loading failed: {'; '.join(report['error_msgs'])}")
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{resolved.path}: {len(missing)} weights of {resolved.architecture} are not in the "
            f"files and would start random: {_summary(missing)}. Use a folder that holds the "
            "whole model."
        )
    unexpected = sorted(report["unexpected_keys"])
    if unexpected:
        log.warn(
            f"{resolved.path}: {len(unexpected)} weights in the files have no place in "
            f"{resolved.architecture} and are left out: {_summary(unexpected)}."
        )


def _summary(keys: list[str]) -> str:
    """Return key names with layer numbers folded: "model.layers.*.mlp.up_proj.weight (x28)"."""
    patterns = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", key) for key in keys)
    shown = [f"{name} (x{count})" if count > 1 else name for name, count in patterns.items()]
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def _check_vocabulary(resolved: Resolved, model: Any, tokenizer: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise ModelError(
            f"{resolved.path}: the tokenizer's largest id is {largest} but the model embeds only "
            f"{rows} tokens. The tokenizer belongs to another model."
        )


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."
