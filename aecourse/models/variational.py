"""Variational autoencoders (lesson 5): encode gives the mean and log-variance of a Gaussian posterior."""

import torch
from torch import nn

from aecourse.losses import bernoulli_nll, gaussian_kl
from aecourse.models.base import Autoencoder


def reparameterize(mu, logvar):
    """Sample a latent code from N(mu, exp(logvar)) so that gradients reach mu and logvar.

    mu, logvar: (batch, latent_dim). Returns (batch, latent_dim).
    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014.
    """
    return mu + (0.5 * logvar).exp() * torch.randn_like(mu)


class VariationalAutoencoder(Autoencoder):
    """The base class of the variational autoencoders (lesson 5).

    A subclass makes `encoder`, whose output h the layers `mu` and `logvar` take, and `decoder`, which gives logits
    of Bernoulli pixels. beta weights the KL term in the loss; 1 makes the loss the negative ELBO (lesson 6). labels
    are for conditional models.
    """

    unit = "nats per image"

    def __init__(self, beta=1.0):
        super().__init__()
        self.beta = beta

    def encode(self, x):
        """Images (batch, 1, 28, 28) in [0, 1] → mu and logvar, each (batch, latent_dim)."""
        h = super().encode(x)
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z):
        """Latent codes (batch, latent_dim) → logits (batch, 1, 28, 28)."""
        return self.decoder(z)

    def elbo(self, x):
        """Both terms of the negative ELBO of each image, at one latent code sampled from its posterior.

        Returns reconstruction and kl, each (batch,), in nats, for logits of any size. Evaluation mode samples, too.
        """
        mu, logvar = self.encode(x)
        logits = self.decode_logits(reparameterize(mu, logvar))
        return bernoulli_nll(logits, x), gaussian_kl(mu, logvar)

    def loss(self, *batch):
        """reconstruction + beta · kl, in nats per image, averaged over the batch. Arguments are those of elbo."""
        reconstruction, kl = (term.mean() for term in self.elbo(*batch))
        return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def decode(self, z, *labels):
        """Latent codes (batch, latent_dim) → images (batch, 1, 28, 28) in [0, 1]: the mean of every pixel."""
        return self.decode_logits(z, *labels).sigmoid()

    def reconstruct(self, x, *labels):
        """Decode the posterior mean of each image; nothing is sampled. (batch, 1, 28, 28) → the same shape."""
        return self.decode(self.encode(x, *labels)[0], *labels)


class DenseVAE(VariationalAutoencoder):
    """Dense VAE: 784 → 400 → mu and logvar, and latent_dim → 400 → 784 back (lesson 5)."""

    def __init__(self, latent_dim=20, hidden_dim=400, beta=1.0):
        super().__init__(beta)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden_dim), nn.ReLU())
        self.mu = nn.Linear(hidden_dim, latent_dim)
        self.logvar = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.ReLU(),
            nn.Linear(hidden_dim, 784), nn.Unflatten(1, (1, 28, 28)),
        )  # fmt: skip


class ConvolutionalVAE(VariationalAutoencoder):
    """Convolutional VAE: 32 and 64 maps down to 7×7, mu and logvar, and transposed convolutions back (lesson 5)."""

    def __init__(self, latent_dim=20, beta=1.0):
        super().__init__(beta)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(),
        )  # fmt: skip
        self.mu = nn.Linear(64 * 7 * 7, latent_dim)
        self.logvar = nn.Linear(64 * 7 * 7, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 64 * 7 * 7), nn.Unflatten(1, (64, 7, 7)), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1),
        )  # fmt: skip


class ConditionalVAE(DenseVAE):
    """A dense VAE given the label: encoder and decoder take it one-hot, as further inputs (lesson 5, part 2).

    Source: Kingma et al., "Semi-supervised learning with deep generative models", 2014 (model M2).
    """

    def __init__(self, latent_dim=20, hidden_dim=400, num_classes=10, beta=1.0):
        super().__init__(latent_dim, hidden_dim, beta)
        self.num_classes = num_classes
        self.encoder = nn.Sequential(nn.Linear(784 + num_classes, hidden_dim), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim + num_classes, hidden_dim), nn.ReLU(),
            nn.Linear(hidden_dim, 784), nn.Unflatten(1, (1, 28, 28)),
        )  # fmt: skip

    def encode(self, x, y):
        """Images (batch, 1, 28, 28) and labels (batch,) → mu and logvar, each (batch, latent_dim)."""
        self.require_batch(x)
        h = self.encoder(torch.cat([x.flatten(start_dim=1), nn.functional.one_hot(y, self.num_classes)], dim=1))
        return self.mu(h), self.logvar(h)

    def decode_logits(self, z, y):
        """Latent codes (batch, latent_dim) and labels (batch,) → logits (batch, 1, 28, 28)."""
        return self.decoder(torch.cat([z, nn.functional.one_hot(y, self.num_classes)], dim=1))

    def elbo(self, x, y):
        """reconstruction and kl of each image, each (batch,), in nats, for logits of any size."""
        mu, logvar = self.encode(x, y)
        logits = self.decode_logits(reparameterize(mu, logvar), y)
        return bernoulli_nll(logits, x), gaussian_kl(mu, logvar)
