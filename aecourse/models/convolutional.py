"""Convolutional networks (lesson 3), their arithmetic, and the classifier whose features compare images."""

from torch import nn
from torch.nn import functional as F

from aecourse.models.base import Autoencoder, require_batch


def conv_output_size(size, kernel, stride=1, padding=0):
    """Height (or width) of a convolution's output.

    size: of the input, in pixels. kernel, stride, padding: as nn.Conv2d has them. Returns an int.
    """
    return (size + 2 * padding - kernel) // stride + 1


def transposed_output_size(size, kernel, stride=1, padding=0, output_padding=0):
    """Height (or width) of a transposed convolution's output.

    size: of the input, in pixels. The others: as nn.ConvTranspose2d has them. Returns an int.
    """
    return (size - 1) * stride + kernel - 2 * padding + output_padding


def receptive_field(layers):
    """How many input pixels, along one side, one output pixel depends on.

    layers: a list of (kernel, stride), from the input on. Returns an int.
    """
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


def convolutional_encoder(latent_dim=32):
    """Three convolutions of stride 2: 28×28 → 14×14 → 7×7 → 4×4 with 32, 64 and 128 channels (lesson 3).

    Batch norm and ReLU follow each; a linear layer turns the last feature maps into the latent code.
    Returns a module: (batch, 1, 28, 28) → (batch, latent_dim).
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 128, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 4 * 4, latent_dim),
    )  # fmt: skip


class ConvolutionalAutoencoder(Autoencoder):
    """Convolutions down to 4×4, a linear layer to the latent code, transposed convolutions back up (lesson 3)."""

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = convolutional_encoder(latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 128 * 4 * 4), nn.Unflatten(1, (128, 4, 4)), nn.BatchNorm2d(128), nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
        )  # fmt: skip


class DigitClassifier(nn.Module):
    """A small convolutional classifier, whose features compare sets of images (lesson 5).

    Train it with fit(model, (images, labels)).
    """

    unit = "nats per image"
    image_shape = 1, 28, 28

    def __init__(self, num_classes=10, num_features=64):
        super().__init__()
        self.features = nn.Sequential(convolutional_encoder(num_features), nn.ReLU())
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, x):
        """(batch, 1, 28, 28) in [0, 1] → logits (batch, num_classes)."""
        require_batch(self, x)
        return self.head(self.features(x))

    def loss(self, x, y):
        """Cross-entropy of the labels y, (batch,) of int64, in nats per image, averaged over the batch."""
        return {"loss": F.cross_entropy(self(x), y)}
