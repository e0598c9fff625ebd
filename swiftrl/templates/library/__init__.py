"""Chat templates for models that publish none, one Jinja file each: `--template NAME`.

Each writes a published format and nothing else: no system prompt that nobody asked for, and a turn
never changes with those behind it. Names of ms-swift for the same format are understood too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from importlib import resources

from swiftrl.core.errors import TemplateError
from swiftrl.core.registry import did_you_mean

__all__ = ["aliases", "controls", "names", "nearest", "source"]

_CONTROL = re.compile(r"<[^<>%{}\s]{1,40}>|\[/?g?[A-Z_]+\]|\[\|[^|\s]{0,40}\|\]")
_SAME = {
    "chatml": "dbrx internlm2 internlm3 llava1_6_yi llava_next_qwen mimo_rl qwen qwen2_5 "
    "qwen2_5_math qwen2_5_vl qwen2_vl qwen3 qwen_audio qwen_vl yi_coder",
    "cohere": "aya c4ai command_r",
    "deepseek_v3": "deepseek_v2_5",
    "default": "alpaca",
    "gemma": "gemma2 gemma3 gemma3_text gemma3_vision gemma3n",
    "glm4": "glm4_0414",
    "hunyuan_large": "hunyuan",
    "kimi": "kimi_k2 kimi_vl moonlight",
    "llama2": "llama",
    "llama3": "llama3_1 llama3_2 llama3_2_vision",
    "mistral_v7": "mistral_2501 mistral_2503 mistral_2506",
    "tulu": "olmo olmo2",
    "vicuna_v1": "wizardlm2 wizardlm2_moe",
}
_ALIASES = {alias: name for name, aliases in _SAME.items() for alias in aliases.split()}
_COMMON = {"<s>", "</s>"}  # of many tokenizers, and so no sign of a format
_PLAIN = ("default", "vicuna")


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the templates, sorted."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name[:-6] for f in files if f.name.endswith(".jinja")))


def aliases(name: str) -> tuple[str, ...]:
    """Return the other names under which template `name` is known."""
    return tuple(_SAME.get(name, "").split())


@functools.cache
def source(name: str) -> str:
    """Return the Jinja text of template `name`.

    Raises:
        TemplateError: no such template.
    """
    name = _ALIASES.get(name, name)
    if name not in names():
        raise TemplateError(
            f"--template {name}: no such template.{did_you_mean(name, (*names(), *_ALIASES))} "
            f"The library has {', '.join(names())}; a file ending in .jinja works too."
        )
    return resources.files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")


def controls(name: str) -> frozenset[str]:
    """Return the control tokens that template `name` writes, by their looks."""
    return frozenset(_CONTROL.findall(source(name)))


def nearest(added_tokens: Collection[str]) -> tuple[str, ...]:
    """Return the templates whose control tokens a tokenizer knows, or some that need none.

    Args:
        added_tokens: the tokenizer's special and added tokens.
    """
    asked = {name: controls(name) - _COMMON for name in names()}
    known = tuple(name for name, own in asked.items() if own and own <= set(added_tokens))
    return known or _PLAIN
