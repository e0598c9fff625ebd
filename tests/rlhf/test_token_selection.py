"""Tokens that a loss treats apart: numbers derived by hand."""

import math

import pytest
import torch

from swiftrl.rlhf import token_selection


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_covariances_by_hand():
    """log pi -1, -3 (mean -2), A 2, -2 (mean 0): 1 * 2, -1 * -2. Their mean is the covariance."""
    logps = t(-1.0, -3.0).requires_grad_()
    covariances = token_selection.token_covariances(logps, t(2, -2))
    assert covariances.tolist() == [2, 2]
    assert not covariances.requires_grad


def test_covariances_average_to_the_covariance():
    generator = torch.Generator().manual_seed(0)
    logps, advantages = torch.randn(2, 50, generator=generator)
    mean = token_selection.token_covariances(logps, advantages).mean()
    expected = torch.cov(torch.stack([logps, advantages]), correction=0)[0, 1]
    assert mean.item() == pytest.approx(expected.item(), abs=1e-6)


def test_clip_cov_chooses_in_the_band_only():
    """Band (1, 5) holds the tokens 1, 2, 4; two are asked for, token 4 may not be chosen."""
    covariances, candidates = t(0.5, 2, 3, 6, 4), torch.tensor([True, True, True, True, False])
    mask = token_selection.clip_cov_mask(
        covariances, t(0, 1, 2, 3, 4), fraction=0.4, low=1, high=5, candidates_N=candidates
    )
    assert mask.tolist() == [False, True, True, False, False]


def test_clip_cov_takes_the_smallest_chances_up_to_its_share():
    """A share of 0.4 of five tokens are two; of those in the band 0.1 and 0.3 are the smallest."""
    covariances, chance = t(2, 2, 2, 2, 9), t(0.3, 0.9, 0.1, 0.5, 0.0)

    def choose(fraction, low):
        return token_selection.clip_cov_mask(
            covariances, chance, fraction=fraction, low=low, high=5
        )

    assert choose(0.4, 1).tolist() == [True, False, True, False, False]
    assert choose(0.01, 1).tolist() == [False, False, True, False, False]
    assert choose(0.4, 3).sum() == 0


def test_kl_cov_selects_the_largest():
    covariances = t(0.5, 7, -3, 6, 4)
    select = token_selection.kl_cov_mask
    assert select(covariances, fraction=0.4).tolist() == [False, True, False, True, False]
    assert select(covariances, fraction=1e-4).tolist() == [False, True, False, False, False]
    assert select(t(), fraction=0.4).tolist() == []


def test_kl_cov_loss_by_hand():
    """Ratios 2, 0.5: -2 * 1 + 0.5 ln 2 where selected, 0.5 * 3 elsewhere. At ratio 1, -A."""
    loss = token_selection.kl_cov_surrogate(
        t(2, 0.5, 1).log(), t(1, -3, 2), torch.tensor([True, False, True]), coefficient=0.5
    )
    assert loss.tolist() == pytest.approx([-2 + 0.5 * math.log(2), 1.5, -2])


def test_top_entropy_by_hand():
    """The top two of five; of eleven the top fifth is those at or above the quantile 0.8: three."""
    keep = token_selection.top_entropy_mask
    assert keep(t(0.1, 0.5, 0.2, 0.9, 0.3), fraction=0.25).tolist() == [0, 1, 0, 1, 0]
    assert keep(torch.arange(11.0), fraction=0.2).tolist() == [False] * 8 + [True] * 3
    assert keep(torch.arange(11.0), fraction=0.7).tolist() == [False] * 3 + [True] * 8
    assert keep(t(1, 1, 1), fraction=0.1).tolist() == [True] * 3
    assert keep(t(1, 2, 3), fraction=1.0).tolist() == [True] * 3
    assert keep(t(), fraction=0.2).tolist() == []


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.77])
def test_top_entropy_is_the_interpolated_quantile(fraction):
    entropy = torch.rand(137, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = entropy >= torch.quantile(entropy, 1 - fraction)
    assert torch.equal(token_selection.top_entropy_mask(entropy, fraction=fraction), expected)
