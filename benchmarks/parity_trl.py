"""Hold losses, and training with DPO, against TRL's.

It runs in an environment with TRL 1.16, which it makes where TRL is not installed. First every
loss on random log-probabilities through TRL's own loss code, then 20 optimizer steps of both
trainers in float32 on the same rows in the same order. Exits 1 if anything differs by more than
the bound.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

BOUND = 1e-4
STEPS, PAIRS_A_STEP = 20, 4
TRAINED = ("sigmoid", "ipo", "hinge", "robust", "apo_zero")
LOSSES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sigmoid_norm",
)  # fmt: skip

DIVERGENCES = ("forward_kl", "js_divergence", "alpha_divergence")


@dataclass(frozen=True)
class Row:
    """A pair as both trainers want it."""

    sequences: tuple
    columns: dict
    origin: str


def relative(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / max(abs(theirs), 1e-6)


def smoothing(kind: str) -> float:
    return 0.1 if kind in ("robust", "exo_pair") else 0.0


def theirs_on(kind, logps, ref_logps, mask, beta, divergence="reverse_kl", collision=None) -> float:
    """Return TRL's loss, computed by its own method on given log-probabilities [2B, R]."""
    from trl import DPOTrainer

    values = SimpleNamespace(
        log_probs=logps,
        entropy=torch.zeros_like(logps),
        mean_logits=torch.zeros_like(logps),
        is_top1=torch.zeros_like(logps, dtype=torch.bool),
        log_sum_sq_probs=collision,
    )
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather_for_metrics=lambda x: x, gather=lambda x: x
    )
    trainer = SimpleNamespace(
        accelerator=accelerator, model=SimpleNamespace(training=True), beta=beta, ld_alpha=None,
        precompute_ref_logps=True,
        loss_types=[kind], loss_weights=[1.0], label_smoothing=smoothing(kind),
        f_divergence_type=divergence, f_alpha_divergence_coef=0.3, 
        use_weighting=collision is not None,
        aux_loss_enabled=False, _tp_size=1,
        _total_train_tokens=0, args=SimpleNamespace(discopop_tau=0.05),
        _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    full_mask = torch.cat([torch.zeros_like(mask[:, :1]), mask], dim=1)
    reference = (ref_logps * mask).sum(1)
    half = len(logps) // 2

    class Model:
        training = True

        def __call__(self, **kwargs):
            return values

    inputs = {
        "input_ids": torch.ones_like(full_mask),
        "attention_mask": torch.ones_like(full_mask),
        "completion_mask": full_mask,
        "ref_chosen_logps": reference[:half],
        "ref_rejected_logps": reference[half:],
    }
    return float(DPOTrainer._compute_loss(trainer, Model(), inputs, False))


def ours_on(kind, logps, ref_logps, mask, beta, divergence="reverse_kl") -> float:
    from swiftrl.rlhf.algorithm import LossInputs
    from swiftrl.rlhf.algorithms.dpo import Dpo, DpoConfig

    half = len(logps) // 2
    order = torch.arange(2 * half).view(2, half).T.flatten()
    chosen = mask[order].bool()
    index = torch.arange(2 * half)[:, None].expand_as(chosen)[chosen]
    config = DpoConfig(
        beta=beta, loss_type=[kind], label_smoothing=smoothing(kind) or None,
        f_divergence_type=divergence, f_alpha_divergence_coef=0.3,
    )  # fmt: skip
    algorithm = Dpo(config)
    if kind == "bco_pair":
        # TRL 1.16 leaves out the running mean of rewards that the paper subtracts.
        algorithm.load_state_dict({"reward_sum": 0.0, "reward_count": 10**12})
    output = algorithm.loss(
        LossInputs(
            logps=logps[order][chosen],
            ref_logps=ref_logps[order][chosen],
            sequence_index=index,
            weights=torch.ones(len(index)),
            num_sequences=2 * half,
            training=False,
        )
    )
    return float(output.sum) / float(output.count)


def compare_losses() -> float:
    """Return the largest relative difference over all losses and three random batches."""
    worst = 0.0
    cases = [(kind, "reverse_kl") for kind in LOSSES]
    cases += [(kind, divergence) for kind in ("sigmoid", "hinge") for divergence in DIVERGENCES]
    for kind, divergence in cases:
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            lengths = torch.randint(3, 12, (8, 1), generator=generator)
            mask = (torch.arange(12)[None] < lengths).long()
            logps = -torch.rand(8, 12, generator=generator) * 3
            ref = logps + torch.randn(8, 12, generator=generator)
            logps, ref = logps * mask, ref * mask
            ours, theirs = (
                f(kind, logps, ref, mask, 0.3, divergence) for f in (ours_on, theirs_on)
            )
            worst = max(worst, relative(ours, theirs))
        name = kind if divergence == "reverse_kl" else f"{kind} {divergence}"
        print(f"{name:>24}  ours {ours:.7f}  TRL {theirs:.7f}")
    return worst


def tiny_model():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).float()


def random_pairs() -> list[dict[str, list[int]]]:
    generator = np.random.default_rng(0)

    def some(low: int, high: int) -> list[int]:
        return generator.integers(3, 256, generator.integers(low, high)).tolist()

    return [
        {"prompt_ids": some(8, 32), "chosen_ids": [10, *some(4, 24)],
         "rejected_ids": [11, *some(4, 24)]}
        for _ in range(STEPS * PAIRS_A_STEP)
    ]  # fmt: skip


def tokenizer():
    """Return a tokenizer that TRL wants to see; the rows are tokens already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"t{number}": number for number in range(256)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="t3")),
        bos_token="t0", eos_token="t1", pad_token="t2", unk_token="t3",
    )  # fmt: skip


def train_theirs(kind: str, pairs: list[dict], folder: Path) -> list[float]:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    losses: list[float] = []

    class Recording(DPOTrainer):
        def _prepare_dataset(self, dataset, *arguments):
            return dataset

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            losses.append(float(loss.detach()))
            return loss

    arguments = DPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=PAIRS_A_STEP,
        gradient_accumulation_steps=1, max_steps=STEPS, learning_rate=1e-3, beta=0.1,
        lr_scheduler_type="constant", loss_type=[kind], label_smoothing=smoothing(kind),
        train_sampling_strategy="sequential", use_cpu=True, bf16=False, report_to="none",
        save_strategy="no", weight_decay=0.1, adam_beta1=0.9, adam_beta2=0.95, max_grad_norm=1.0,
        gradient_checkpointing=False, max_length=None, disable_tqdm=True, seed=0,
        logging_strategy="no",
    )  # fmt: skip
    trainer = Recording(
        model=tiny_model(), ref_model=tiny_model(), args=arguments,
        train_dataset=Dataset.from_list(pairs), processing_class=tokenizer(),
    )  # fmt: skip
    trainer.train()
    return losses


def train_ours(kind: str, pairs: list[dict], folder: Path) -> list[float]:
    import json

    from swiftrl.backends.detect import detect
    from swiftrl.rlhf.algorithms.dpo import Dpo, DpoConfig
    from swiftrl.rlhf.config import TrainConfig
    from swiftrl.rlhf.distributed import Processes
    from swiftrl.rlhf.policy import Policy
    from swiftrl.rlhf.run_folder import prepare_run_folder
    from swiftrl.rlhf.trainer import Trainer
    from swiftrl.templates.encoding import Encoded

    def encoded(prompt: list[int], reply: list[int]) -> Encoded:
        weights = np.r_[np.zeros(len(prompt)), np.ones(len(reply))].astype(np.float32)
        return Encoded(np.array(prompt + reply, dtype=np.int32), weights)

    rows = [
        Row(
            tuple(encoded(pair["prompt_ids"], pair[f"{side}_ids"]) for side in
                  ("chosen", "rejected")),
            {},
            f"row {number}",
        )
        for number, pair in enumerate(pairs)
    ]  # fmt: skip
    config = TrainConfig(
        output_dir=str(folder / "ours"), per_device_train_batch_size=PAIRS_A_STEP,
        gradient_accumulation_steps=1, max_steps=STEPS, learning_rate=1e-3,
        lr_scheduler_type="constant", save_strategy="no", gradient_checkpointing=False,
        logging_steps=1, eval_strategy="no",
    )  # fmt: skip
    backend = detect("cpu")
    policy = Policy(tiny_model(), compute_dtype=torch.float32)
    policy.refer_to_copy()
    settings = DpoConfig(beta=0.1, loss_type=[kind], label_smoothing=smoothing(kind) or None)
    run = prepare_run_folder(config)
    Trainer(
        policy, Dpo(settings), rows, None, config, run_folder=run,
        processes=Processes.start(backend), backend=backend, compute_dtype=torch.float32,
        shuffle=False,
    ).train()  # fmt: skip
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def compare_training() -> float:
    """Return the largest relative difference of a step's loss over the trained kinds."""
    worst = 0.0
    pairs = random_pairs()
    for kind in TRAINED:
        with tempfile.TemporaryDirectory() as folder:
            theirs = train_theirs(kind, pairs, Path(folder))
            ours = train_ours(kind, pairs, Path(folder))
        assert len(ours) == len(theirs) == STEPS, (len(ours), len(theirs))
        differences = [relative(a, b) for a, b in zip(ours, theirs, strict=True)]
        worst = max(worst, *differences)
        print(
            f"{kind:>14}  first {ours[0]:.6f} / {theirs[0]:.6f}  last {ours[-1]:.6f} / "
            f"{theirs[-1]:.6f}  largest relative difference {max(differences):.1e}"
        )
    return worst


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    if importlib.util.find_spec("trl") is None:
        from environments import create

        root = Path(__file__).resolve().parent.parent
        return subprocess.call(
            [create("trl"), __file__], env=os.environ | {"PYTHONPATH": str(root)}
        )
    print("losses on random log-probabilities")
    from parity_offline import compare_offline

    losses = max(compare_losses(), compare_offline())
    print(f"largest relative difference {losses:.1e}\n")
    print(f"{STEPS} optimizer steps (ours / TRL)")
    training = compare_training()
    print(f"largest relative difference {training:.1e}; bound {BOUND:.0e}")
    return int(max(losses, training) > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
