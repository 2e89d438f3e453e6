"""Corruptions of images, for denoising (lesson 2)."""

import torch

from aecourse.data import to_float


def add_noise(x, sigma):
    """Add Gaussian noise to every pixel, and clip to [0, 1].

    x: (batch, channels, height, width) in [0, 1].
    sigma: the noise's standard deviation, a number, or one for each image as (batch, 1, 1, 1).
    Returns the shape of x, on its device. The noise is sampled with torch, anew in every call.
    """
    x = to_float(x)
    return (x + sigma * torch.randn_like(x)).clamp(0, 1)


def knock_out(x, size=12):
    """Set a square of size×size pixels to 0, at a random position of its own in each image.

    x: (batch, channels, height, width) in [0, 1]. The square lies within the image, every position equally likely.
    Returns the shape of x, on its device. Positions are sampled with torch, anew in every call.
    """
    x = to_float(x)
    height, width = x.shape[-2:]
    top = torch.randint(height - size + 1, (len(x), 1, 1, 1), device=x.device)
    left = torch.randint(width - size + 1, (len(x), 1, 1, 1), device=x.device)
    row = torch.arange(height, device=x.device).view(-1, 1)
    column = torch.arange(width, device=x.device)
    inside = (row >= top) & (row < top + size) & (column >= left) & (column < left + size)
    return x.masked_fill(inside, 0)
