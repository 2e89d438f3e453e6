"""What the models minimise: pure functions of tensors, one number per image.

Units are those of the whole course: squared error summed over the pixels of an image, likelihoods
and divergences in nats per image. Averaging over the batch is left to the model's `loss`.
"""

from torch.nn import functional as F


def squared_error(x_hat, x):
    """Squared error of each image, summed over its pixels.

    x_hat, x: (batch, ...) of the same shape. Returns (batch,).
    """
    return (x_hat - x).square().flatten(start_dim=1).sum(dim=1)


def binary_cross_entropy(logits, x):
    """Negative log-likelihood of each image under independent Bernoulli pixels, in nats.

    logits, x: (batch, ...) of the same shape, x in [0, 1]. Returns (batch,).
    Grey pixels cannot reach 0: the least possible value is their own entropy (lesson 5).
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(start_dim=1).sum(dim=1)


def gaussian_kl(mu, logvar):
    """KL(N(mu, exp(logvar)) ‖ N(0, I)) of each image, in nats.

    mu, logvar: (batch, latent). Returns (batch,).
    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014, appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def quantization_losses(z, quantized):
    """How far the vectors of each image are from those of the codebook that stand for them: two losses.

    z: (batch, dim, height, width), the encoder's vectors. quantized: the same shape, their nearest codebook vectors.
    Returns codebook and commitment, each (batch,): the same squared error, summed over all places, twice. The
    gradient of the first moves the codebook alone, that of the second the encoder alone.
    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017.
    """
    return squared_error(quantized, z.detach()), squared_error(z, quantized.detach())
