"""How good is it? Squared error per pixel, decibels, and what the codes know of the labels."""

import torch


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


def active_units(mu, threshold=0.01):
    """Which numbers of the code answer to the image: those whose mean varies from image to image.

    mu: (n, latent), the posterior means of n images. Returns (latent,) of booleans: variance > threshold.
    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015.
    """
    return mu.var(dim=0) > threshold


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
    Source: Kynkäänniemi et al., "Improved precision and recall metric for generative models", 2019.
    """

    def covered(points, references):
        radii = torch.cat(
            [torch.cdist(batch, references).kthvalue(k + 1, dim=1).values for batch in references.split(1000)]
        )  # the nearest of all is the point itself
        return torch.cat([(torch.cdist(batch, references) <= radii).any(dim=1) for batch in points.split(1000)])

    return covered(generated, real).float().mean().item(), covered(real, generated).float().mean().item()
