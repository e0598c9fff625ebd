"""Losses of KTO, ORPO, SimPO, CPO, WPO, reward models and GKD on random values, TRL's and ours.

`parity_trl.py` runs it. TRL 1.16 has no unpaired BCO and no process reward models; those are held
by hand, and against torch's cross entropy, in the tests.
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


RM = {"plain": {}, "margin": {"margin": 1.0}, "centred": {"margin": 1.0, "centre": 0.3}}
GKD = {"beta 0": 0.0, "beta 0.3": 0.3, "beta 0.5": 0.5, "beta 1": 1.0}
WPO = ("sigmoid", "ipo", "hinge")


class Batch:
    """Random log-probabilities [rows, tokens] of replies of different lengths."""

    def __init__(self, seed: int) -> None:
        self.generator = generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, LENGTH, (ROWS, 1), generator=generator)
        self.mask = (torch.arange(LENGTH)[None] < lengths).float()
        self.logps = -torch.rand(ROWS, LENGTH, generator=generator) * 3 * self.mask
        self.ref = (self.logps + torch.randn(ROWS, LENGTH, generator=generator) / 2) * self.mask
        # The policy has moved: the estimate is above 0, where it is not clamped.
        self.other = -torch.rand(ROWS, LENGTH, generator=generator) * self.mask
        self.other_ref = (self.other - torch.rand(ROWS, LENGTH, generator=generator)) * self.mask
        self.label = torch.arange(ROWS) % 3 > 0
        self.collision = -torch.rand(ROWS, LENGTH, generator=generator) * 3 * self.mask
        self.scores = torch.randn(ROWS, 1, generator=generator)
        self.margins = torch.rand(ROWS // 2, generator=generator)
        student, teacher = torch.randn(2, LENGTH, 40, generator=generator) * 2
        self.student, self.teacher = student, teacher

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


def rm_theirs(kind: str, batch: Batch) -> float:
    from trl import RewardTrainer

    class Model:
        training = False

        def __call__(self, **kwargs: Any) -> Any:
            return SimpleNamespace(logits=torch.cat([batch.scores[::2], batch.scores[1::2]]))

    accelerator = SimpleNamespace(gather_for_metrics=lambda x: x, gather=lambda x: x)
    trainer = SimpleNamespace(
        model=Model(), accelerator=accelerator, _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0, args=SimpleNamespace(
            center_rewards_coefficient=RM[kind].get("centre")
        ),
    )  # fmt: skip
    inputs = {"margin": batch.margins} if "margin" in RM[kind] else {}
    return float(RewardTrainer.compute_loss(trainer, trainer.model, inputs))


def rm_ours(kind: str, batch: Batch) -> float:
    from swiftrl.rlhf.algorithm import LossInputs
    from swiftrl.rlhf.algorithms.rm import Rm, RmConfig

    none = torch.zeros(0)
    columns = {"margin": batch.margins} if "margin" in RM[kind] else {}
    inputs = LossInputs(none, None, none.long(), none, ROWS, columns, scores=batch.scores)
    output = Rm(RmConfig(center_rewards_coefficient=RM[kind].get("centre"))).loss(inputs)
    return float(output.sum) / float(output.count)


def gkd_theirs(kind: str, batch: Batch) -> float:
    from trl.experimental.gkd import GKDTrainer

    student, teacher = batch.student[None], batch.teacher[None]
    return float(GKDTrainer.generalized_jsd_loss(student, teacher, None, GKD[kind], 0.9)) / LENGTH


def gkd_ours(kind: str, batch: Batch) -> float:
    """Through the heads that training uses: the identity, so that states are logits."""
    from swiftrl.rlhf.divergence import Distance, linear_distances
    from swiftrl.rlhf.logprobs import LinearHead, LogitTerms

    head = LinearHead(torch.eye(40), None, LogitTerms(temperature=0.9), torch.float32, 5)
    nothing = torch.zeros(LENGTH)
    values, _ = linear_distances(
        batch.student, nothing.long(), nothing, head, batch.teacher, head, Distance(GKD[kind])
    )
    return float(values.mean())


def wpo_theirs(kind: str, batch: Batch) -> float:
    from parity_trl import theirs_on

    by_side = [torch.cat([x[::2], x[1::2]]) for x in (batch.logps, batch.ref, batch.mask)]
    collision = torch.cat([batch.collision[::2], batch.collision[1::2]])
    return theirs_on(kind, by_side[0], by_side[1], by_side[2].long(), BETA, collision=collision)


def wpo_ours(kind: str, batch: Batch) -> float:
    from swiftrl.rlhf.algorithms.dpo import Dpo, DpoConfig

    values = {"collision": batch.collision[batch.mask.bool()]}
    config = DpoConfig(beta=BETA, loss_type=[kind], use_weighting=True)
    output = Dpo(config).loss(batch.inputs(batch.logps, batch.ref, token_values=values))
    return float(output.sum) / float(output.count)


def compare_offline() -> float:
    """Print both sides' losses, and return the largest relative difference."""
    cases = [
        *((f"kto {kind}", kind, kto_ours, kto_theirs) for kind in KTO),
        *((f"cpo {kind}", kind, cpo_ours, cpo_theirs) for kind in CPO),
        ("orpo", "orpo", orpo_ours, orpo_theirs),
        *((f"rm {kind}", kind, rm_ours, rm_theirs) for kind in RM),
        *((f"gkd {kind}", kind, gkd_ours, gkd_theirs) for kind in GKD),
        *((f"wpo {kind}", kind, wpo_ours, wpo_theirs) for kind in WPO),
    ]
    worst = 0.0
    for name, kind, ours_on, theirs_on in cases:
        for seed in range(SEEDS):
            batch = Batch(seed)
            ours, theirs = ours_on(kind, batch), theirs_on(kind, batch)
            worst = max(worst, abs(ours - theirs) / max(abs(theirs), 1e-6))
        print(f"{name:>22}  ours {ours:.7f}  TRL {theirs:.7f}")
    return worst
