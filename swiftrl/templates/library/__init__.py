"""Chat templates for base models, one Jinja file each: `--template NAME`."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from importlib import resources

from swiftrl.core.errors import TemplateError
from swiftrl.core.registry import did_you_mean

__all__ = ["names", "nearest", "source"]

_CONTROL = re.compile(r"<[^<>%{}\s]{1,40}>|\[/?[A-Z_]+\]")


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the templates, sorted."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name[:-6] for f in files if f.name.endswith(".jinja")))


@functools.cache
def source(name: str) -> str:
    """Return the Jinja text of template `name`.

    Raises:
        TemplateError: no such template.
    """
    if name not in names():
        raise TemplateError(
            f"--template {name}: no such template.{did_you_mean(name, names())} "
            f"The library has {', '.join(names())}; a file ending in .jinja works too."
        )
    return resources.files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")


def nearest(added_tokens: Collection[str]) -> tuple[str, ...]:
    """Return the templates whose control tokens a tokenizer knows, or those that need none.

    Args:
        added_tokens: the tokenizer's special and added tokens.
    """
    known, free = [], []
    for name in names():
        controls = set(_CONTROL.findall(source(name)))
        if not controls:
            free.append(name)
        elif controls <= set(added_tokens):
            known.append(name)
    return tuple(known or free)
