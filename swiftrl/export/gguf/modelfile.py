"""Ollama's description of a model: its prompt as a Go template, held against the model's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ModelError
from swiftrl.export.publish.weights import read_json

__all__ = ["Prompting", "modelfile", "prompting_of"]


@dataclass(frozen=True, slots=True)
class Prompting:
    """How a model is asked.

    Attributes:
        template: Go template with .System, .Prompt and .Response.
        stops: texts that end a reply.
        turn: how one turn looks, with {role} and {content}.
        start: what stands in front of a reply.
    """

    template: str
    stops: tuple[str, ...]
    turn: str = ""
    start: str = ""
    first: str = ""


def _go(prompting: Prompting) -> str:
    turn = prompting.turn
    system = turn.format(role="system", content="{{ .System }}")
    user = turn.format(role="user", content="{{ .Prompt }}")
    end = turn.partition("{content}")[2]
    return (
        f"{{{{ if .System }}}}{system}{{{{ end }}}}{{{{ if .Prompt }}}}{user}{{{{ end }}}}"
        f"{prompting.start}{{{{ .Response }}}}{end}"
    )


_KNOWN = (
    Prompting(
        "", ("<|im_end|>", "<|endoftext|>"), "<|im_start|>{role}\n{content}<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    Prompting(
        "", ("<|eot_id|>", "<|end_of_text|>"),
        "<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|begin_of_text|>",
    ),
)  # fmt: skip
"""Formats that are recognised: what the model's own template renders is held against each."""

_PROBES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("system", "S1."), ("user", "U1?")),
    (("system", "S1."), ("user", "U1?"), ("assistant", "A1!"), ("user", "U2?")),
)


def prompting_of(folder: Path, template_file: str | None) -> Prompting:
    """Return how a model is asked.

    Args:
        folder: of the model.
        template_file: a Go template of the user's, or None to find one.

    Raises:
        ModelError: the model's own template renders as none that is known.
    """
    if template_file is not None:
        path = Path(template_file)
        if not path.is_file():
            raise ModelError(f"--ollama_template {path}: no such file.")
        return Prompting(path.read_text(encoding="utf-8"), ())
    own = _own_template(folder)
    for known in _KNOWN:
        if all(_renders(own, folder, probe) == _expected(known, probe) for probe in _PROBES):
            return Prompting(_go(known), known.stops)
    raise ModelError(
        f"{folder}: its chat template renders as none that is known here (ChatML, Llama 3), and "
        "Ollama does not run Jinja. Give a Go template by --ollama_template FILE."
    )


def _own_template(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    found: Any = (
        path.read_text(encoding="utf-8")
        if path.is_file()
        else read_json(folder / "tokenizer_config.json").get("chat_template")
    )
    if not isinstance(found, str):
        raise ModelError(f"{folder}: has no chat template; give --ollama_template FILE.")
    return found


def _renders(template: str, folder: Path, probe: Sequence[tuple[str, str]]) -> str | None:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    settings = read_json(folder / "tokenizer_config.json")
    bos: Any = settings.get("bos_token") or ""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["strftime_now"] = lambda form: ""
    try:
        return environment.from_string(template).render(
            messages=[{"role": role, "content": content} for role, content in probe],
            add_generation_prompt=True,
            bos_token=bos.get("content", "") if isinstance(bos, dict) else bos,
            eos_token="",
        )
    except TemplateError:
        return None


def _expected(known: Prompting, probe: Sequence[tuple[str, str]]) -> str:
    turns = [known.turn.format(role=role, content=content) for role, content in probe]
    return known.first + "".join(turns) + known.start


def modelfile(prompting: Prompting, file: str, system: str | None) -> str:
    """Return the text of a Modelfile.

    Args:
        prompting: how the model is asked.
        file: name of the GGUF file beside it.
        system: the system prompt, if there is one.
    """
    lines = [f"FROM ./{file}", f'TEMPLATE """{prompting.template}"""']
    lines += [f"PARAMETER stop {json.dumps(stop)}" for stop in prompting.stops]
    if system:
        lines.append(f'SYSTEM """{system}"""')
    return "\n".join(lines) + "\n"
