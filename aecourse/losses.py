"""What the models minimise: pure functions of tensors, one number per image.

Units are those of the whole course: squared error summed over the pixels of an image, likelihoods
and divergences in nats per image. Averaging over the batch is left to the model's `loss`.
"""


def squared_error(x_hat, x):
    """Squared error of each image, summed over its pixels.

    x_hat, x: (batch, ...) of the same shape. Returns (batch,).
    """
    return (x_hat - x).square().flatten(start_dim=1).sum(dim=1)
