"""Ways through a latent space: between codes, along one of their numbers, along a factor (lessons 5 and 6)."""

import torch

from aecourse.sprites import draw_sprites
from aecourse.training import in_batches


def interpolate(z_start, z_end, steps=10):
    """Evenly spaced points on the straight lines between codes.

    z_start, z_end: (batch, latent). Returns (steps, batch, latent), from z_start to z_end, both included.
    """
    t = torch.linspace(0, 1, steps, device=z_start.device).view(-1, 1, 1)
    return z_start + t * (z_end - z_start)


def traverse(z, number, values):
    """A code with one of its numbers set to each of the values in turn.

    z: (latent,). number: which one. values: (steps,). Returns (steps, latent); z itself stays as it is.
    """
    codes = z.repeat(len(values), 1)
    codes[:, number] = values
    return codes


def attribute_vector(model, factors, factor, low, high):
    """How the mean code moves when one factor goes from low to high and all others stay.

    factors: (n, 5) int64 of sprites; column `factor` is replaced, first by low, then by high.
    Returns (latent,), without gradients: the posterior means of the sprites with high minus those with low, averaged.
    """
    codes = []
    for value in (low, high):
        changed = factors.clone()
        changed[:, factor] = value
        mu, _ = in_batches(model.encode, draw_sprites(changed))
        codes.append(mu)
    return (codes[1] - codes[0]).mean(dim=0)
