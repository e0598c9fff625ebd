"""What a file of pairs has to teach at all: two judges without a language model, cross-validated.

One judge takes the longer reply or the shorter one, whichever the training rows prefer. The other
is a logistic regression on log(1 + count) of each word (or Chinese character) in the chosen reply,
less the same of the rejected one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

WORD = re.compile(r"[a-z]+|\S")
LEAST = 5  # replies that a word must occur in
DECAY = 300.0  # of the regression's squared weights, features at unit scale


def reply(row: dict[str, Any], which: str) -> str:
    """Return the text of a reply: a string, a message, or a list of messages."""
    found = row[which]
    if isinstance(found, list):
        found = found[-1]
    if isinstance(found, dict):
        found = found.get("value", found.get("content"))
    return str(found).lower()


def differences(rows: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Return [rows, 1] differences of length in characters and [rows, words] of log counts."""
    texts = [(reply(row, "chosen"), reply(row, "rejected")) for row in rows]
    counts = [[Counter(WORD.findall(text)) for text in pair] for pair in texts]
    seen = Counter(word for pair in counts for count in pair for word in count)
    words = [word for word, times in seen.items() if times >= LEAST]
    vectors = [
        [math.log1p(chosen[word]) - math.log1p(rejected[word]) for word in words]
        for chosen, rejected in counts
    ]
    lengths = [[float(len(chosen) - len(rejected))] for chosen, rejected in texts]
    return torch.tensor(lengths), torch.tensor(vectors)


def fitted(x_ND: Tensor, decay: float) -> Tensor:
    """Return [D] weights that minimise the logistic loss of x @ w > 0, plus decay / 2 |w|^2."""
    w_D = torch.zeros(x_ND.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([w_D], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = softplus(-(x_ND @ w_D)).sum() + decay / 2 * w_D.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return w_D.detach()


def accuracy(x_ND: Tensor, fold_of: Sequence[int]) -> float:
    """Return the share of held-out rows that fits on the other folds get right; a tie is half."""
    fold_N = torch.tensor(fold_of)
    right = 0.0
    for fold in sorted(set(fold_of) - {-1}):
        train_ND, test_ND = x_ND[fold_N != fold], x_ND[fold_N == fold]
        scale_D = train_ND.square().mean(0).sqrt() + 1e-6
        score_N = (test_ND / scale_D) @ fitted(train_ND / scale_D, DECAY)
        right += float((score_N > 0).sum() + 0.5 * (score_N == 0).sum())
    return right / int((fold_N >= 0).sum())


def signal(rows: Sequence[dict[str, Any]], fold_of: Sequence[int]) -> str:
    """Return one line with both judges' accuracy on the held-out rows."""
    length, words = (accuracy(x_ND, fold_of) for x_ND in differences(rows))
    return f"without a language model: length alone {length:.3f}, bag of words {words:.3f}"
