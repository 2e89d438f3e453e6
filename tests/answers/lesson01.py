"""Answers to the exercises of lesson 1."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aecourse import losses, models
from aecourse.models import Autoencoder
from tests.answers import not_asked, right, wrong

# 1.1 squared_error


@right("1.1")
def with_mse_loss(x_hat, x):
    return F.mse_loss(x_hat, x, reduction="none").flatten(1).sum(1)


@right("1.1")
def with_norm(x_hat, x):
    return (x_hat - x).flatten(1).norm(dim=1) ** 2


@right("1.1")
def image_by_image(x_hat, x):
    return torch.stack([((a - b) ** 2).sum() for a, b in zip(x_hat, x)])


@wrong("1.1", "writes_into_x_hat")
def subtracts_in_place(x_hat, x):
    return x_hat.sub_(x).square().flatten(1).sum(1)


@wrong("1.1")
def wrong_shape_inside(x_hat, x):
    return (x_hat - x).view(-1, 100).sum(1)


# 1.2 DenseAutoencoder


@right("1.2")
class InALoop(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        sizes = 784, 256, 128, latent_dim
        down = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in zip(sizes, sizes[1:])]
        up = [nn.Sequential(nn.Linear(b, a), nn.LeakyReLU(0.0)) for a, b in zip(sizes, sizes[1:])][::-1]
        self.encoder = nn.Sequential(nn.Flatten(), *down[:2], down[2][0])
        self.decoder = nn.Sequential(*up[:2], up[2][0], nn.Sigmoid(), nn.Unflatten(-1, (1, 28, 28)))


@right("1.2")
class DecoderDeclaredFirst(Autoencoder):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.up = nn.ModuleList([nn.Linear(latent_dim, 128), nn.Linear(128, 256), nn.Linear(256, 784)])
        self.down = nn.ModuleList([nn.Linear(784, 256), nn.Linear(256, 128), nn.Linear(128, latent_dim)])

    def encode(self, x):
        return self.down[2](self.down[1](self.down[0](x.flatten(1)).relu()).relu())

    def decode(self, z):
        return self.up[2](self.up[1](self.up[0](z).relu()).relu()).sigmoid().unflatten(1, (1, 28, 28))


@wrong("1.2")
class SkipsALayer(models.DenseAutoencoder):
    def __init__(self, latent_dim=32):
        super().__init__(latent_dim)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, latent_dim))


@wrong("1.2", "NoSecondRelu")
class NoSecondReluUnderOtherNames(DecoderDeclaredFirst):
    def encode(self, x):
        return self.down[2](self.down[1](self.down[0](x.flatten(1)).relu()))


# 1.3 count_parameters


@right("1.3")
def with_numpy(model):
    return sum(np.prod(p.shape) for p in model.parameters() if p.requires_grad)


@right("1.3")
def in_a_loop(model):
    total = 0
    for p in model.parameters():
        if p.requires_grad:
            total += p.shape.numel()
    return total


@wrong("1.3")
def returns_a_float(model):
    return float(models.count_parameters(model))


# 1.4 reconstruction_loss


@right("1.4")
def with_squared_error(model, x):
    return losses.squared_error(model(x), x).mean()


@right("1.4")
def encodes_and_decodes(model, x):
    return losses.squared_error(model.decode(model.encode(x)) if hasattr(model, "encode") else model(x), x).mean()


@right("1.4")
def mean_times_pixels(model, x):
    return F.mse_loss(model(x), x) * x[0].numel()


@wrong("1.4", "the_bug_itself")
def the_bug_in_other_words(model, x):
    return ((model(x) - x.squeeze(1)) ** 2).sum() / x.shape[0]


# 1.5 which has the larger error?


@right("1.5")
def capital():
    return " Shift"


@wrong("1.5")
def neither_of_the_texts():
    return "both"


@wrong("1.5")
def no_text():
    return 1


# 1.6 SparseAutoencoder

not_asked("1.6", "loss detached (1)", "loss detached (2)")  # training takes the gradient of the loss alone


@right("1.6")
class InOtherWords(models.SparseAutoencoder):
    def encode(self, x):
        return torch.clamp(self.encoder(x), min=0)

    def loss(self, x):
        z = self.encode(x)
        l1 = z.norm(p=1, dim=1).mean()
        reconstruction = F.mse_loss(self.decode(z), x, reduction="sum") / len(x)
        return {"reconstruction": reconstruction, "l1": l1, "loss": self.penalty * l1 + reconstruction}


@right("1.6")
class ReportsDetached(models.SparseAutoencoder):
    def loss(self, x):
        terms = super().loss(x)
        return {name: value if name == "loss" else value.detach() for name, value in terms.items()}


@right("1.6")
class WithoutAbs(models.SparseAutoencoder):
    def loss(self, x):
        z = self.encode(x)  # never negative, so |z| = z
        terms = Autoencoder.loss(self, x)
        l1 = z.sum() / len(z)
        return terms | {"l1": l1, "loss": terms["loss"] + self.penalty * l1}


@wrong("1.6")
class ExtraFloat(models.SparseAutoencoder):
    def loss(self, x):
        return super().loss(x) | {"penalty": self.penalty}


@wrong("1.6")
class ClampedCode(models.SparseAutoencoder):
    def encode(self, x):
        return super().encode(x).clamp(0, 4)


# Right on easy inputs only


@wrong("1.1")
def clamps_the_reconstruction(x_hat, x):
    return losses.squared_error(x_hat.clamp(0, 1), x)


@wrong("1.3")
def counts_shared_weights_twice(model):
    return sum(p.numel() for m in model.modules() for p in m.parameters(recurse=False) if p.requires_grad)


@wrong("1.6")
class PenaltyInTrainingAlone(models.SparseAutoencoder):
    def loss(self, x):
        terms = super().loss(x)
        return terms if self.training else terms | {"loss": terms["reconstruction"]}
