"""Losses of KTO, ORPO, SimPO and CPO on random log-probabilities, by TRL's own code and by ours.

`parity_trl.py` runs it. TRL 1.16 has no unpaired BCO; that one is held by hand in the tests.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

__all__ = ["compare_offline"]

BETA, SEEDS, ROWS, LENGTH = 0.3, 3, 8, 12
KTO = ("kto", "apo_zero_unpaired")
CPO = {
    "sigmoid": {}, "sigmoid, smoothed": {"label_smoothing": 0.1}, "hinge": {}, "ipo": {},
    "simpo": {"simpo_gamma": 0.7}, "alphapo": {"simpo_gamma": 0.7, "alpha": 0.4},
}  # fmt: skip


class Batch:
    """Random log-probabilities [rows, tokens] of replies of different lengths."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, LENGTH, (ROWS, 1), generator=generator)
        self.mask = (torch.arange(LENGTH)[None] < lengths).float()
        self.logps = -torch.rand(ROWS, LENGTH, generator=generator) * 3 * self.mask
        self.ref = (self.logps + torch.randn(ROWS, LENGTH, generator=generator) / 2) * self.mask
        # The policy has moved: the estimate is above 0, where it is not clamped.
        self.other = -torch.rand(ROWS, LENGTH, generator=generator) * self.mask
        self.other_ref = (self.other - torch.rand(ROWS, LENGTH, generator=generator)) * self.mask
        self.label = torch.arange(ROWS) % 3 > 0

    def inputs(self, logps: Tensor, ref: Tensor | None, **more: Any) -> Any:
        """Return these rows' tokens as our losses take them."""
        from swiftrl.rlhf.algorithm import LossInputs

        chosen = self.mask.bool()
        index = torch.arange(ROWS)[:, None].expand_as(chosen)[chosen]
        return LossInputs(
            logps=logps[chosen],
            ref_logps=None if ref is None else ref[chosen],
            sequence_index=index,
            weights=torch.ones(len(index)),
            num_sequences=ROWS,
            **more,
        )


def kto_theirs(kind: str, batch: Batch) -> float:
    """Run TRL's method on a model that returns the given log-probabilities."""
    from trl import KTOTrainer

    shape = (ROWS, LENGTH + 1)
    padded = torch.cat([torch.zeros(ROWS, 1), batch.mask], 1)
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x,
                                  gather=lambda x: x)  # fmt: skip

    class Model:
        training = True

        def __call__(self, **kwargs: Any) -> Any:
            zero = torch.zeros_like(batch.logps)
            return SimpleNamespace(
                log_probs=batch.logps, entropy=zero, mean_logits=zero, is_top1=zero.bool()
            )

    model = Model()
    trainer = SimpleNamespace(
        model=model, accelerator=accelerator, beta=BETA, loss_type=kind, calculate_KL=kind == "kto",
        precompute_ref_logps=True, desirable_weight=1.3, undesirable_weight=0.6,
        aux_loss_enabled=False, _metrics=defaultdict(lambda: defaultdict(list)), _tp_size=1,
        _total_train_tokens=0, args=SimpleNamespace(),
        _compute_kl_logps=lambda *_: batch.other.sum(1) if kind == "kto" else None,
    )  # fmt: skip
    inputs = {
        "input_ids": torch.ones(shape, dtype=torch.long),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "completion_mask": padded.long(),
        "label": batch.label,
        "ref_logps": batch.ref.sum(1),
        "ref_KL_logps": batch.other_ref.sum(1),
    }
    return float(KTOTrainer._compute_loss(trainer, model, inputs, False))


def kto_ours(kind: str, batch: Batch) -> float:
    from swiftrl.rlhf.algorithms.kto import Kto, KtoConfig

    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.6}
    algorithm = Kto(KtoConfig(beta=BETA, loss_type=kind, **weights))
    total, count = algorithm.estimate(batch.inputs(batch.other, batch.other_ref))["kl"]
    columns = {"label": batch.label.float()}
    statistics = {"kl": float(total) / count}
    output = algorithm.loss(
        batch.inputs(batch.logps, batch.ref, columns=columns, statistics=statistics)
    )
    return float(output.sum) / float(output.count)


def cpo_theirs(kind: str, batch: Batch) -> float:
    from trl.experimental.cpo import CPOTrainer

    options = {"simpo_gamma": 0.0, "label_smoothing": 0.0, "alpha": 0.0} | CPO[kind]
    loss_type = {"sigmoid, smoothed": "sigmoid", "alphapo": "simpo"}.get(kind, kind)
    accelerator = SimpleNamespace(device=torch.device("cpu"))
    trainer = SimpleNamespace(beta=BETA, loss_type=loss_type, accelerator=accelerator, **options)
    sums = batch.logps.sum(1)
    if loss_type in ("simpo", "ipo"):
        sums = sums / batch.mask.sum(1)
    losses, _, _ = CPOTrainer.cpo_loss(trainer, sums[::2], sums[1::2])
    return float(losses.mean())


def cpo_ours(kind: str, batch: Batch) -> float:
    from swiftrl.rlhf.algorithms.cpo import Cpo, CpoConfig
    from swiftrl.rlhf.algorithms.simpo import Simpo, SimpoConfig

    options = {**CPO[kind], "beta": BETA, "cpo_alpha": 0.0}
    if kind == "alphapo":
        options["alphapo_alpha"] = options.pop("alpha")
        algorithm: Any = Simpo(SimpoConfig(**options))
    else:
        algorithm = Cpo(CpoConfig(loss_type=kind.split(",")[0], **options))
    output = algorithm.loss(batch.inputs(batch.logps, None))
    return float(output.sum) / float(output.count)


def orpo_theirs(kind: str, batch: Batch) -> float:
    from trl.experimental.orpo import ORPOTrainer

    means = batch.logps.sum(1) / batch.mask.sum(1)
    trainer = SimpleNamespace(beta=BETA, accelerator=SimpleNamespace(device=torch.device("cpu")))
    ratios = ORPOTrainer.odds_ratio_loss(trainer, means[::2], means[1::2])[0]
    return float(-means[::2].mean() - ratios.mean())


def orpo_ours(kind: str, batch: Batch) -> float:
    from swiftrl.rlhf.algorithms.orpo import Orpo, OrpoConfig

    output = Orpo(OrpoConfig(beta=BETA)).loss(batch.inputs(batch.logps, None))
    return float(output.sum) / float(output.count)


def compare_offline() -> float:
    """Print both sides' losses, and return the largest relative difference."""
    cases = [
        *((f"kto {kind}", kind, kto_ours, kto_theirs) for kind in KTO),
        *((f"cpo {kind}", kind, cpo_ours, cpo_theirs) for kind in CPO),
        ("orpo", "orpo", orpo_ours, orpo_theirs),
    ]
    worst = 0.0
    for name, kind, ours_on, theirs_on in cases:
        for seed in range(SEEDS):
            batch = Batch(seed)
            ours, theirs = ours_on(kind, batch), theirs_on(kind, batch)
            worst = max(worst, abs(ours - theirs) / max(abs(theirs), 1e-6))
        print(f"{name:>22}  ours {ours:.7f}  TRL {theirs:.7f}")
    return worst
