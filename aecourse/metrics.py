"""How good is it? Errors of reconstructions, what codes know, how far drawn images are from real ones."""

import math

import torch
from torch.distributions import Normal

from aecourse.data import to_float
from aecourse.losses import binary_cross_entropy, gaussian_kl, squared_error
from aecourse.models import reparameterize


def mse(x_hat, x):
    """Mean squared error per pixel, over all images: a float.

    x_hat, x: (n, ...) of the same shape, pixels in [0, 1].
    Raises ValueError if the shapes differ, which broadcasting would hide.
    """
    if x_hat.shape != x.shape:
        raise ValueError(f"the shapes differ: {tuple(x_hat.shape)} and {tuple(x.shape)}.")
    return (x_hat - x).square().mean().item()


def psnr(x_hat, x):
    """Peak signal-to-noise ratio in dB, of the mean squared error over all images.

    x_hat, x: (n, ...) of the same shape, pixels in [0, 1]. Returns a float: inf if they are equal.
    Averaging the decibels of single images instead, as some papers do, gives a little more.
    """
    return -10 * torch.tensor(mse(x_hat, x)).log10().item()


def reconstruction_error(model, images, batch_size=100):
    """Mean squared error per pixel of a model's reconstructions. The model is left as it was found.

    images: (n, 1, 28, 28), uint8. Returns a float. Every part of the model ends in the mode in which it came.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    total = 0.0
    with torch.no_grad():
        for batch in images.split(batch_size):
            x = to_float(batch)
            total += squared_error(model(x), x).sum().item()
    for module, training in modes.items():
        module.training = training
    return total / images.numel()


def ssim(x_hat, x):
    """Structural similarity, 1 for equal images, averaged over images.

    x_hat, x: (n, channels, height, width) in [0, 1]. Returns a float.
    Source: Wang et al., "Image quality assessment", 2004 (Gaussian window of 11 pixels, sigma 1.5).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    return structural_similarity_index_measure(x_hat, x, data_range=1.0).item()


def knn_accuracy(codes, labels, test_codes, test_labels, k=5):
    """Share of test images whose k nearest training codes vote for the right label.

    codes, test_codes: (n, ...), flattened to vectors. Returns a float in [0, 1].
    """
    from sklearn.neighbors import KNeighborsClassifier

    return _accuracy(KNeighborsClassifier(k), codes, labels, test_codes, test_labels)


def linear_probe(codes, labels, test_codes, test_labels):
    """Share of test images that a ridge classifier on the codes gets right.

    codes, test_codes: (n, ...), flattened to vectors. Returns a float in [0, 1].
    """
    from sklearn.linear_model import RidgeClassifier

    return _accuracy(RidgeClassifier(), codes, labels, test_codes, test_labels)


def _accuracy(classifier, codes, labels, test_codes, test_labels):
    classifier.fit(codes.flatten(1).numpy(), labels.numpy())
    return float(classifier.score(test_codes.flatten(1).numpy(), test_labels.numpy()))


def nearest_distance(images, references):
    """Distance of each image to the nearest of the references, as squared error per pixel.

    images: (n, ...), references: (m, ...), pixels in [0, 1]. Returns (n,).
    """
    images, references = images.flatten(1), references.flatten(1)
    nearest = [torch.cdist(batch, references).min(dim=1).values for batch in images.split(500)]
    return torch.cat(nearest).square() / images.shape[1]


def nyquist_power(images):
    """Power at the highest frequencies, relative to the frequencies next to them: a checkerboard shows here.

    images: (n, channels, height, width) with even sides, the spectra averaged over images and channels.
    Returns (3,): stripes that change from row to row, stripes that change from column to column, both.
    Each is the power at the Nyquist frequency over the mean of its neighbours: along the axis the
    two before it, and (−1, 0), (0, −1) and (−1, −1) where both run.
    """
    power = torch.fft.fft2(images).abs().square().mean(dim=(0, 1))
    i, j = images.shape[-2] // 2, images.shape[-1] // 2
    rows = power[i, 0] / power[i - 2 : i, 0].mean()
    columns = power[0, j] / power[0, j - 2 : j].mean()
    both = 3 * power[i, j] / (power[i - 1, j - 1] + power[i - 1, j] + power[i, j - 1])
    return torch.stack([rows, columns, both])


def phase_power(images):
    """Mean square of the pixels at even and odd rows, even and odd columns.

    images: (n, channels, height, width) with even sides.
    Returns (2, 2): the first axis is the row modulo 2, the second the column modulo 2.
    """
    phases = [images[..., row::2, column::2].square().mean() for row in (0, 1) for column in (0, 1)]
    return torch.stack(phases).view(2, 2)


def elbo_estimate(model, x):
    """The ELBO of each image, estimated with one drawn code: (batch,), in nats, negative.

    x: (batch, 1, 28, 28) in [0, 1].
    """
    mu, logvar = model.encode(x)
    logits = model.decode_logits(reparameterize(mu, logvar))
    return -binary_cross_entropy(logits, x) - gaussian_kl(mu, logvar)


def log_weights(model, x, k):
    """log p(x | z) + log p(z) − log q(z | x) at k codes drawn from q(z | x), for each image.

    x: (batch, 1, 28, 28) in [0, 1]. Returns (k, batch), in nats.
    """
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.sample((k,))
    logits = model.decode_logits(z.flatten(0, 1))
    log_likelihood = -binary_cross_entropy(logits, x.repeat(k, 1, 1, 1)).view(k, len(x))
    return log_likelihood + Normal(0, 1).log_prob(z).sum(dim=2) - q.log_prob(z).sum(dim=2)


def importance_bound(log_w):
    """The logarithm of the mean weight of each image: an estimate of log p(x) from below.

    log_w: (k, batch), logarithms of the weights of k draws. Returns (batch,), in nats.
    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015.
    """
    return log_w.logsumexp(dim=0) - math.log(len(log_w))


def active_units(mu, threshold=0.01):
    """Which numbers of the code answer to the image: those whose mean varies from image to image.

    mu: (n, latent), the posterior means of n images. Returns (latent,) of booleans: variance > threshold.
    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015.
    """
    return mu.var(dim=0) > threshold


def kl_by_dimension(mu, logvar):
    """What each number of the code costs: its KL to N(0, 1) in nats, averaged over images.

    mu, logvar: (n, latent). Returns (latent,), whose sum is the mean of `losses.gaussian_kl`.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean(dim=0)


def mutual_information(a, b):
    """How much two discrete variables tell of each other, in nats: I(a; b) = Σ p(a, b) log(p(a, b) / (p(a) p(b))).

    a, b: (n,) int64, from 0 up: n pairs of values. Returns a float, 0 or more. I(a; a) is the entropy of a.
    The probabilities are shares of the n pairs. Independent variables with k and m values get about
    (k - 1)(m - 1) / 2n nats all the same: the more values and the fewer pairs, the more is found by chance.
    """
    values = int(b.max()) + 1
    joint = torch.bincount(a * values + b, minlength=(int(a.max()) + 1) * values).view(-1, values).double() / len(a)
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    seen = joint > 0
    return (joint[seen] * (joint[seen] / independent[seen]).log()).sum().item()


def discretize(codes, bins=20):
    """Number by number, which of 20 equally wide bins between its least and its largest value a code falls into.

    codes: (n, latent). Returns (n, latent) int64, 0 to bins - 1. A number that never changes gets bin 0.
    Source: disentanglement_lib of Locatello et al., 2019.
    """
    low, high = codes.min(dim=0).values, codes.max(dim=0).values
    width = ((high - low) / bins).clamp(min=torch.finfo(codes.dtype).tiny)
    return ((codes - low) / width).long().clamp(max=bins - 1)


def information_gap(information, entropies):
    """How far the number of the code that knows most of a factor is ahead of the next, as a share of its entropy.

    information: (latent, factors) in nats, latent > 1. entropies: (factors,) in nats. Returns (factors,).
    Source: Chen et al., "Isolating sources of disentanglement in variational autoencoders", 2018.
    """
    best, second = information.topk(2, dim=0).values
    return (best - second) / entropies


def mutual_information_gap(codes, factors, bins=20):
    """MIG: for every factor, whether one number of the code knows it and the others do not. The mean is the score.

    codes: (n, latent), posterior means. factors: (n, factors) int64, from 0 up. 10,000 of each are usual.
    Returns (factors,), from 0 to 1. A factor with more values than bins cannot reach 1: its copy, in bins, has
    lost some of its entropy.
    Source: Chen et al., 2018, with the bins of disentanglement_lib (Locatello et al., 2019).
    """
    binned = discretize(codes, bins)
    information = torch.tensor([[mutual_information(z, factor) for factor in factors.T] for z in binned.T])
    entropies = torch.tensor([mutual_information(factor, factor) for factor in factors.T])
    return information_gap(information, entropies)


def separated_attribute_predictability(codes, factors, categorical=(), bins=20):
    """SAP: how much better the best single number of the code predicts a factor than the second best.

    codes: (n, latent). factors: (n, factors) int64. categorical: the factors whose values have no order.
    An ordered factor is predicted by a line, and the score is R²; of a categorical one each of 20 bins
    predicts its most frequent value, and the score is the share of right answers.
    Returns (factors,), from 0 to 1, for c equally frequent categories to 1 - 1/c.
    Source: Kumar, Sattigeri and Balakrishnan, "Variational inference of disentangled latent concepts from
    unlabeled observations", 2018 (there with fitted thresholds instead of bins).
    """
    z, v = codes.double() - codes.double().mean(dim=0), factors.double() - factors.double().mean(dim=0)
    products = (z.T @ v).square()
    scores = products / (z.square().sum(dim=0)[:, None] * v.square().sum(dim=0)).clamp(min=1e-12)  # R² of a line
    for factor in categorical:
        categories = int(factors[:, factor].max()) + 1
        for number, binned in enumerate(discretize(codes, bins).T):
            pairs = binned * categories + factors[:, factor]
            counts = torch.bincount(pairs, minlength=bins * categories).view(bins, categories)
            scores[number, factor] = counts.amax(dim=1).sum() / len(codes)
    best, second = scores.topk(2, dim=0).values
    return (best - second).float()


def perplexity(codes, size):
    """How many codes are in use, counted by how much each is used: exp of the entropy of their shares.

    codes: int64 of any shape, 0 to size - 1. Returns a float between 1 (one code alone) and size (all alike).
    It grows with the number of codes that are counted at once: count a whole test set.
    """
    shares = torch.bincount(codes.flatten(), minlength=size) / codes.numel()
    return torch.special.entr(shares.double()).sum().exp().item()


def code_entropy(q):
    """Nats per image for a quantised code, each of its numbers coded by itself.

    q: (n, latent), whole numbers. Returns a float: the sum over the columns of the entropy of their values.
    """
    total = 0.0
    for column in q.T:
        share = column.unique(return_counts=True)[1] / len(q)
        total -= (share * share.log()).sum().item()
    return total


def bits_per_image(nats_per_code, places=49, classes=1):
    """How many bits an image takes: those of its codes, and those of its class, if that has to be told as well.

    nats_per_code: the mean of -log p over the codes. places: codes per image. classes: how many there are, all
    equally frequent; 1 if there is none to tell. Returns a number.
    """
    return nats_per_code * places / math.log(2) + math.log2(classes)


def frechet_distance(features, others):
    """Squared Fréchet distance between the Gaussians fitted to two sets of features; 0 for equal sets.

    features, others: (n, d) and (m, d), n and m well above d. Returns a float, in the features' own unit.
    Source: Heusel et al., "GANs trained by a two time-scale update rule", 2017 (there with Inception's features).
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    as_they_are = torch.nn.Identity()  # the features are computed already
    as_they_are.num_features = features.shape[1]
    distance = FrechetInceptionDistance(feature=as_they_are)
    distance.update(features, real=True)
    distance.update(others, real=False)
    return distance.compute().item()


def precision_recall(real, generated, k=3):
    """How much of what is generated looks real, and how much of what is real could be generated.

    real, generated: features (n, d) and (m, d).
    Precision is the share of generated points that lie in a ball around a real point which just reaches
    its k-th nearest real neighbour; recall the same the other way round. Returns two floats in [0, 1].
    Raises ValueError for a set of k points or fewer.
    Source: Kynkäänniemi et al., "Improved precision and recall metric for generative models", 2019.
    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(f"each set needs more than k = {k} points; there are {len(real)} and {len(generated)}.")
    centre = real.mean(dim=0)  # distances between points far from 0 lose digits
    real, generated = real - centre, generated - centre

    def covered(points, references):
        radii = torch.cat(
            [torch.cdist(batch, references).kthvalue(k + 1, dim=1).values for batch in references.split(1000)]
        )  # the nearest of all is the point itself
        return torch.cat([(torch.cdist(batch, references) <= radii).any(dim=1) for batch in points.split(1000)])

    return covered(generated, real).float().mean().item(), covered(real, generated).float().mean().item()
