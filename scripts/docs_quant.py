"""The tables of quantisation, for scripts/docs.py."""

from __future__ import annotations

from swiftrl.export.method import METHODS
from swiftrl.quant.format import FORMATS

METHOD_HEADERS = {
    "en": "| `--quant_method` | What it does | Bits | `--quant_format`, the default first | Data |",
    "zh": "| `--quant_method` | 做什么 | 位数 | `--quant_format`，默认在前 | 数据 |",
}
CHINESE = {
    "awq": "放大输入大的列，使其损失更小（AWQ），再像 gptq 那样舍入",
    "fp8": "权重为 8 位浮点数，输入在运行时也是（W8A8）；不需要数据",
    "gptq": "每个权重的舍入误差由后面的权重弥补（GPTQ）",
    "rtn": "每个权重取所在组网格上最近的点；不需要数据",
    "w8a8": "权重为 8 位整数，由 GPTQ 舍入，输入在运行时也是",
}
"""Summaries of methods."""
NEEDS = {"en": ("calibrates", "none"), "zh": ("需要校准", "不需要")}
FORMAT_HEADERS = {
    "en": "| `--quant_format` | vLLM, SGLang (GPU) | vLLM (CPU) | vllm-ascend | transformers | "
    "Training here (LoRA) |",
    "zh": "| `--quant_format` | vLLM、SGLang（GPU） | vLLM（CPU） | vllm-ascend | transformers | "
    "在这里训练（LoRA） |",
}
YES = {"en": "yes", "zh": "可以"}
RAN = {"en": "read and compared", "zh": "读取并比较过"}
WITH = {"en": "{ran}, with {package}", "zh": "{ran}，需要 {package}"}
BUT = {
    "eight": {
        "en": "{ran} in 4 bits, not 8; no experts, no act-order",
        "zh": "4 位{ran}，8 位不行；不支持专家与 act-order",
    },
    "experts": {"en": "{ran}; no experts", "zh": "{ran}；不支持专家"},
    "four": {"en": "{ran} in 4 bits", "zh": "4 位{ran}"},
}
SERVED: dict[str, tuple[bool, str | None, bool, str, bool]] = {
    "gptq": (True, "eight", False, "gptqmodel", True),
    "gptq_v2": (True, "eight", False, "gptqmodel", True),
    "awq": (True, "experts", False, "gptqmodel", True),
    "compressed_tensors": (True, "four", True, "compressed-tensors", True),
    "w8a8": (True, "", True, "compressed-tensors", False),
    "fp8": (True, "", False, "compressed-tensors", False),
}
"""By format: vLLM and SGLang on GPUs by their documentation; vLLM on a processor, with what it
refuses; vllm-ascend by its documentation; the package that transformers needs; LoRA here."""


def methods_table(code: str) -> str:
    """Return the table of methods in the language `code`."""
    lines = [METHOD_HEADERS[code], "|---|---|---|---|---|"]
    for name, method in METHODS.items():
        needs, none = NEEDS[code]
        bits = ", ".join(map(str, method.bits))
        formats = ", ".join(f"`{form}`" for form in method.formats)
        summary = method.summary if code == "en" else CHINESE[name]
        data = needs if method.reads_inputs else none
        lines.append(f"| `{name}` | {summary} | {bits} | {formats} | {data} |")
    return "\n".join(lines)


def formats_table(code: str) -> str:
    """Return the table of who reads which format."""
    lines = [FORMAT_HEADERS[code], "|---|---|---|---|---|---|"]
    for name in FORMATS.names():
        serves, limits, ascend, package, trains = SERVED[name]
        ran = RAN[code]
        processor = BUT[limits][code].format(ran=ran) if limits else ran
        cells = (
            f"`{name}`",
            YES[code] if serves else "–",
            processor,
            YES[code] if ascend else "–",
            WITH[code].format(ran=ran, package=f"`{package}`"),
            YES[code] if trains else "–",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
