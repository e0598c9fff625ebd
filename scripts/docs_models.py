"""The page of models, written from the registry (see scripts/docs.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from swiftrl.models.catalog import conformance, tested_of
from swiftrl.models.left_out import LEFT_OUT
from swiftrl.models.listing import Found, counts, find
from swiftrl.models.remote_code import needs_remote_code

__all__ = ["models_page"]

ENGLISH = {
    "title": "Models",
    "generated": "Written by `make docs` from the registry in the code; do not edit by hand.",
    "intro": "The registry knows {text_ids} text models and {multimodal_ids} multimodal models by "
    "name, of {families} families and {architectures} architectures. `swiftrl models --search "
    "NAME` lists the ids, `swiftrl models --of FOLDER` says which family a folder is. A model that "
    "is not listed trains too, if transformers implements it and it has a chat template. Ids are "
    "those that public sources show: {huggingface_only} models are known on Hugging Face alone "
    "(`--use_hf true`), {modelscope_only} on ModelScope alone.",
    "levels": "What the last column says:",
    "golden": "compared with the published weights",
    "tiny": "a small random model of the architecture goes through every check of the suite",
    "listed": "known by name; its architecture does not go through the checks, for the reason in "
    "[Not tested, and why](#not-tested-and-why)",
    "not loaded": "the architecture is code beside the weights, which is never run: {ids} models "
    "that are found by name but refused",
    "text": "Text models",
    "media": "Multimodal models",
    "header": "| `--model_type` | Models | Such as | Architectures | Takes | Tool calls | For | "
    "Tested |",
    "detected": "by template",
    "untested": "Not tested, and why",
    "untested_intro": "Of the {ran} classes of transformers {version} that the registry names, "
    "{passed} pass every check, {media} of them with pictures, films or sounds. These do not:",
    "why": "| Classes | Why |",
    "left_out": "Generating classes of transformers in no family",
    "left_out_intro": "What transformers' auto-classes for text, and for pictures with text, offer "
    "beside the families above:",
}
CHINESE = {
    "title": "模型",
    "generated": "本页由 `make docs` 根据代码中的登记表生成，请勿手工修改。",
    "intro": "登记表按名称收录 {text_ids} 个文本模型和 {multimodal_ids} 个多模态模型，分属 "
    "{families} 个家族、{architectures} 种架构。`swiftrl models --search 名称` 列出 id，"
    "`swiftrl models --of 文件夹` 说明一个文件夹属于哪个家族。没有收录的模型只要 transformers "
    "实现了它、并且带有对话模板，同样可以训练。id 均见于公开资料：其中 "
    "{huggingface_only} 个模型只知道在 Hugging Face 上（`--use_hf true`），"
    "{modelscope_only} 个只知道在 ModelScope 上。",
    "levels": "最后一列的含义：",
    "golden": "与公开发布的权重比对过",
    "tiny": "该架构的随机小模型通过了全部检查",
    "listed": "只按名称收录；其架构没有通过全部检查，原因见[未测试及其原因](#未测试及其原因)",
    "not loaded": "架构是随权重附带的代码，本软件从不运行这类代码：{ids} 个模型能按名称查到，"
    "但会被拒绝",
    "text": "文本模型",
    "media": "多模态模型",
    "header": "| `--model_type` | 模型数 | 例如 | 架构 | 接受 | 工具调用 | 用途 | 测试 |",
    "detected": "看模板",
    "untested": "未测试及其原因",
    "untested_intro": "transformers {version} 中由登记表收录的 {ran} 个类里，{passed} 个通过"
    "全部检查，其中 {media} 个带图片、视频或声音。以下各类没有通过：",
    "why": "| 类 | 原因 |",
    "left_out": "不属于任何家族的生成类",
    "left_out_intro": "transformers 的文本与图文自动类在上述家族之外还提供：",
}


def models_page(code: str, text_of: Callable[[str, Sequence[str], str], str]) -> str:
    """Return models.md.

    Args:
        code: "en" or "zh".
        text_of: kind, name and English text -> the text in that language.
    """
    words = CHINESE if code == "zh" else ENGLISH
    number = counts(find())
    text = find(modality="text")
    names = {spec.name for spec, _ in text}
    media = [(spec, ids) for spec, ids in find() if spec.name not in names]
    lines = [f"# {words['title']}", "", f"> {words['generated']}", ""]
    lines += [words["intro"].format_map(number), "", words["levels"], ""]
    for level in ("golden", "tiny", "listed", "not loaded"):
        colon = "：" if code == "zh" else ": "
        lines.append(f"- `{level}`{colon}{words[level].format(ids=number['remote_code_ids'])}")
    lines += ["", f"## {words['text']}", "", *_table(text, words)]
    lines += ["", f"## {words['media']}", "", *_table(media, words)]
    lines += ["", *_untested(words, text_of)]
    lines += ["", f"## {words['left_out']}", "", words["left_out_intro"], ""]
    lines += _by_reason(LEFT_OUT, words, text_of)
    return "\n".join(lines) + "\n"


def _table(found: Sequence[Found], words: dict[str, str]) -> list[str]:
    lines = [words["header"], "|" + "---|" * (words["header"].count("|") - 1)]
    for spec, ids in found:
        cells = (
            f"`{spec.name}`",
            str(len(ids)),
            f"`{ids[0].known[0]}`" if ids else "–",
            ", ".join(f"`{name}`" for name in spec.architectures),
            ", ".join(spec.modalities),
            spec.tool_syntax or words["detected"],
            ", ".join(spec.capabilities),
            "not loaded" if needs_remote_code(spec) else tested_of(spec),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _untested(words: dict[str, str], text_of: Callable[..., str]) -> list[str]:
    results = {name: entry for name, entry in conformance().items() if name != "_versions"}
    passed = [entry for entry in results.values() if entry["level"] == "tiny"]
    intro = words["untested_intro"].format(
        ran=len(results),
        version=conformance()["_versions"]["transformers"],
        passed=len(passed),
        media=sum(len(entry["modalities"]) > 1 for entry in passed),
    )
    why = {name: entry["reason"] for name, entry in results.items() if entry["level"] == "listed"}
    return [f"## {words['untested']}", "", intro, "", *_by_reason(why, words, text_of)]


def _by_reason(
    reasons: Mapping[str, str], words: dict[str, str], text_of: Callable[..., str]
) -> list[str]:
    """Return a table of classes that share a reason, in the order of the first of each."""
    grouped: dict[str, list[str]] = {}
    for name in sorted(reasons):
        grouped.setdefault(reasons[name], []).append(name)
    lines = [words["why"], "|---|---|"]
    for reason, names in grouped.items():
        classes = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| {classes} | {text_of('reasons', [reason], reason)} |")
    return lines
