"""Metrics: errors of reconstructions, likelihoods, use of the latent space, disentanglement, sample quality.

Input for which a metric is not defined (a constant factor, a single dimension, nan) is refused with a ValueError.
"""

import importlib
import math

import torch
from torch.distributions import Normal

from aecourse.data import to_float
from aecourse.losses import bernoulli_nll, gaussian_kl, squared_error
from aecourse.models import reparameterize


def _require_vectors(vectors, what, at_least=1, like=None):
    """Refuse whatever is not a tensor (n, d) of finite numbers, with enough rows, and as many columns as like has."""
    if not torch.is_tensor(vectors) or vectors.ndim != 2 or len(vectors) < at_least or not vectors.shape[1]:
        given = tuple(vectors.shape) if torch.is_tensor(vectors) else f"a {type(vectors).__name__}"
        raise ValueError(f"{what} should be a tensor (n, d) of {at_least} rows or more; got {given}.")
    if not vectors.isfinite().all():
        raise ValueError(f"{what} holds nan or inf.")
    if like is not None and vectors.shape[1] != like.shape[1]:
        raise ValueError(f"{what} has {vectors.shape[1]} columns, where {like.shape[1]} are needed.")


def _from_torchmetrics(module, name):
    """A part of torchmetrics, which imports torchvision: where that is broken, say what cannot be computed and why."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, OSError, RuntimeError) as problem:
        raise ImportError(f"{name} cannot be computed, because torchmetrics cannot be imported: {problem}") from problem


def mse(x_hat, x):
    """Mean squared error per pixel, over all images: a float.

    x_hat, x: (n, ...) of the same shape.
    Raises ValueError if the shapes differ, which broadcasting would hide, and for no images at all.
    """
    x_hat, x = _same_shape(x_hat, x)
    return (x_hat - x).square().mean().item()


def _same_shape(x_hat, x):
    """Reconstructions and images as floats, of one shape."""
    x_hat, x = to_float(x_hat, "x_hat"), to_float(x, "x")
    if x_hat.shape != x.shape or not x.numel():
        raise ValueError(f"x_hat and x should be images of one shape; got {tuple(x_hat.shape)} and {tuple(x.shape)}.")
    return x_hat, x


def psnr(x_hat, x):
    """Peak signal-to-noise ratio in dB, of the mean squared error over all images.

    x_hat, x: (n, ...) of the same shape. Returns a float: inf if they are equal.
    Some papers average the decibels of single images instead, which gives a slightly larger value.
    """
    return -10 * torch.tensor(mse(x_hat, x)).log10().item()


def reconstruction_error(model, images, batch_size=100):
    """Mean squared error per pixel of a model's reconstructions, in evaluation mode.

    images: (n, 1, 28, 28), uint8 or floats. Returns a float. Afterwards every part of the model is in its old mode.
    """
    images, modes = to_float(images), {module: module.training for module in model.modules()}
    model.eval()
    total = 0.0
    with torch.no_grad():
        for x in images.split(batch_size):
            total += squared_error(model(x), x).sum().item()
    for module, training in modes.items():
        module.training = training
    return total / images.numel()


def ssim(x_hat, x):
    """Structural similarity, 1 for equal images, averaged over images.

    x_hat, x: (n, channels, height, width). Returns a float.
    Source: Wang et al., "Image quality assessment", 2004 (Gaussian window of 11 pixels, sigma 1.5).
    """
    measure = _from_torchmetrics("torchmetrics.functional.image", "structural_similarity_index_measure")
    return measure(*_same_shape(x_hat, x), data_range=1.0).item()


def knn_accuracy(z, labels, test_z, test_labels, k=5):
    """Fraction of test images whose k nearest training vectors vote for the right label.

    z, test_z: latent codes or pixels, (n, ...), flattened to vectors. Returns a float in [0, 1].
    """
    from sklearn.neighbors import KNeighborsClassifier

    return _accuracy(KNeighborsClassifier(k), z, labels, test_z, test_labels)


def linear_probe(z, labels, test_z, test_labels):
    """Fraction of test images that a ridge classifier on their latent codes gets right.

    z, test_z: latent codes or pixels, (n, ...), flattened to vectors. Returns a float in [0, 1].
    """
    from sklearn.linear_model import RidgeClassifier

    return _accuracy(RidgeClassifier(), z, labels, test_z, test_labels)


def _accuracy(classifier, z, labels, test_z, test_labels):
    z, test_z = (to_float(x) if x.dtype == torch.uint8 else x for x in (z, test_z))
    classifier.fit(z.flatten(1).numpy(), labels.numpy())
    return float(classifier.score(test_z.flatten(1).numpy(), test_labels.numpy()))


def nearest_distance(images, references):
    """Distance of each image to the nearest of the references, as squared error per pixel.

    images: (n, ...), references: (m, ...), m > 0. Returns (n,).
    """
    images, references = to_float(images).flatten(1), to_float(references, "references").flatten(1)
    _require_vectors(references, "references", like=images)
    nearest = [torch.cdist(batch, references).min(dim=1).values for batch in images.split(500)]
    return torch.cat(nearest).square() / images.shape[1]


def nyquist_power(maps):
    """Power at the highest frequencies, relative to the frequencies next to them: a checkerboard shows here.

    maps: images or feature maps (n, channels, height, width) with even sides; the spectra are averaged.
    Returns (3,): stripes that change from row to row, stripes that change from column to column, both.
    Each is the power at the Nyquist frequency over the mean of its neighbours: along the axis the
    two before it, and (−1, 0), (0, −1) and (−1, −1) where both run. Constant maps have no power: nan.
    """
    maps = to_float(maps) if maps.dtype == torch.uint8 else maps
    power = torch.fft.fft2(maps).abs().square().mean(dim=(0, 1))
    i, j = maps.shape[-2] // 2, maps.shape[-1] // 2
    rows = power[i, 0] / power[i - 2 : i, 0].mean()
    columns = power[0, j] / power[0, j - 2 : j].mean()
    both = 3 * power[i, j] / (power[i - 1, j - 1] + power[i - 1, j] + power[i, j - 1])
    return torch.stack([rows, columns, both])


def phase_power(maps):
    """Mean square of the pixels at even and odd rows, even and odd columns.

    maps: images or feature maps (n, channels, height, width) with even sides.
    Returns (2, 2): the first axis is the row modulo 2, the second the column modulo 2.
    """
    maps = to_float(maps) if maps.dtype == torch.uint8 else maps
    phases = [maps[..., row::2, column::2].square().mean() for row in (0, 1) for column in (0, 1)]
    return torch.stack(phases).view(2, 2)


def elbo_estimate(model, x):
    """The ELBO of each image, estimated with one sample of the posterior: (batch,), in nats, negative.

    x: (batch, 1, 28, 28) in [0, 1].
    """
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    return -bernoulli_nll(logits, x) - gaussian_kl(mu, logvar)


def log_weights(model, x, k):
    """log p(x | z) + log p(z) − log q(z | x) at k samples of the posterior q(z | x), for each image.

    x: (batch, 1, 28, 28) in [0, 1]. Returns (k, batch), in nats.
    """
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.sample((k,))
    logits = model.decode_logits(z.flatten(0, 1))
    log_likelihood = -bernoulli_nll(logits, x.repeat(k, 1, 1, 1)).view(k, len(x))
    return log_likelihood + Normal(0, 1).log_prob(z).sum(dim=2) - q.log_prob(z).sum(dim=2)


def importance_bound(log_w):
    """The logarithm of the mean weight of each image: an estimate of log p(x) from below.

    log_w: (k, batch), logarithms of the weights of k samples. Returns (batch,), in nats.
    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015.
    """
    return log_w.logsumexp(dim=0) - math.log(len(log_w))


def active_units(mu, threshold=0.01):
    """Which latent dimensions respond to the image: those whose posterior mean varies from image to image.

    mu: (n, latent_dim), the posterior means of n images. Returns (latent_dim,) of booleans: variance > threshold.
    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015.
    """
    _require_vectors(mu, "mu", at_least=2)
    return mu.var(dim=0) > threshold


def kl_by_dimension(mu, logvar):
    """The KL of each latent dimension to N(0, 1) in nats, averaged over images.

    mu, logvar: (n, latent_dim). Returns (latent_dim,), whose sum is the mean of `losses.gaussian_kl`.
    """
    _require_vectors(mu, "mu")
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean(dim=0)


def mutual_information(a, b):
    """Mutual information of two discrete variables in nats: I(a; b) = Σ p(a, b) log(p(a, b) / (p(a) p(b))).

    a, b: (n,) int64, from 0 up: n pairs of values. Returns a float, 0 or more. I(a; a) is the entropy of a.
    The probabilities are fractions of the n pairs. Independent variables with k and m values still get about
    (k - 1)(m - 1) / 2n nats: the more values and the fewer pairs, the more is found by chance.
    """
    a, b = a.long(), b.long()  # bytes would overflow below
    if not len(a) or len(a) != len(b) or min(a.min(), b.min()) < 0:
        raise ValueError("a and b should be pairs of whole numbers from 0 up, one pair or more.")
    values = int(b.max()) + 1
    joint = torch.bincount(a * values + b, minlength=(int(a.max()) + 1) * values).view(-1, values).double() / len(a)
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    seen = joint > 0
    return (joint[seen] * (joint[seen] / independent[seen]).log()).sum().item()


def discretize(z, bins=20):
    """Sort each latent dimension into bins of equal width between its minimum and its maximum.

    z: (n, latent_dim). Returns (n, latent_dim) int64, 0 to bins - 1. A constant dimension gets bin 0.
    Source: disentanglement_lib of Locatello et al., 2019.
    """
    _require_vectors(z, "z")
    z = z if z.is_floating_point() else z.float()
    low, high = z.min(dim=0).values, z.max(dim=0).values
    width = ((high - low) / bins).clamp(min=torch.finfo(z.dtype).tiny)
    return ((z - low) / width).long().clamp(max=bins - 1)


def information_gap(information, entropies):
    """How much more information the best latent dimension has about a factor than the second best, by its entropy.

    information: (latent_dim, factors) in nats, 2 or more dimensions. entropies: (factors,) in nats, above 0.
    Returns (factors,). Source: Chen et al., "Isolating sources of disentanglement in variational autoencoders", 2018.
    """
    if len(information) < 2:
        raise ValueError("the gap is between the best latent dimension and the second best: give 2 or more.")
    if not (entropies > 0).all():
        raise ValueError("a factor of entropy 0 has the same value everywhere: leave it out.")
    best, second = information.topk(2, dim=0).values
    return (best - second) / entropies


def _require_factors(z, factors):
    """Refuse latent vectors and factors that do not belong together, and factors that are constant."""
    _require_vectors(z, "z")
    _require_vectors(factors, "factors")
    if factors.is_floating_point() or len(factors) != len(z) or factors.min() < 0:
        raise ValueError("factors should be whole numbers from 0 up, (n, factors), one row per row of z.")
    if constant := (factors == factors[0]).all(dim=0).nonzero().flatten().tolist():
        raise ValueError(f"factor {constant[0]} has the same value everywhere: leave it out.")


def mutual_information_gap(z, factors, bins=20):
    """MIG: for every factor, whether one latent dimension informs about it and no other does. The mean is the score.

    z: (n, latent_dim), posterior means, 2 dimensions or more. factors: (n, factors) int64, from 0 up, none of them
    constant. 10,000 of each are usual. Returns (factors,), from 0 to 1. A factor with more values than bins cannot
    reach 1: its copy, in bins, has lost some of its entropy.
    Source: Chen et al., 2018, with the bins of disentanglement_lib (Locatello et al., 2019).
    """
    _require_factors(z, factors)
    binned = discretize(z, bins)
    information = torch.tensor([[mutual_information(column, factor) for factor in factors.T] for column in binned.T])
    entropies = torch.tensor([mutual_information(factor, factor) for factor in factors.T])
    return information_gap(information, entropies)


def separated_attribute_predictability(z, factors, categorical=(), bins=20):
    """SAP: how much better the best single latent dimension predicts a factor than the second best.

    z: (n, latent_dim), 2 dimensions or more. factors: (n, factors) int64, none of them constant. categorical: the
    factors whose values have no order. An ordered factor is predicted by a line, and the score is R²; of a categorical
    one each bin predicts its most frequent value, and the score is the fraction of right answers.
    Returns (factors,), from 0 to 1, for c equally frequent categories to 1 - 1/c.
    Source: Kumar, Sattigeri and Balakrishnan, "Variational inference of disentangled latent concepts from
    unlabeled observations", 2018 (there with fitted thresholds instead of bins).
    """
    _require_factors(z, factors)
    if z.shape[1] < 2:
        raise ValueError("SAP compares the best latent dimension with the second best: give 2 or more.")
    centred, v = z.double() - z.double().mean(dim=0), factors.double() - factors.double().mean(dim=0)
    products = (centred.T @ v).square()
    scores = products / (centred.square().sum(dim=0)[:, None] * v.square().sum(dim=0)).clamp(min=1e-12)  # R² of a line
    for factor in categorical:
        categories = int(factors[:, factor].max()) + 1
        for dim, binned in enumerate(discretize(z, bins).T):
            pairs = binned * categories + factors[:, factor]
            counts = torch.bincount(pairs, minlength=bins * categories).view(bins, categories)
            scores[dim, factor] = counts.amax(dim=1).sum() / len(z)
    best, second = scores.topk(2, dim=0).values
    return (best - second).float()


def perplexity(codes, num_codes):
    """Effective number of codes in use: exp of the entropy of their frequencies.

    codes: int64 of any shape, 0 to num_codes - 1. Returns a float, from 1 (one code alone) to num_codes (uniform).
    It grows with the number of codes that are counted at once: count a whole test set.
    """
    if not codes.numel() or codes.min() < 0 or codes.max() >= num_codes:
        raise ValueError(
            f"codes should be some indices from 0 to {num_codes - 1}; got {codes.flatten()[:5].tolist()} …."
        )
    frequencies = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    return torch.special.entr(frequencies.double()).sum().exp().item()


def code_entropy(q):
    """Nats per image for a quantised latent code whose dimensions are coded independently.

    q: (n, latent_dim), whole numbers. Returns a float: the sum over the columns of the entropy of their values.
    """
    total = 0.0
    for column in q.T:
        frequencies = column.unique(return_counts=True)[1] / len(q)
        total -= (frequencies * frequencies.log()).sum().item()
    return total


def bits_per_image(nats_per_code, positions=49, num_classes=1):
    """Bits per image: those of its codes, and those of its class, if that has to be transmitted as well.

    nats_per_code: the mean of -log p over the codes. positions: codes per image. num_classes: how many classes there
    are, all equally frequent; 1 if the class is not transmitted. Returns a float.
    """
    return nats_per_code * positions / math.log(2) + math.log2(num_classes)


def frechet_distance(features, others):
    """Squared Fréchet distance between the Gaussians fitted to two sets of features; 0 for equal sets.

    features, others: (n, d) and (m, d), n and m well above d. Returns a float, in the features' own unit.
    Source: Heusel et al., "GANs trained by a two time-scale update rule", 2017 (there with Inception's features).
    """
    for name, points in (("features", features), ("others", others)):
        _require_vectors(points, name, at_least=2, like=features)
    as_they_are = torch.nn.Identity()  # the features are computed already
    as_they_are.num_features = features.shape[1]
    distance = _from_torchmetrics("torchmetrics.image.fid", "FrechetInceptionDistance")(feature=as_they_are)
    distance.update(features, real=True)
    distance.update(others, real=False)
    return distance.compute().item()


def precision_recall(real, generated, k=3):
    """Precision: how much of what is generated looks real. Recall: how much of what is real could be generated.

    real, generated: features (n, d) and (m, d).
    Draw a ball around every real point, just large enough to contain its k nearest real neighbours. Precision is the
    fraction of generated points in one of these balls; recall is the same with the roles exchanged.
    Returns two floats in [0, 1]. Raises ValueError for a set of k points or fewer.
    Source: Kynkäänniemi et al., "Improved precision and recall metric for generative models", 2019.
    """
    for name, points in (("real", real), ("generated", generated)):
        _require_vectors(points, name, at_least=k + 1, like=real)
    centre = real.mean(dim=0)  # distances between points far from 0 lose digits
    real, generated = real - centre, generated - centre

    def covered(points, references):
        radii = torch.cat(
            [torch.cdist(batch, references).kthvalue(k + 1, dim=1).values for batch in references.split(1000)]
        )  # the nearest of all is the point itself
        return torch.cat([(torch.cdist(batch, references) <= radii).any(dim=1) for batch in points.split(1000)])

    return covered(generated, real).float().mean().item(), covered(real, generated).float().mean().item()
