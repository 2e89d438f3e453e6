"""Small variational models whose posteriors are known, for the checks of lessons 5 and 6."""

import torch
from torch import nn

from aecourse.models import VariationalAutoencoder

WIDTHS = 3.0, 0.5, 0.01  # σ of the three latent dimensions; a logvar that is clamped at ±5 shows
SHARP = (1e-6,) * 3  # samples equal mu to six digits


class GaussianStub(nn.Module):
    """A posterior of three dimensions: brighter images have a larger mu. Records the latent codes it decodes."""

    def __init__(self, widths=WIDTHS):
        super().__init__()
        self.mu = nn.Parameter(torch.tensor([2.0, -1.0, 0.0]))
        self.logvar = nn.Parameter(2 * torch.tensor(widths).log())
        self.weight = nn.Parameter(torch.linspace(-0.2, 0.3, 3 * 784).view(3, 784))
        self.decoded = []

    def encode(self, x):
        """(batch, 1, 28, 28) → mu and logvar, each (batch, 3)."""
        brightness = x.flatten(start_dim=1).mean(dim=1, keepdim=True)
        return self.mu + 16 * brightness, self.logvar.expand(len(x), 3)

    def decode_logits(self, z):
        """(batch, 3) → logits (batch, 1, 28, 28)."""
        self.decoded.append(z.detach().flatten(end_dim=-2))
        return (z @ self.weight).view(-1, 1, 28, 28)


def stub(base=VariationalAutoencoder, widths=WIDTHS, **methods):
    """A GaussianStub that has the methods of a base class, which may be the learner's, and these."""
    return type("Stub", (GaussianStub, base), methods)(widths)


def graded_images():
    """Four images, from dark to bright, all different."""
    return torch.rand(4, 1, 28, 28) * torch.tensor([0.2, 0.5, 0.8, 1.0]).view(4, 1, 1, 1)
