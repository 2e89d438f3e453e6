"""What all autoencoders share: encode, decode, reconstruct and loss.

`loss(x)` returns a dictionary of scalars, each the batch mean of a sum over one image, so that it does not change when
a batch is repeated. Its entry "loss" is what training minimises; `unit` says what it is measured in.
"""

import torch
from torch import nn

from aecourse.data import require_images
from aecourse.losses import reconstruction_loss


def count_parameters(model):
    """The number of trainable parameters: every weight and bias that requires a gradient."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def require_batch(model, x):
    """Refuse whatever is not a batch of float images of model.image_shape, by the name of the model."""
    name = f"{type(model).__name__} takes images (batch, {', '.join(map(str, model.image_shape))})"
    require_images(x, f"{name}, which")
    dtype = next(model.parameters(), torch.empty(0)).dtype
    if x.dtype != dtype or tuple(x.shape[1:]) != model.image_shape:
        raise ValueError(f"{name} as {dtype}; got {x.dtype} {tuple(x.shape)}. data.to_float makes float32 of others.")


class Autoencoder(nn.Module):
    """The base class of all autoencoders. A subclass makes `encoder` and `decoder`, usually as nn.Sequential.

    image_shape: (channels, height, width) of the images that the model takes; others are refused.
    """

    unit = "squared error per image"
    image_shape = 1, 28, 28
    require_batch = require_batch  # as a method

    def encode(self, x):
        """Images (batch, 1, 28, 28) in [0, 1] → latent codes (batch, latent_dim)."""
        self.require_batch(x)
        return self.encoder(x)

    def decode(self, z):
        """Latent codes (batch, latent_dim) → images (batch, 1, 28, 28)."""
        return self.decoder(z)

    def reconstruct(self, x):
        """Encode and decode: (batch, 1, 28, 28) → the same shape."""
        return self.decode(self.encode(x))

    def forward(self, *batch):
        """The same as reconstruct."""
        return self.reconstruct(*batch)

    def loss(self, x):
        """Squared error per image, averaged over the batch."""
        reconstruction = reconstruction_loss(self, x)
        return {"loss": reconstruction, "reconstruction": reconstruction}
