"""Variational autoencoders (lesson 5). encode gives a Gaussian for each image, and forward decodes its mean."""

import torch
from torch import nn

from aecourse.losses import binary_cross_entropy, gaussian_kl


def reparameterize(mu, logvar):
    """Draw a code from N(mu, exp(logvar)) so that gradients reach mu and logvar.

    mu, logvar: (batch, latent). Returns (batch, latent).
    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014.
    """
    return mu + (0.5 * logvar).exp() * torch.randn_like(mu)


class VariationalAutoencoder(nn.Module):
    """What the variational autoencoders share; encode and decode_logits are the subclass's (lesson 5).

    encode gives a Gaussian for each image, (mu, logvar); decode_logits the logits of Bernoulli pixels.
    beta weighs the KL term in the loss; 1 makes the loss the negative ELBO (lesson 6).
    """

    unit = "nats per image"
    beta = 1.0

    def elbo(self, x):
        """Both terms of the negative ELBO of each image, at one code drawn from its Gaussian.

        Returns reconstruction and kl, each (batch,), in nats, for logits of any size. Evaluation mode samples, too.
        """
        mu, logvar = self.encode(x)
        logits = self.decode_logits(reparameterize(mu, logvar))
        return binary_cross_entropy(logits, x), gaussian_kl(mu, logvar)

    def loss(self, *batch):
        """reconstruction + beta · kl, in nats per image, averaged over the batch. Arguments are those of elbo."""
        reconstruction, kl = (term.mean() for term in self.elbo(*batch))
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def decode(self, z):
        """(batch, latent) → (batch, 1, 28, 28) in [0, 1]: the mean of every pixel."""
        return self.decode_logits(z).sigmoid()

    def reconstruct(self, x):
        """Decode the mean of each image's Gaussian; nothing is drawn. (batch, 1, 28, 28) → the same shape."""
        return self.decode(self.encode(x)[0])

    forward = reconstruct


class DenseVAE(VariationalAutoencoder):
    """Dense VAE: 784 → 400 → two times latent, and 400 → 784 back (lesson 5)."""

    def __init__(self, latent_dim=20, hidden=400):
        super().__init__()
        self.hidden = nn.Linear(784, hidden)
        self.mu = nn.Linear(hidden, latent_dim)
        self.logvar = nn.Linear(hidden, latent_dim)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def encode(self, x):
        """(batch, 1, 28, 28) in [0, 1] → mu and logvar, each (batch, latent)."""
        h = self.hidden(x.flatten(start_dim=1)).relu()
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z):
        """(batch, latent) → logits (batch, 1, 28, 28)."""
        return self.decoder(z).view(-1, 1, 28, 28)


class ConvolutionalVAE(VariationalAutoencoder):
    """Convolutional VAE: 32 and 64 maps, 7×7, latent, and transposed convolutions back (lesson 5)."""

    def __init__(self, latent_dim=20):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.mu = nn.Linear(64 * 7 * 7, latent_dim)
        self.logvar = nn.Linear(64 * 7 * 7, latent_dim)
        self.decode_logits = nn.Sequential(
            nn.Linear(latent_dim, 64 * 7 * 7), nn.Unflatten(1, (64, 7, 7)), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1),
        )  # fmt: skip

    def encode(self, x):
        """(batch, 1, 28, 28) in [0, 1] → mu and logvar, each (batch, latent)."""
        h = self.body(x)
        return self.mu(h), self.logvar(h)


class ConditionalVAE(DenseVAE):
    """A dense VAE that is told the label: encoder and decoder get it as ten more numbers, one of which is 1.

    Source: Kingma et al., "Semi-supervised learning with deep generative models", 2014 (model M2).
    """

    def __init__(self, latent_dim=20, hidden=400, classes=10):
        super().__init__(latent_dim, hidden)
        self.classes = classes
        self.hidden = nn.Linear(784 + classes, hidden)
        self.decoder = nn.Sequential(nn.Linear(latent_dim + classes, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def encode(self, x, y):
        """(batch, 1, 28, 28) and labels (batch,) → mu and logvar, each (batch, latent)."""
        h = torch.cat([x.flatten(start_dim=1), nn.functional.one_hot(y, self.classes)], dim=1)
        h = self.hidden(h).relu()
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z, y):
        """(batch, latent) and labels (batch,) → logits (batch, 1, 28, 28)."""
        h = torch.cat([z, nn.functional.one_hot(y, self.classes)], dim=1)
        return self.decoder(h).view(-1, 1, 28, 28)

    def elbo(self, x, y):
        """reconstruction and kl of each image, each (batch,), in nats, for logits of any size."""
        mu, logvar = self.encode(x, y)
        logits = self.decode_logits(reparameterize(mu, logvar), y)
        return binary_cross_entropy(logits, x), gaussian_kl(mu, logvar)

    def decode(self, z, y):
        """(batch, latent) and labels (batch,) → (batch, 1, 28, 28) in [0, 1]."""
        return self.decode_logits(z, y).sigmoid()
