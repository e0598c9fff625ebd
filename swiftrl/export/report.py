"""What quantisation cost: a file for programs, one for people, and a plot."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swiftrl.core.files import disk_errors, write_json, write_text
from swiftrl.export.layers import pattern_of
from swiftrl.export.measure import Comparison
from swiftrl.export.method import Plan

__all__ = ["report_of", "write_report"]

NAME = "quantisation_report"


def report_of(
    plan: Plan,
    records: Sequence[Mapping[str, Any]],
    comparison: Comparison,
    *,
    model: str,
    settings: Mapping[str, Any],
    data: Sequence[str],
    tokens: int,
    skipped: Sequence[str],
    sizes: tuple[int, int],
    seconds: float,
    bound: float,
) -> dict[str, Any]:
    """Return the report.

    Args:
        plan: method and format.
        records: of each layer, `relative_error` among them.
        comparison: with the original.
        model: its name.
        settings: of the run.
        data: where the rows come from.
        tokens: that calibrated.
        skipped: linear layers that stay as they were.
        sizes: bytes of all weights before and after.
        seconds: that it took.
        bound: --quant_max_kl.
    """
    unseen = [r["layer"] for r in records if r.get("tokens") == 0]
    return {
        "model": model,
        "method": plan.name,
        "format": plan.form,
        "bits": plan.scheme.bits,
        "group_size": plan.scheme.group_size,
        "symmetric": plan.scheme.symmetric,
        "act_order": plan.scheme.act_order,
        **asdict(comparison),
        "perplexity_ratio": comparison.perplexity_after / comparison.perplexity_before,
        "quant_max_kl": bound,
        "within_bound": comparison.kl <= bound,
        "calibration_data": list(data),
        "calibration_tokens": tokens,
        "bytes_before": sizes[0],
        "bytes_after": sizes[1],
        "seconds": round(seconds, 1),
        "layers": [dict(record) for record in records],
        "experts_without_tokens": unseen,
        "left_alone": list(skipped),
        "settings": dict(settings),
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write quantisation_report.json, .md and .png into a folder."""
    write_json(folder / f"{NAME}.json", report)
    write_text(folder / f"{NAME}.md", _text(report))
    _plot(report["layers"], folder / f"{NAME}.png")


def _text(report: Mapping[str, Any]) -> str:
    by_kind = _by_kind(report["layers"])
    saved = report["bytes_after"] / report["bytes_before"]
    lines = [
        f"# {report['model']} in {report['bits']} bits",
        "",
        f"Method {report['method']}, format {report['format']}, group size "
        f"{report['group_size']}; {saved:.0%} of the original's size "
        f"({_mib(report['bytes_before'])} -> {_mib(report['bytes_after'])}).",
        "",
        f"Compared with the original on {report['rows']} held-out rows ({report['tokens']:,} "
        f"tokens); calibrated on {report['calibration_tokens']:,} tokens of "
        f"{', '.join(report['calibration_data'])}.",
        "",
        "| | Original | Quantised |",
        "|---|---|---|",
        f"| Perplexity | {report['perplexity_before']:.4f} | {report['perplexity_after']:.4f} |",
        "",
        "| | |",
        "|---|---|",
        f"| Divergence from the original (KL) | {report['kl']:.5f} nats a token |",
        f"| Accepted up to (--quant_max_kl) | {report['quant_max_kl']:g} |",
        f"| Same likeliest next token | {report['agreement']:.2%} |",
        f"| Time | {report['seconds']:.0f} s |",
        "",
        "## Error by kind of layer",
        "",
        f"Squared error of {_error_of(report['layers'])}, as a share of their own square.",
        "",
        "| Layer | Number | Mean | Largest | where |",
        "|---|---|---|---|---|",
    ]
    for kind, records in by_kind.items():
        errors = [record["relative_error"] for record in records]
        worst = max(records, key=lambda record: record["relative_error"])
        lines.append(
            f"| `{kind}` | {len(records)} | {sum(errors) / len(errors):.3g} | "
            f"{worst['relative_error']:.3g} | `{worst['layer']}` |"
        )
    lines += ["", f"![Error by block]({NAME}.png)", ""]
    if unseen := report["experts_without_tokens"]:
        lines += [
            f"{len(unseen)} layers of experts saw no calibration token and were rounded by their "
            f"weights alone; the first is `{unseen[0]}`. More rows (--quant_n_samples) help.",
            "",
        ]
    left = report["left_alone"]
    named = f": `{'`, `'.join(left[:8])}`{', ...' if len(left) > 8 else ''}" if left else ""
    lines.append(f"Linear layers that stay as they were: {len(left)}{named}.")
    return "\n".join(lines) + "\n"


def _error_of(records: Sequence[Mapping[str, Any]]) -> str:
    kinds = {record["error_of"] for record in records}
    return "the layers' outputs" if "outputs" in kinds else "the weights"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _by_kind(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        found[pattern_of(record["layer"])].append(record)
    return dict(found)


def _plot(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind, found in _by_kind(records).items():
        by_block: dict[int, list[float]] = defaultdict(list)
        for record in found:
            number = re.search(r"\.(\d+)\.", record["layer"])
            by_block[int(number[1]) if number else 0].append(record["relative_error"])
        blocks = sorted(by_block)
        means = [sum(by_block[block]) / len(by_block[block]) for block in blocks]
        # A weight that lies on its grid already has no error, and a logarithm no zero.
        means = [max(mean, 1e-9) for mean in means]
        axes.plot(blocks, means, marker="o", markersize=4, label=kind.split("*.", 1)[-1])
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("block")
    axes.set_title(f"squared error, as a share of {_error_of(records)}' square")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with disk_errors(path):
        figure.savefig(path, dpi=100)
