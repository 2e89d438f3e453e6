"""Vector quantisation and the VQ-VAE (lesson 7); finite scalar quantisation (lesson 7, part 2)."""

import torch
from torch import nn

from aecourse.losses import quantization_losses, squared_error
from aecourse.models.base import Autoencoder


def nearest_code(z, codebook):
    """The index of the codebook vector nearest to each vector.

    z: (n, dim). codebook: (num_codes, dim). Returns codes (n,), int64. No array of n × num_codes × dim is made.
    """
    # ‖z - e‖² = ‖z‖² - 2 z·e + ‖e‖², and ‖z‖² is the same for every e
    return (codebook.square().sum(dim=1) - 2 * z @ codebook.T).argmin(dim=1)


def straight_through(z, quantized):
    """The value of quantized with the gradient of z: the backward pass skips the quantisation.

    z, quantized: of the same shape, which is returned.
    Source: Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons", 2013.
    """
    return z + (quantized - z).detach()


class VectorQuantizer(nn.Module):
    """Replaces every vector by the nearest one of a codebook, which learns by gradients (lesson 7).

    The codebook is initialised with vectors of the first batch in training.
    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017 (there the
    initialisation is random).
    """

    def __init__(self, num_codes=128, dim=16):
        super().__init__()
        self.num_codes, self.dim = num_codes, dim
        self.codebook = nn.Parameter(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, z):
        """Quantise the encoder's vectors, one at each position.

        z: (batch, dim, height, width). Returns the quantised vectors, the same shape, with straight-through
        gradients; their codes, (batch, height, width) int64; codebook and commitment loss, each (batch,).
        """
        vectors = z.detach().movedim(1, -1).flatten(end_dim=-2)
        if self.training and not self.initialized:
            self.init_codebook(vectors)
        codes = nearest_code(vectors, self.codebook).view(len(z), *z.shape[2:])
        quantized = self.lookup(codes)
        return straight_through(z, quantized), codes, *quantization_losses(z, quantized)

    def lookup(self, codes):
        """Codes (batch, height, width), int64 → their codebook vectors, (batch, dim, height, width)."""
        return self.codebook[codes].movedim(-1, 1)

    @torch.no_grad()
    def init_codebook(self, vectors):
        """Initialise the codebook with a sample of these vectors, (n, dim), all different: most of a digit is black."""
        different = vectors.unique(dim=0)
        different = different[torch.randperm(len(different))]
        self.codebook.copy_(different[torch.arange(len(self.codebook)) % len(different)])
        self.initialized.fill_(True)


class EMAQuantizer(VectorQuantizer):
    """A codebook of exponential moving averages: each vector averages those that it replaced (lesson 7, part 2).

    counts and sums are averages over the batches: how many vectors a code replaced, and their sum. A code whose
    count falls below `threshold` is reset to a vector of the batch; threshold = 0 leaves dead codes dead.
    Source: van den Oord et al., 2017, appendix A.1; codebook reset: Dhariwal et al., "Jukebox", 2020.
    """

    def __init__(self, num_codes=128, dim=16, decay=0.99, threshold=1.0):
        super().__init__(num_codes, dim)
        self.decay, self.threshold = decay, threshold
        self.codebook.requires_grad_(False)  # updated here, not by the optimiser
        self.register_buffer("counts", torch.empty(num_codes))
        self.register_buffer("sums", torch.empty(num_codes, dim))
        self.init_statistics()

    def forward(self, z):
        """As VectorQuantizer; in training, the codebook is then updated."""
        quantized, codes, codebook, commitment = super().forward(z)
        if self.training:
            self.update(z.detach().movedim(1, -1).flatten(end_dim=-2), codes.flatten())
        return quantized, codes, codebook, commitment

    @torch.no_grad()
    def init_codebook(self, vectors):
        """Initialise the codebook with a sample of these vectors, (n, dim), as if each had replaced itself once."""
        super().init_codebook(vectors)
        self.init_statistics()

    @torch.no_grad()
    def init_statistics(self):
        """Set counts and sums, in place, as if each code had replaced one vector equal to its own."""
        self.counts.fill_(1.0)
        self.sums.copy_(self.codebook)

    @torch.no_grad()
    def update(self, vectors, codes):
        """Move the codebook towards the vectors, (n, dim), that its codes, (n,), replaced."""
        n = torch.bincount(codes, minlength=len(self.counts)).to(vectors)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors)
        self.counts.lerp_(n, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.counts < self.threshold
        self.sums[dead] = vectors[torch.randint(len(vectors), (int(dead.sum()),))]
        self.counts[dead] = 1.0
        moved = dead | (n > 0)  # for the other codes, counts and sums shrink alike, in the end to 0 / 0
        self.codebook[moved] = self.sums[moved] / self.counts[moved, None]


class VQVAE(Autoencoder):
    """Vector-quantised autoencoder: an image becomes 7×7 codes, each of its own 4×4 pixels (lesson 7).

    quantizer: a VectorQuantizer, or a module with the same forward, lookup and dim. beta weighs the commitment loss.
    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017.
    """

    def __init__(self, quantizer=None, beta=0.25):
        super().__init__()
        self.beta = beta
        self.quantizer = EMAQuantizer() if quantizer is None else quantizer
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

    def quantize(self, x):
        """Images (batch, 1, 28, 28) in [0, 1] → what the quantizer makes of the encoder's vectors."""
        self.require_batch(x)
        return self.quantizer(self.encoder(x))

    def encode(self, x):
        """Images (batch, 1, 28, 28) in [0, 1] → codes (batch, 7, 7), int64."""
        return self.quantize(x)[1]

    def decode(self, codes):
        """Codes (batch, 7, 7), int64 → images (batch, 1, 28, 28) in [0, 1]."""
        return self.decoder(self.quantizer.lookup(codes))

    def loss(self, x):
        """reconstruction + codebook + beta · commitment: squared errors per image, averaged over the batch.

        An EMA codebook gets no gradient from its term.
        """
        quantized, _, codebook, commitment = self.quantize(x)
        terms = squared_error(self.decoder(quantized), x), codebook, commitment
        reconstruction, codebook, commitment = (term.mean() for term in terms)
        loss = reconstruction + codebook + self.beta * commitment
        return {"loss": loss, "reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}


def finite_scalar(z, levels):
    """Round each dimension of a vector to one of a few levels, with straight-through gradients.

    z: (batch, dim, height, width). levels: (dim,) int64, 2 or more: the number of levels of each dimension. With L
    of them, sigmoid(z) · (L - 1) is rounded to a digit from 0 to L - 1.
    Returns the levels as values, 2 · digit / (L - 1) - 1 in [-1, 1], like z; and the codes,
    (batch, height, width) int64: the digits as one number, the first digit the least significant.
    Source: Mentzer et al., "Finite scalar quantization: VQ-VAE made simple", 2023, with a simpler squashing.
    """
    top = (levels - 1).view(-1, 1, 1)
    scaled = top * z.sigmoid()
    digits = scaled.detach().round().long()
    weights = (levels.cumprod(0) // levels).view(-1, 1, 1)  # 1, L0, L0 · L1, …
    return 2 * straight_through(scaled, digits) / top - 1, (weights * digits).sum(dim=1)
