"""Sprites: small white shapes whose every factor is known, drawn when they are asked for (lesson 6).

In the spirit of dSprites (Matthey et al., 2017), by a definition of our own: 3 shapes, 6 sizes,
40 orientations, 32 × 32 positions, which makes 737,280 images.
"""

import math
from dataclasses import dataclass

import torch

from aecourse.data.dataset import CLASSES, Dataset

FACTORS = {"shape": len(CLASSES["sprites"]), "size": 6, "orientation": 40, "x": 32, "y": 32}
PARTS = {"train": 54_000, "val": 6_000, "test": 10_000}
RADIUS = 7 / 32  # of the circle around the largest sprite, as a fraction of the image's side
# A heart is a square on its corner with half a disc on each upper edge. In units of half the square's
# diagonal, this is how far the centre of mass lies above the square's centre.
HEART_CENTRE = (math.pi / 4 + 1 / 3) / (2 + math.pi / 2)


@dataclass(frozen=True, repr=False)
class Sprites(Dataset):
    """A Dataset that knows of every image what it was made of.

    train_factors, val_factors, test_factors: int64 tensors (n, 5), indices of shape, size, orientation, x
        and y, as `draw_sprites` takes them. The labels are the shape.
    factor_names: the names of the five. factor_values: how many values each can take.
    """

    train_factors: torch.Tensor
    val_factors: torch.Tensor
    test_factors: torch.Tensor
    factor_names: tuple = tuple(FACTORS)
    factor_values: tuple = tuple(FACTORS.values())


def load_sprites(seed=0):
    """Draw 70,000 different sprites at random from the whole grid, in three parts: Sprites."""
    grid = math.prod(FACTORS.values())
    chosen = torch.randperm(grid, generator=torch.Generator().manual_seed(seed))[: sum(PARTS.values())]
    factors = torch.stack(torch.unravel_index(chosen, tuple(FACTORS.values())), dim=1)
    parts = dict(zip(PARTS, factors.split(list(PARTS.values()))))
    arrays = {name: draw_sprites(part) for name, part in parts.items()}
    arrays |= {f"{name}_labels": part[:, 0].clone() for name, part in parts.items()}
    arrays |= {f"{name}_factors": part for name, part in parts.items()}
    return Sprites("sprites", f"aecourse, which draws them (a grid of {grid:,})", CLASSES["sprites"], **arrays)


def draw_sprites(factors, size=32):
    """Draw the images of these factors, white on black, with smooth edges.

    factors: (n, 5) int64, one row per image:
        shape: 0 a square, 1 an ellipse twice as long as wide, 2 a heart;
        size: 0 to 5, from one half of the largest to the largest in equal steps;
        orientation: 0 to 39, counter-clockwise in steps of 9°. A square looks the same again after 10
            steps and an ellipse after 20, so for them different orientations can be the same image;
        x, y: 0 to 31, the position of the centre of mass from left to right and from top to bottom, in steps
            of 1/64 of the image, half a pixel at size 32.
    size: height and width in pixels. No sprite touches the border.
    Returns uint8 (n, 1, size, size), pixels 0 to 255.
    Raises ValueError for factors of another form or out of range.
    """
    _require_factors(factors)
    images = torch.empty(len(factors), 1, size, size, dtype=torch.uint8)
    for shape, distance in enumerate((_square, _ellipse, _heart)):
        for chosen in (factors[:, 0] == shape).nonzero()[:, 0].split(500):
            right, up, scale = _own_axes(factors[chosen], size)
            # Half a pixel inside the edge a pixel is white, half a pixel outside it is black.
            cover = (0.5 - distance(right, up, scale) * size).clamp_(0, 1)
            images[chosen, 0] = cover.mul_(255).round_().byte()
    return images


def _require_factors(factors):
    values = tuple(FACTORS.values())
    if not torch.is_tensor(factors) or factors.dtype != torch.int64 or factors.shape[1:] != (len(values),):
        given = f"{factors.dtype} {tuple(factors.shape)}" if torch.is_tensor(factors) else type(factors).__name__
        raise ValueError(f"factors should be an int64 tensor (n, {len(values)}), one row per image; got {given}.")
    for (name, count), column in zip(FACTORS.items(), factors.T):
        if len(column) and (column.min() < 0 or column.max() >= count):
            raise ValueError(f"{name} runs from 0 to {count - 1}; got {column.min()} to {column.max()}.")


def _own_axes(factors, size):
    """Where every pixel lies in the sprite's own axes, right and up from its centre, and the sprite's radius.

    Lengths are fractions of the image's side. Returns (n, size, size) twice and (n, 1, 1).
    """
    _, scale, orientation, x, y = factors.float()[:, :, None, None].unbind(dim=1)
    pixels = (torch.arange(size) + 0.5) / size
    across = pixels - (0.5 + (x - 15.5) / 64)  # (n, 1, size)
    above = (0.5 + (y - 15.5) / 64) - pixels[:, None]  # (n, size, 1): rows count downwards
    angle = orientation * (2 * math.pi / FACTORS["orientation"])
    cos, sin = angle.cos(), angle.sin()
    return cos * across + sin * above, cos * above - sin * across, RADIUS * (0.5 + 0.1 * scale)


# How far each point lies from the edge, negative within. The circle of that radius goes around the shape.


def _square(right, up, radius):
    return torch.maximum(right.abs(), up.abs()) - radius * math.sqrt(0.5)


def _ellipse(right, up, radius):
    """Exact to first order near the edge, which is where it counts."""
    a, b = radius, radius / 2
    level = torch.hypot(right / a, up / b)
    slope = torch.hypot(right / a**2, up / b**2).clamp_(min=1e-6)
    return level * (level - 1) / slope


def _heart(right, up, radius):
    half = radius / (1 + HEART_CENTRE)  # of the square's diagonal; the tip is the farthest point
    right, up = right.abs(), up + half * HEART_CENTRE
    square = (right + up.abs() - half) * math.sqrt(0.5)
    disc = torch.hypot(right - half / 2, up - half / 2) - half * math.sqrt(0.5)
    return torch.minimum(square, disc)
