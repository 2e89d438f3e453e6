"""Dense autoencoders (lesson 1), and the linear baselines that they have to beat."""

import torch
from torch import nn

from aecourse.data import to_float
from aecourse.losses import squared_error
from aecourse.models.base import Autoencoder, require_batch


class DenseAutoencoder(Autoencoder):
    """Dense autoencoder: 784 → 256 → 128 → latent_dim and back (lesson 1)."""

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 256), nn.ReLU(),
            nn.Linear(256, 128), nn.ReLU(),
            nn.Linear(128, latent_dim),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 128), nn.ReLU(),
            nn.Linear(128, 256), nn.ReLU(),
            nn.Linear(256, 784), nn.Sigmoid(),
            nn.Unflatten(1, (1, 28, 28)),
        )  # fmt: skip


class LinearAutoencoder(Autoencoder):
    """One linear layer down and one up, without activations: it can do no better than PCA (lesson 1).

    Its reconstructions may leave [0, 1].
    Source: Baldi and Hornik, "Neural networks and principal component analysis", 1989.
    """

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 784), nn.Unflatten(1, (1, 28, 28)))

    @classmethod
    def from_pca(cls, images, latent_dim=32):
        """The best linear autoencoder, without training: its weights are the principal components.

        images: (n, 1, 28, 28), uint8 or in [0, 1].
        """
        from sklearn.decomposition import PCA

        model, x = cls(latent_dim), to_float(images)
        require_batch(model, x)
        pca = PCA(latent_dim, svd_solver="covariance_eigh").fit(x.flatten(start_dim=1).numpy())
        components, mean = torch.from_numpy(pca.components_), torch.from_numpy(pca.mean_)
        down, up = model.encoder[1], model.decoder[0]
        with torch.no_grad():
            down.weight.copy_(components)
            down.bias.copy_(-components @ mean)
            up.weight.copy_(components.T)
            up.bias.copy_(mean)
        return model


class SparseAutoencoder(Autoencoder):
    """One wide layer with a penalty on its activations: 784 → 256 → 784 and L1 (lesson 1).

    The latent code passes a ReLU, so that it can be exactly zero.
    Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011 (there with another penalty).
    """

    unit = "squared error + penalty per image"

    def __init__(self, latent_dim=256, penalty=0.1):
        super().__init__()
        self.penalty = penalty
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))

    def encode(self, x):
        """Images (batch, 1, 28, 28) in [0, 1] → latent codes (batch, latent_dim), nowhere negative."""
        return super().encode(x).relu()

    def loss(self, x):
        """Squared error + penalty · Σ|z|, both per image, averaged over the batch."""
        z = self.encode(x)
        reconstruction = squared_error(self.decode(z), x).mean()
        l1 = z.abs().sum(dim=1).mean()
        return {"loss": reconstruction + self.penalty * l1, "reconstruction": reconstruction, "l1": l1}


def linear_denoiser(x_noisy, x_clean):
    """The best linear map with intercept from noisy to clean images, by least squares.

    x_noisy, x_clean: (n, 1, height, width). Returns weight (pixels, pixels) and bias (pixels,):
    x_noisy.flatten(1) @ weight + bias is the estimate of x_clean.flatten(1).
    """
    inputs, targets = x_noisy.flatten(1), x_clean.flatten(1)
    mean_in, mean_out = inputs.mean(dim=0), targets.mean(dim=0)
    centred = inputs - mean_in
    weight = torch.linalg.solve(centred.T @ centred, centred.T @ (targets - mean_out))
    return weight, mean_out - mean_in @ weight
