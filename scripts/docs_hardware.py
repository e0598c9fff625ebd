"""Tables of the pages about hardware, for scripts/docs.py: from the backends' own data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from swiftrl.backends.base import Backend
from swiftrl.backends.cann import RELEASES
from swiftrl.backends.capabilities import Chip
from swiftrl.backends.detect import BACKENDS
from swiftrl.backends.requirements import MODEL_QUANTIZATION, NEEDS, Need

__all__ = ["environment_table", "matrix", "needs_table", "releases_table"]

Text = Callable[[str, Sequence[str], str], str]
_ORDER = ("cuda", "ascend", "mps", "cpu")

_MATRIX = {
    "en": "| Chips | `--backend` | bfloat16 | float16 | fp8 | `torch.compile` | Attention "
    "(`--attn_impl`), best first | Liger | bitsandbytes | Quantised weights to train on | "
    "Quantised weights that vLLM serves |",
    "zh": "| 芯片 | `--backend` | bfloat16 | float16 | fp8 | `torch.compile` | 注意力"
    "（`--attn_impl`），从优到劣 | Liger | bitsandbytes | 可在其上训练的量化权重 | "
    "vLLM 可部署的量化权重 |",
}
_YES = {"en": "yes", "zh": "有"}
_NEEDS = {
    "en": "| Setting | Refused on | Because | Instead |",
    "zh": "| 设置 | 在哪些芯片上被拒绝 | 原因 | 应改为 |",
}
_WITH = {
    "en": "{flag} with a model whose weights are {forms}",
    "zh": "{flag}，且模型权重为 {forms}",
}
_RELEASES = {"en": "| torch | torch_npu | CANN |", "zh": "| torch | torch_npu | CANN |"}
_ROLES = {
    "en": {"train": "training", "rollout": "rollouts by vLLM"},
    "zh": {"train": "训练", "rollout": "由 vLLM 生成回复"},
}
_ENVIRONMENT = {
    "en": "| Variable | Value | For | Why |",
    "zh": "| 变量 | 值 | 用于 | 原因 |",
}
_WHY = {
    "HCCL_CONNECT_TIMEOUT": "processes may come minutes apart when a model is downloaded first",
    "TASK_QUEUE_ENABLE": "the host prepares operators while the device computes",
    "PYTORCH_NPU_ALLOC_CONF": "less memory lost to rows of many lengths",
    "PYTORCH_ALLOC_CONF": "less memory lost to rows of many lengths",
    "VLLM_WORKER_MULTIPROC_METHOD": "a fork hangs once a device is in use",
    "VLLM_ASCEND_ENABLE_NZ": "new weights are loaded in the plain layout",
    "OMP_WAIT_POLICY": "threads that wait sleep instead of spinning",
    "GOMP_SPINCOUNT": "the same for GNU's OpenMP",
    "LRU_CACHE_CAPACITY": "rows of many lengths would keep many compiled products",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "rows of many lengths would keep many compiled products",
}


def _backends() -> Iterator[tuple[str, Backend]]:
    yield from ((name, BACKENDS.get(name)) for name in _ORDER)


def _chips() -> Iterator[tuple[str, Chip]]:
    yield from ((name, chip) for name, backend in _backends() for chip in backend.chips)


def matrix(code: str, text: Text) -> str:
    """Return what chips can do, one a row."""
    lines = [_MATRIX[code], "|" + "---|" * (_MATRIX[code].count("|") - 1)]
    for name, chip in _chips():
        able = chip.capabilities
        title = text("hardware", [chip.name], chip.name)
        cells = [
            f"{title} ({chip.examples})" if chip.examples else title,
            f"`{name}`",
            *(_YES[code] if able.has(x) else "–" for x in ("bf16", "fp16", "fp8", "compile")),
            _listed(able.attention),
            *(_YES[code] if able.has(x) else "–" for x in ("liger", "bnb")),
            _listed(able.quant_load),
            _listed(able.quant_serve),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def needs_table(code: str, text: Text) -> str:
    """Return which settings are refused where, why, and what to do instead."""
    lines = [_NEEDS[code], "|---|---|---|---|"]
    alike: dict[tuple[str, str, tuple[str, ...]], list[Need]] = {}
    for need in NEEDS:
        key = need.needs, need.why, tuple(need.todo(name) for name in _ORDER)
        alike.setdefault(key, []).append(need)
    for (needs, why, _), rows in alike.items():
        lacking = [(name, chip) for name, chip in _chips() if not chip.capabilities.has(needs)]
        if not lacking:
            continue
        todos = dict.fromkeys(rows[0].todo(name) for name, _ in lacking)
        cells = (
            "; ".join(_flag(need, code) for need in rows),
            ", ".join(text("hardware", [chip.name], chip.name) for _, chip in lacking),
            text("hardware", [why], why),
            " / ".join(text("hardware", [todo], todo) for todo in todos),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def releases_table(code: str) -> str:
    """Return the published combinations of torch, torch_npu and CANN."""
    lines = [_RELEASES[code], "|---|---|---|"]
    for row in RELEASES:
        cann = row.cann if row.cann.count(".") == 2 else f"{row.cann}.x"
        lines.append(f"| {row.torch} | {row.torch_npu} | {cann} |")
    return "\n".join(lines)


def environment_table(code: str, text: Text, name: str) -> str:
    """Return the variables that a backend sets where they are unset."""
    lines = [_ENVIRONMENT[code], "|---|---|---|---|"]
    found: dict[tuple[str, str], list[str]] = {}
    for role, variables in BACKENDS.get(name).environment.items():
        for variable in variables.items():
            found.setdefault(variable, []).append(_ROLES[code][role])
    for (variable, value), roles in found.items():
        why = text("hardware", [_WHY[variable]], _WHY[variable])
        lines.append(f"| `{variable}` | `{value}` | {', '.join(roles)} | {why} |")
    return "\n".join(lines)


def _flag(need: Need, code: str) -> str:
    parts = []
    for name, values in need.settings.items():
        if name != MODEL_QUANTIZATION:
            parts.append(" / ".join(f"`--{name} {value}`" for value in values))
    forms = need.settings.get(MODEL_QUANTIZATION)
    if forms is None:
        return parts[0]
    return _WITH[code].format(flag=parts[0], forms=", ".join(forms))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"
