"""Weights and Hessians to quantise, and the plainest ways to do so."""

import device
import torch


def correlated(outputs: int, inputs: int, *, seed: int = 0, outliers: int = 0):
    """Return a weight [O, I] and inputs [N, I] whose spectrum falls and whose sizes differ."""
    draw = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(inputs, inputs, generator=draw))
    spectrum = torch.arange(1, inputs + 1) ** -0.5
    rows = (torch.randn(8 * inputs, inputs, generator=draw) * spectrum) @ rotation
    rows = rows * torch.exp(0.5 * torch.randn(inputs, generator=draw))
    rows[:, :outliers] *= 30
    weight = torch.randn(outputs, inputs, generator=draw) * 0.05
    return device.put(weight), device.put(rows)


def hessian_of(rows):
    return rows.t() @ rows / len(rows)


def error_of(weight, quantised, hessian):
    """Return tr(E H E^T) in float64, on the CPU."""
    error = weight.cpu().double() - quantised.dequantise(torch.float32).cpu().double()
    return float(((error @ hessian.cpu().double()) * error).sum())
