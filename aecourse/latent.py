"""Paths through a latent space: between latent codes, along one dimension, along a factor (lessons 5 and 6)."""

import torch

from aecourse.data import draw_sprites
from aecourse.training import in_batches


def interpolate(z_start, z_end, steps=10):
    """Evenly spaced points on the straight lines between latent codes.

    z_start, z_end: (batch, latent_dim). Returns (steps, batch, latent_dim), from z_start to z_end, both included.
    """
    t = torch.linspace(0, 1, steps, device=z_start.device).view(-1, 1, 1)
    return z_start + t * (z_end - z_start)


def traverse(z, dim, values):
    """A latent code with one dimension set to each of the values in turn.

    z: (latent_dim,). dim: which dimension. values: (steps,). Returns (steps, latent_dim); z itself stays as it is.
    """
    path = z.repeat(len(values), 1)
    path[:, dim] = values
    return path


def attribute_vector(model, factors, factor, low, high):
    """How the posterior mean moves when one factor goes from low to high and all others stay.

    factors: (n, 5) int64 of sprites; column `factor` is replaced, first by low, then by high.
    Returns (latent_dim,), without gradients: the posterior means of the sprites with high minus those with low,
    averaged.
    """
    means = []
    for value in (low, high):
        changed = factors.clone()
        changed[:, factor] = value
        mu, _ = in_batches(model.encode, draw_sprites(changed))
        means.append(mu)
    return (means[1] - means[0]).mean(dim=0)
