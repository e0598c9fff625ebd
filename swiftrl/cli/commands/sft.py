"""`swiftrl sft`: Supervised fine-tuning on the assistant's turns."""

from __future__ import annotations

from swiftrl.cli.command import Command
from swiftrl.cli.training import check_training, refuse, run_training, training_groups
from swiftrl.rlhf.algorithms.sft import ALGORITHM

COMMAND = Command(
    summary="Fine-tune a model on conversations.",
    description="Supervised fine-tuning on the assistant's turns.",
    groups=lambda argv: [*training_groups(reference=False), ALGORITHM.Config],
    run=lambda settings: run_training(settings, ALGORITHM, "sft"),
    check=lambda settings: check_training(settings, ALGORITHM),
    refuse=refuse,
    trains=True,
)
