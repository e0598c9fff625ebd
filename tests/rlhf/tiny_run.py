"""A tiny training run: a module for the trainer's tests, and a program for those that kill it.

python tiny_run.py '{"train": {"output_dir": "...", ...}, "weights": "out.safetensors", ...}'
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import device
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from swiftrl.core.errors import SwiftRLError
from swiftrl.core.lifeline import run_as_rank
from swiftrl.models.value_head import add_value_head
from swiftrl.rlhf import report
from swiftrl.rlhf.algorithm import ALGORITHMS, Algorithm
from swiftrl.rlhf.config import TrainConfig
from swiftrl.rlhf.distributed import Processes
from swiftrl.rlhf.parallel.choose import choose_parallel
from swiftrl.rlhf.parallel.config import ParallelConfig
from swiftrl.rlhf.plots import draw_curves
from swiftrl.rlhf.policy import Policy
from swiftrl.rlhf.run_folder import RunFolder, prepare_run_folder
from swiftrl.rlhf.trainer import Trainer, TrainResult

VOCABULARY = 128


@dataclass(frozen=True)
class Sequence_:
    token_ids: np.ndarray
    loss_weights: np.ndarray


@dataclass(frozen=True)
class Row:
    sequences: tuple[Sequence_, ...]
    columns: dict[str, float]
    origin: str
    sequence_values: dict[str, list[float]] = field(default_factory=dict)
    token_values: dict[str, list[np.ndarray]] = field(default_factory=dict)


def tiny_config(heads: int = 2) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )


def tiny_model(
    *,
    lora: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
    heads: int = 2,
    scores: int = 0,
    experts: int = 0,
) -> Any:
    torch.manual_seed(seed)
    config = tiny_config(heads)
    if scores:
        config.num_labels, config.pad_token_id = scores, 0
        model: Any = Qwen3ForSequenceClassification(config)
    elif experts:
        mixture = {"num_experts": experts, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**config.to_dict() | mixture))
    else:
        model = Qwen3ForCausalLM(config)
    if lora:
        config = LoraConfig(
            r=4,
            lora_alpha=8,
            lora_dropout=dropout,
            target_modules="all-linear",
            task_type="SEQ_CLS" if scores else "CAUSAL_LM",
            modules_to_save=["score"] if scores else None,
        )
        model = get_peft_model(model, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero by default, which hides mistakes
                torch.nn.init.normal_(parameter, std=0.05)
    return model


def tiny_rows(
    number: int, kind: str = "preference", seed: int = 1, untrained: frozenset[int] = frozenset()
) -> list[Row]:
    """Make rows of prompts (3 to 8 tokens) and replies (2 to 9), rolled out for online learning."""
    draw = np.random.default_rng(seed)
    rows = []
    for index in range(number):
        prompt = draw.integers(1, VOCABULARY, draw.integers(3, 9))
        replies = []
        for _ in range({"preference": 2, "prompt": 3}.get(kind, 1)):
            reply = draw.integers(1, VOCABULARY, draw.integers(2, 10))
            weights = np.concatenate([np.zeros(len(prompt)), np.ones(len(reply))])
            if index in untrained:
                weights[:] = 0
            ids = np.concatenate([prompt, reply]).astype(np.int32)
            replies.append(Sequence_(ids, weights.astype(np.float32)))
        rolled = (
            {
                "sequence_values": {
                    "advantages": draw.normal(size=len(replies)).tolist(),
                    "preferred": [1.0, 0.0, -1.0],
                    "scorable": [1.0, 1.0, 0.0],
                    "positive": [0.0, 2.0, 0.0],
                },
                "token_values": {
                    "engine_logps": [-np.ones(len(r.token_ids)) for r in replies],
                    # Around what the untrained model says, so that some tokens are clipped.
                    "old_logps": [draw.normal(-4.85, 0.3, len(r.token_ids)) for r in replies],
                    "chance": [draw.random(len(r.token_ids)) for r in replies],
                    "advantages": [draw.normal(size=len(r.token_ids)) for r in replies],
                    "returns": [draw.normal(size=len(r.token_ids)) for r in replies],
                    "values": [draw.normal(0, 0.3, len(r.token_ids)) for r in replies],
                    "kept": [draw.random(len(r.token_ids)).round() for r in replies],
                },
            }
            if kind == "prompt"
            else {}
        )
        if kind == "stepwise" and index not in untrained:  # every other token ends a step
            replies[0].loss_weights[len(prompt) + 1 :: 2] = 0
            labels = draw.integers(0, 2, len(replies[0].token_ids)).astype(np.float32)
            rolled = {"token_values": {"label": [labels]}}
        elif kind == "stepwise":
            rolled = {"token_values": {"label": [np.zeros(len(replies[0].token_ids))]}}
        columns = {"label": float(index % 3 > 0)} if kind == "labelled" else {}
        if kind == "scored":
            columns = {"score": float(draw.normal())}
        rows.append(Row(tuple(replies), columns, f"tiny.jsonl:{index + 1}", **rolled))
    return rows


@dataclass
class Setup:
    """What a tiny run is made of.

    Attributes:
        train: fields of TrainConfig.
        algorithm, options: name and settings of the algorithm.
        weights: where the main process writes the trained weights.
        sequence: processes that share rows.
        moving: alpha and steps of a reference that follows the policy.
        device: torch's name of the device; a program is told by it.
    """

    train: dict[str, Any]
    algorithm: str = "dpo"
    options: dict[str, Any] = field(default_factory=dict)
    lora: bool = True
    dropout: float = 0.0
    num_rows: int = 21
    num_held_out: int = 0
    weights: str | None = None
    untrained: list[int] = field(default_factory=list)
    checkpointing: bool = False
    timeout_s: float = 60.0
    fail_rank: int | None = None
    fail_way: str = "exit"
    plots: bool = False
    sequence: int = 1
    heads: int = 2
    fsdp: str | None = None
    deepspeed: str | None = None
    dtype: str = "float32"
    experts: int = 0
    moving: tuple[float, int] | None = None
    device: str = field(default_factory=device.name)


def make_algorithm(setup: Setup) -> Algorithm:
    kind = ALGORITHMS.get(setup.algorithm)
    return kind(kind.Config(**setup.options))


def lines_of(folder: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def make_trainer(setup: Setup, data: Any = None, algorithm: Algorithm | None = None) -> Trainer:
    report.draw_curves = draw_curves if setup.plots else lambda lines, folder: []
    backend = device.backend_of(setup.device)
    processes = Processes.start(backend, timeout_s=setup.timeout_s).in_groups(setup.sequence)
    train = {"learning_rate": 1e-2, "add_version": False, "eval_on_start": False} | setup.train
    config = TrainConfig(**train)
    settings = {"lora": setup.lora, "algorithm": setup.algorithm, **setup.options, **train}
    folder: RunFolder = prepare_run_folder(config, processes, settings)
    algorithm = algorithm or make_algorithm(setup)
    model = tiny_model(
        lora=setup.lora,
        dropout=setup.dropout,
        heads=setup.heads,
        scores=algorithm.num_scores,
        experts=setup.experts,
    )
    if algorithm.values:
        add_value_head(model)
        torch.nn.init.normal_(model.value_head.weight, std=0.1)
    model = model.to(processes.device)
    if not processes.is_main:  # the trainer brings every process to the main one's weights
        for parameter in model.parameters():
            parameter.data += parameter.requires_grad
    dtype = getattr(torch, setup.dtype)
    parallel = choose_parallel(
        ParallelConfig(fsdp=setup.fsdp, deepspeed=setup.deepspeed), processes, backend, dtype
    )
    policy = Policy(
        model,
        compute_dtype=dtype,
        gradient_checkpointing=setup.checkpointing,
        probe=False,
        parallel=parallel,
    )
    moving = None
    if setup.moving:
        moving = policy.refer_to_past_self(alpha=setup.moving[0], every=setup.moving[1])
    elif algorithm.needs_reference:
        if setup.lora:
            policy.refer_to_itself()
        else:
            reference = tiny_model(lora=False, heads=setup.heads, experts=setup.experts)
            policy.refer_to(reference.to(processes.device))
    if algorithm.distance is not None:
        teacher = tiny_model(lora=False, seed=9, heads=setup.heads).to(processes.device)
        policy.learn_from(teacher, algorithm.distance)
    policy.share_tokens(processes.sequence)
    kind = algorithm.row_kind
    return Trainer(
        policy,
        algorithm,
        data
        if data is not None
        else tiny_rows(setup.num_rows, kind, untrained=frozenset(setup.untrained)),
        tiny_rows(setup.num_held_out, kind, seed=2),
        config,
        run_folder=folder,
        processes=processes,
        backend=backend,
        parallel=parallel,
        settings=settings,
        moving=moving,
        compute_dtype=dtype,
    )


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    weights = trainer.training.trained.weights()
    return {name: value.cpu().clone() for name, value in weights.items()}


def save_weights(setup: Setup, trainer: Trainer) -> None:
    if setup.weights is not None:
        weights = weights_of(trainer)
        if trainer.processes.is_main:
            save_file(weights, setup.weights)


def run(setup: Setup, **parts: Any) -> tuple[Trainer, TrainResult]:
    trainer = make_trainer(setup, **parts)
    result = trainer.train()
    save_weights(setup, trainer)
    return trainer, result


def program(setups: list[Setup], *, processes: int = 1) -> list[str]:
    """Return the command that runs `setups` one after another in `processes` processes."""
    words = [sys.executable]
    if processes > 1:
        words += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*words, __file__, json.dumps([asdict(setup) for setup in setups])]


def environment() -> dict[str, str]:
    """Return variables for `program`."""
    import swiftrl

    root = Path(swiftrl.__file__).parents[1]
    places = [str(root), str(Path(device.__file__).parent), *_given("PYTHONPATH")]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(places)}


def _given(variable: str) -> list[str]:
    return [os.environ[variable]] if os.environ.get(variable) else []


def run_all(setups: list[Setup]) -> int:
    """Run every setup given; a line each says after how many steps and by what signal it ended."""
    torch.set_num_threads(1)
    for setup in setups:
        try:
            trainer = make_trainer(setup)
            if setup.fail_rank == trainer.processes.rank:
                fail = {"exit": lambda *_: os._exit(3), "stall": lambda *_: time.sleep(600)}
                trainer.stepper.passes.train = fail[setup.fail_way]
            result = trainer.train()
            save_weights(setup, trainer)
        except SwiftRLError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        sys.stdout.write(f"ended {result.state.step} {result.stopped_by}\n")
        sys.stdout.flush()
    trainer.processes.leave()
    return 0


if __name__ == "__main__":
    run_as_rank(lambda: run_all([Setup(**values) for values in json.loads(sys.argv[1])]))
