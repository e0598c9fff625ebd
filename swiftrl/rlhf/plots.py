"""Curves of a run as PNG files, from its metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftrl.core.files import disk_errors

__all__ = ["curves", "draw_curves"]

HELD_OUT = "eval_"
_NO_CURVE = {"step", "epoch", "elapsed_s"}


def curves(
    lines: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Return metric -> {"training" or "held out": (steps, values)}."""
    found: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for line in lines:
        for key, value in line.items():
            if key in _NO_CURVE or not isinstance(value, (int, float)):
                continue
            held_out = key.startswith(HELD_OUT)
            metric = key.removeprefix(HELD_OUT)
            series = found.setdefault(metric, {})
            steps, values = series.setdefault("held out" if held_out else "training", ([], []))
            steps.append(int(line["step"]))
            values.append(float(value))
    return found


def draw_curves(lines: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write one PNG a metric into `folder`; return them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for metric, series in curves(lines).items():
            figure = Figure(figsize=(7, 4), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.add_subplot()
            for label, (steps, values) in sorted(series.items(), reverse=True):
                marker = "o" if label == "held out" or len(steps) < 3 else None
                axes.plot(steps, values, marker=marker, markersize=4, label=label)
            axes.set_xlabel("optimizer step")
            axes.set_title(metric)
            axes.grid(alpha=0.3)
            if len(series) > 1:
                axes.legend()
            path = folder / f"{metric.replace('/', '_')}.png"
            figure.savefig(path, dpi=100)
            written.append(path)
    return written
