"""The networks. The autoencoders share one skeleton: encode, decode, forward = decode ∘ encode, and loss.
A variational encode gives a Gaussian, and forward decodes its mean.

`loss(x)` returns a dictionary of scalars, each the batch mean of a sum over one image, so that it
does not change when a batch is repeated. Its entry "loss" is what training minimises; `unit` says
what it is measured in.
"""

import torch
from torch import nn
from torch.nn import functional as F

from aecourse.data import to_float
from aecourse.losses import binary_cross_entropy, gaussian_kl, quantization_losses, squared_error


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
        reconstruction = squared_error(self(x), x).mean()
        return {"loss": reconstruction, "reconstruction": reconstruction}


class DenseAutoencoder(Autoencoder):
    """Dense autoencoder: 784 → 256 → 128 → latent and back (lesson 1)."""

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder1 = nn.Linear(784, 256)
        self.encoder2 = nn.Linear(256, 128)
        self.encoder3 = nn.Linear(128, latent_dim)
        self.decoder1 = nn.Linear(latent_dim, 128)
        self.decoder2 = nn.Linear(128, 256)
        self.decoder3 = nn.Linear(256, 784)

    def encode(self, x):
        """(batch, 1, 28, 28) in [0, 1] → (batch, latent)."""
        h = self.encoder1(x.flatten(start_dim=1)).relu()
        h = self.encoder2(h).relu()
        return self.encoder3(h)

    def decode(self, z):
        """(batch, latent) → (batch, 1, 28, 28) in [0, 1]."""
        h = self.decoder1(z).relu()
        h = self.decoder2(h).relu()
        return self.decoder3(h).sigmoid().view(-1, 1, 28, 28)


class LinearAutoencoder(Autoencoder):
    """One linear layer down, one up, nothing between: it can do no better than PCA (lesson 1).

    Its reconstructions are not confined to [0, 1].
    Source: Baldi and Hornik, "Neural networks and principal component analysis", 1989.
    """

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = nn.Linear(784, latent_dim)
        self.decoder = nn.Linear(latent_dim, 784)

    @classmethod
    def from_pca(cls, images, latent_dim=32):
        """The best linear autoencoder, without training: its weights are the principal components.

        images: (n, 1, 28, 28), uint8 or in [0, 1].
        """
        from sklearn.decomposition import PCA

        pca = PCA(latent_dim, svd_solver="covariance_eigh").fit(to_float(images).flatten(start_dim=1).numpy())
        components, mean = torch.from_numpy(pca.components_), torch.from_numpy(pca.mean_)
        model = cls(latent_dim)
        with torch.no_grad():
            model.encoder.weight.copy_(components)
            model.encoder.bias.copy_(-components @ mean)
            model.decoder.weight.copy_(components.T)
            model.decoder.bias.copy_(mean)
        return model

    def encode(self, x):
        """(batch, 1, 28, 28) → (batch, latent)."""
        return self.encoder(x.flatten(start_dim=1))

    def decode(self, z):
        """(batch, latent) → (batch, 1, 28, 28), not confined to [0, 1]."""
        return self.decoder(z).view(-1, 1, 28, 28)


class SparseAutoencoder(Autoencoder):
    """One wide layer that pays for being used: 784 → 256 → 784 with an L1 penalty (lesson 1).

    The code passes a ReLU, so that it can be exactly zero.
    Source: Ng, "Sparse autoencoder", CS294A lecture notes, 2011 (there with another penalty).
    """

    unit = "squared error + penalty per image"

    def __init__(self, latent_dim=256, penalty=0.1):
        super().__init__()
        self.penalty = penalty
        self.encoder = nn.Linear(784, latent_dim)
        self.decoder = nn.Linear(latent_dim, 784)

    def encode(self, x):
        """(batch, 1, 28, 28) in [0, 1] → (batch, latent), nowhere negative."""
        return self.encoder(x.flatten(start_dim=1)).relu()

    def decode(self, z):
        """(batch, latent) → (batch, 1, 28, 28) in [0, 1]."""
        return self.decoder(z).sigmoid().view(-1, 1, 28, 28)

    def loss(self, x):
        """Squared error + penalty · Σ|z|, both per image, averaged over the batch."""
        z = self.encode(x)
        reconstruction = squared_error(self.decode(z), x).mean()
        l1 = z.abs().sum(dim=1).mean()
        return {"loss": reconstruction + self.penalty * l1, "reconstruction": reconstruction, "l1": l1}


def convolutional_encoder(latent_dim=32):
    """Three convolutions of stride 2: 28×28 → 14×14 → 7×7 → 4×4 with 32, 64 and 128 channels (lesson 3).

    Batch norm and ReLU follow each; one linear layer makes the code of the last maps.
    Returns a module: (batch, 1, 28, 28) → (batch, latent).
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 128, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 4 * 4, latent_dim),
    )  # fmt: skip


class ConvolutionalAutoencoder(Autoencoder):
    """Convolutions down to 4×4 and a linear code; transposed convolutions back up (lesson 3)."""

    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = convolutional_encoder(latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 128 * 4 * 4), nn.Unflatten(1, (128, 4, 4)), nn.BatchNorm2d(128), nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, x):
        """(batch, 1, 28, 28) in [0, 1] → (batch, latent)."""
        return self.encoder(x)

    def decode(self, z):
        """(batch, latent) → (batch, 1, 28, 28) in [0, 1]."""
        return self.decoder(z)


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

        Returns reconstruction and kl, each (batch,), in nats. It samples in evaluation mode, too.
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


class DigitClassifier(nn.Module):
    """A small convolutional classifier, whose features compare sets of images (lesson 5).

    Train it with fit(model, (images, labels)).
    """

    unit = "nats per image"

    def __init__(self, classes=10, features=64):
        super().__init__()
        self.features = nn.Sequential(convolutional_encoder(features), nn.ReLU())
        self.head = nn.Linear(features, classes)

    def forward(self, x):
        """(batch, 1, 28, 28) in [0, 1] → logits (batch, classes)."""
        return self.head(self.features(x))

    def loss(self, x, y):
        """Cross-entropy of the labels y, (batch,) of int64, in nats per image, averaged over the batch."""
        cross_entropy = F.cross_entropy(self(x), y)
        return {"loss": cross_entropy}


def nearest_code(z, codebook):
    """Which vector of the codebook is nearest to each vector.

    z: (n, dim). codebook: (codes, dim). Returns (n,), int64. No array of n × codes × dim is made.
    """
    # ‖z - e‖² = ‖z‖² - 2 z·e + ‖e‖², and ‖z‖² is the same for every code
    return (codebook.square().sum(dim=1) - 2 * z @ codebook.T).argmin(dim=1)


def straight_through(z, quantized):
    """The value of quantized with the gradient of z: on the way back, quantising is skipped.

    z, quantized: of the same shape, which is returned.
    Source: Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons", 2013.
    """
    return z + (quantized - z).detach()


class VectorQuantizer(nn.Module):
    """Replaces every vector by the nearest of a codebook that gradients move (lesson 7).

    The codebook starts as vectors of the first batch in training.
    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017 (there it
    starts at random).
    """

    def __init__(self, codes=128, dim=16):
        super().__init__()
        self.dim = dim
        self.codebook = nn.Parameter(torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, z):
        """Quantise the encoder's vectors, one at each place.

        z: (batch, dim, height, width). Returns the quantised vectors, the same shape, with gradients passed
        straight through; their codes, (batch, height, width) int64; codebook and commitment loss, each (batch,).
        """
        vectors = z.detach().movedim(1, -1).flatten(end_dim=-2)
        if self.training and not self.started:
            self.start(vectors)
        codes = nearest_code(vectors, self.codebook).view(len(z), *z.shape[2:])
        quantized = self.lookup(codes)
        return straight_through(z, quantized), codes, *quantization_losses(z, quantized)

    def lookup(self, codes):
        """(batch, height, width) of int64 → their vectors, (batch, dim, height, width)."""
        return self.codebook[codes].movedim(-1, 1)

    @torch.no_grad()
    def start(self, vectors):
        """Start the codebook at vectors drawn from these, (n, dim), all different: most of a digit is black."""
        different = vectors.unique(dim=0)
        different = different[torch.randperm(len(different))]
        self.codebook.copy_(different[torch.arange(len(self.codebook)) % len(different)])
        self.started.fill_(True)


class MovingAverageQuantizer(VectorQuantizer):
    """A codebook each of whose vectors is a moving average of those it stood for (lesson 7, part 2).

    counts and sums are averages over the batches: how many vectors a code stood for, and their sum. A code
    whose count falls below `least` starts anew at a vector of the batch; least = 0 leaves dead codes dead.
    Source: van den Oord et al., 2017, appendix A.1; restarts: Dhariwal et al., "Jukebox", 2020.
    """

    def __init__(self, codes=128, dim=16, decay=0.99, least=1.0):
        super().__init__(codes, dim)
        self.decay, self.least = decay, least
        self.codebook.requires_grad_(False)  # moved here, not by the optimiser
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codebook.clone())

    def forward(self, z):
        """As VectorQuantizer; in training, the codebook then moves."""
        quantized, codes, codebook, commitment = super().forward(z)
        if self.training:
            self.update(z.detach().movedim(1, -1).flatten(end_dim=-2), codes.flatten())
        return quantized, codes, codebook, commitment

    @torch.no_grad()
    def start(self, vectors):
        """Start the codebook at vectors drawn from these, (n, dim), as if each had stood for itself."""
        super().start(vectors)
        self.counts.fill_(1.0)
        self.sums.copy_(self.codebook)

    @torch.no_grad()
    def update(self, vectors, codes):
        """Move the codebook towards the vectors, (n, dim), that its codes, (n,), stood for."""
        n = torch.bincount(codes, minlength=len(self.counts)).to(vectors)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors)
        self.counts.lerp_(n, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.counts < self.least
        self.sums[dead] = vectors[torch.randint(len(vectors), (int(dead.sum()),))]
        self.counts[dead] = 1.0
        moved = dead | (n > 0)  # of the others the quotient stays, until it would be 0 / 0
        self.codebook[moved] = self.sums[moved] / self.counts[moved, None]


class VQVAE(Autoencoder):
    """Vector-quantised autoencoder: an image becomes 7×7 codes, each of its own 4×4 pixels (lesson 7).

    quantizer: a VectorQuantizer or what else has its forward, lookup and dim. beta weighs the commitment.
    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017.
    """

    def __init__(self, quantizer=None, beta=0.25):
        super().__init__()
        self.beta = beta
        self.quantizer = MovingAverageQuantizer() if quantizer is None else quantizer
        dim = self.quantizer.dim
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 2, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 2, stride=2), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, dim, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, x):
        """(batch, 1, 28, 28) in [0, 1] → codes, (batch, 7, 7) int64."""
        return self.quantizer(self.encoder(x))[1]

    def decode(self, codes):
        """Codes, (batch, 7, 7) int64 → (batch, 1, 28, 28) in [0, 1]."""
        return self.decoder(self.quantizer.lookup(codes))

    def loss(self, x):
        """reconstruction + codebook + beta · commitment: squared errors per image, averaged over the batch.

        A codebook that is a moving average gets no gradient from its term.
        """
        quantized, _, codebook, commitment = self.quantizer(self.encoder(x))
        terms = squared_error(self.decoder(quantized), x), codebook, commitment
        reconstruction, codebook, commitment = (term.mean() for term in terms)
        loss = reconstruction + codebook + self.beta * commitment
        return {"loss": loss, "reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}
