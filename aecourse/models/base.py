"""What the autoencoders share: encode, decode, forward = decode ∘ encode, and loss.

`loss(x)` returns a dictionary of scalars, each the batch mean of a sum over one image, so that it
does not change when a batch is repeated. Its entry "loss" is what training minimises; `unit` says
what it is measured in.
"""

from torch import nn

from aecourse.losses import reconstruction_loss


def count_parameters(model):
    """How many numbers training can change: every weight and bias that requires a gradient."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


class Autoencoder(nn.Module):
    """What autoencoders share; encode and decode are the subclass's."""

    unit = "squared error per image"

    def forward(self, x):
        """Reconstruct: (batch, 1, 28, 28) → the same shape."""
        return self.decode(self.encode(x))

    def loss(self, x):
        """Squared error per image, averaged over the batch."""
        reconstruction = reconstruction_loss(self, x)
        return {"loss": reconstruction, "reconstruction": reconstruction}
