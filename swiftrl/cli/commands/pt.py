"""`swiftrl pt`: Continued pre-training: every token of the text trains."""

from __future__ import annotations

from swiftrl.cli.command import Command
from swiftrl.cli.training import check_training, refuse, run_training, training_groups
from swiftrl.rlhf.algorithms.pt import ALGORITHM

COMMAND = Command(
    summary="Continue pre-training on plain text.",
    description="Continued pre-training: every token of the text trains.",
    groups=lambda argv: [*training_groups(reference=False), ALGORITHM.Config],
    run=lambda settings: run_training(settings, ALGORITHM, "pt"),
    check=lambda settings: check_training(settings, ALGORITHM),
    refuse=refuse,
    trains=True,
)
