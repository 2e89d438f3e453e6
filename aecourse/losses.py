"""What the models minimise: pure functions of tensors, one value per image.

Units are those of the whole course: squared error summed over the pixels of an image, likelihoods
and divergences in nats per image. Averaging over the batch is left to the model's `loss`.
"""

from torch.nn import functional as F


def squared_error(x_hat, x):
    """Squared error of each image, summed over its pixels.

    x_hat, x: (batch, ...) of the same shape. Returns (batch,).
    """
    return (x_hat - x).square().flatten(start_dim=1).sum(dim=1)


def reconstruction_loss(model, x):
    """Squared error per image between x and its reconstruction by the model, averaged over the batch.

    model: a function of images. x: (batch, ...) in [0, 1]. Returns a scalar.
    """
    return squared_error(model(x), x).mean()


def bernoulli_nll(logits, x):
    """Negative log-likelihood of each image under independent Bernoulli pixels, in nats.

    logits, x: (batch, ...) of the same shape, x in [0, 1]. Returns (batch,).
    Grey pixels cannot reach 0: the minimum is the entropy of the targets (lesson 5).
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(start_dim=1).sum(dim=1)


def gaussian_kl(mu, logvar):
    """KL(N(mu, exp(logvar)) ‖ N(0, I)) of each image, in nats.

    mu, logvar: (batch, latent_dim). Returns (batch,).
    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014, appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def quantization_losses(z, quantized):
    """Codebook loss and commitment loss: how far each image's vectors are from the codebook vectors in their place.

    z: (batch, dim, height, width), the encoder's vectors. quantized: the same shape, their nearest codebook vectors.
    Returns codebook and commitment, each (batch,): the same squared error, summed over all positions, twice. The
    gradient of the first moves the codebook alone, that of the second the encoder alone.
    Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", 2017.
    """
    return squared_error(quantized, z.detach()), squared_error(z, quantized.detach())


def denoising_loss(denoise, x_clean, corrupt):
    """Squared error per image between clean images and denoised corrupted ones, averaged over the batch.

    denoise, corrupt: functions of images. x_clean: (batch, 1, 28, 28) in [0, 1]. Returns a scalar.
    """
    x_noisy = corrupt(x_clean)
    return squared_error(denoise(x_noisy), x_clean).mean()


def capacity_loss(reconstruction, kl, capacity, gamma=10.0):
    """mean reconstruction + gamma · |mean KL − capacity|: the KL is held at a target, the capacity.

    reconstruction, kl: (batch,), in nats. capacity: in nats. Returns a scalar.
    Source: Burgess et al., "Understanding disentangling in β-VAE", 2018.
    """
    return reconstruction.mean() + gamma * (kl.mean() - capacity).abs()


def effective_beta(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    """The β, per nat, of a loss reconstruction + weight · kl whose terms are sums or means.

    weight: the factor in front of the KL. pixels: pixels of an image. latent_dim: dimensions of its latent code.
    reconstruction: "sum" or "mean" over the pixels. kl: "sum" or "mean" over the latent dimensions.
    Returns the β for which reconstruction + β · kl, both as sums, is the same loss up to a factor.
    """
    if {reconstruction, kl} - {"sum", "mean"}:
        raise ValueError(f'a term is a "sum" or a "mean"; got {reconstruction!r} and {kl!r}.')
    if reconstruction == "mean":
        weight = weight * pixels
    if kl == "mean":
        weight = weight / latent_dim
    return weight
