"""What an evaluation wrote down: JSON for programs, Markdown and a page for people."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swiftrl.core.errors import DataError
from swiftrl.core.files import write_json, write_text
from swiftrl.eval.runner import Sample, TaskResult
from swiftrl.eval.statistics import Estimate

__all__ = ["read_report", "read_samples", "table_rows", "write_report", "write_samples"]

VERSION = 1


def table_rows(results: Sequence[TaskResult]) -> list[tuple[str, str, str, str, str]]:
    """Return task, metric, value with its error, questions and examples, a row a metric."""
    rows = []
    for result in results:
        ordered = sorted(result.estimates.items(), key=lambda pair: pair[0] != result.metric)
        for metric, found in ordered:
            rows.append(
                (result.name, metric, _shown(found), f"{found.number:,}", str(result.few_shot))
            )
        for group, found in result.groups.items():
            rows.append((f"  {group}", result.metric, _shown(found), f"{found.number:,}", ""))
    return rows


def _shown(found: Estimate) -> str:
    return f"{found.mean:.4f} ± {found.error:.4f}"


def write_samples(folder: Path, result: TaskResult) -> Path:
    """Write every question with its replies and scores, a line each; return the file."""
    path = folder / "samples" / f"{result.name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(_line(s), ensure_ascii=False, default=str) for s in result.samples)
    write_text(path, "".join(line + "\n" for line in lines))
    return path


def _line(sample: Sample) -> dict[str, Any]:
    item = sample.item
    line: dict[str, Any] = {
        "key": sample.key,
        "origin": item.origin,
        "group": item.group,
        "system": item.system,
        "prompt": sample.prompt,
        "replies": list(sample.replies),
        "answers": [one.answer for one in sample.scored],
        "target": item.target,
        "values": {
            name: [one.values.get(name) for one in sample.scored]
            for name in sample.scored[0].values
        },
    }
    if item.choices:
        line |= {"choices": list(item.choices), "gold": item.gold}
    if sample.likelihoods:
        line["likelihoods"] = list(sample.likelihoods)
    return line


def write_report(
    folder: Path, model: str, results: Sequence[TaskResult], settings: Mapping[str, Any]
) -> dict[str, Path]:
    """Write report.json, report.md and report.html.

    Args:
        folder: where.
        model: what was evaluated.
        results: of every task.
        settings: as resolved.

    Returns:
        kind -> file.
    """
    files = {kind: folder / f"report.{kind}" for kind in ("json", "md", "html")}
    content = {
        "version": VERSION,
        "model": model,
        "settings": dict(settings),
        "tasks": {result.name: _task(result) for result in results},
    }
    write_json(files["json"], content)
    write_text(files["md"], _markdown(model, results))
    write_text(files["html"], _page(model, results))
    return files


def _task(result: TaskResult) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "few_shot": result.few_shot,
        "unscored": result.unscored,
        "metrics": {name: asdict(found) for name, found in result.estimates.items()},
        "groups": {name: asdict(found) for name, found in result.groups.items()},
    }


HEADS = ("task", "metric", "value ± standard error", "questions", "examples shown")


def _markdown(model: str, results: Sequence[TaskResult]) -> str:
    lines = [f"# Evaluation of {model}", "", _md_row(HEADS), _md_row(["---"] * len(HEADS))]
    lines += [_md_row(row) for row in table_rows(results)]
    return "\n".join(lines) + "\n"


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _page(model: str, results: Sequence[TaskResult]) -> str:
    """Return one file of HTML with everything in it."""
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table_rows(results)
    )
    picture = base64.b64encode(_bars(results)).decode()
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    title = f"Evaluation of {html.escape(model)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>'
        "body{font:16px system-ui;margin:2em auto;max-width:60em}table{border-collapse:collapse}"
        "td,th{border-bottom:1px solid #ccc;padding:.3em .8em;text-align:left}"
        "details{margin:.6em 0}pre{white-space:pre-wrap;background:#f4f4f4;padding:.6em}</style>"
        f"<h1>{title}</h1><p><img alt='values with 95% intervals' "
        f"src='data:image/png;base64,{picture}'></p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f"{''.join(_wrong(result) for result in results)}</html>\n"
    )


def _wrong(result: TaskResult, most: int = 10) -> str:
    """Return the first questions that went wrong, to be opened."""
    missed = [s for s in result.samples if (value := s.value(result.metric)) is not None
              and value < 1][:most]  # fmt: skip
    shown = "".join(
        f"<details><summary>{html.escape(s.item.origin)}: {s.value(result.metric):.2f}</summary>"
        f"<pre>{html.escape(s.prompt[-1500:])}</pre><pre>{html.escape(s.replies[0][:1500])}</pre>"
        f"<p>expected: {html.escape(s.item.target[:300])}</p></details>"
        for s in missed
    )
    return f"<h2>{html.escape(result.name)}: below full marks</h2>{shown}" if missed else ""


def _bars(results: Sequence[TaskResult]) -> bytes:
    """Return a PNG of the tasks' main metrics with their intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [(r.name, r.estimates[r.metric]) for r in results if r.metric in r.estimates]
    figure = Figure(figsize=(7, 1 + 0.5 * max(len(shown), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names, found = [name for name, _ in shown], [one for _, one in shown]
    axes.barh(names, [one.mean for one in found], xerr=[1.96 * one.error for one in found])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def read_report(folder: Path) -> dict[str, Any]:
    """Return what report.json in a folder of results says.

    Raises:
        DataError: there is none, or it is none of ours.
    """
    path = folder / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: has no report.json that can be read ({error}). Expected the "
            "--eval_output_dir of an evaluation."
        ) from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise DataError(f"{path}: is no report of this version ({VERSION}).")
    return content


def read_samples(folder: Path, task: str) -> dict[str, dict[str, Any]]:
    """Return the questions of a task by their key.

    Raises:
        DataError: the file is absent or broken.
    """
    path = folder / "samples" / f"{task}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {line["key"]: line for line in map(json.loads, lines)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error
