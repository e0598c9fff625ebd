"""What is quantised, how and on which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from swiftrl.export.calibration import Pass
from swiftrl.export.config import QuantConfig
from swiftrl.export.folding import FoldCache
from swiftrl.export.layers import Blocks
from swiftrl.export.method import Plan
from swiftrl.export.work_folder import WorkFolder

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is quantised, how and on which rows.

    Attributes:
        model: of transformers; its layers' weights change in place.
        blocks: its blocks and their layers.
        plan: method and format.
        config: the settings.
        rows: passes that calibrate.
        device: where blocks run.
        keep: where they lie otherwise, and hidden states between blocks.
        folder: where blocks that are done are kept.
        folds: where blocks of each kind take scales (AWQ), filled as they come.
    """

    model: Any
    blocks: Blocks
    plan: Plan
    config: QuantConfig
    rows: Sequence[Pass]
    device: torch.device
    keep: torch.device
    folder: WorkFolder
    folds: FoldCache = field(default_factory=dict)
