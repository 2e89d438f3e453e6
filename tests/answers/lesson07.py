"""Answers to the exercises of lesson 7."""

import torch
from torch.nn import functional as F

from aecourse import losses, models
from aecourse.exercises.lesson07 import GivenQuantizer, added_up
from tests.answers import not_asked, right, wrong

# 7.1 nearest_code

not_asked("7.1", "nearest_code detaches input 0", "nearest_code detaches input 1")  # indices have no gradient

right("7.1")(lambda z, codebook: torch.cdist(z, codebook).argmin(dim=-1))
wrong("7.1")(lambda z, codebook: torch.cdist(z.round(), codebook).argmin(dim=1))
wrong("7.1")(lambda z, codebook: models.nearest_code(z, codebook).to(torch.uint8).long())


@right("7.1")
def one_by_one(z, codebook):
    return torch.tensor([int((row - codebook).square().sum(dim=1).argmin()) for row in z])


@right("7.1")
def in_chunks(z, codebook):
    return torch.cat([(part[:, None] - codebook).square().sum(2).argmin(1) for part in z.split(64)])


# 7.2 straight_through

not_asked("7.2", "straight_through detaches input 1")  # quantized is to get no gradient

right("7.2")(lambda z, quantized: quantized.detach() + z - z.detach())
right("7.2")(lambda z, quantized: quantized.detach() + (z - z.detach()))
right("7.2")(lambda z, quantized: z.add(quantized.data - z.data))
wrong("7.2", "the_bug_itself")(lambda z, quantized: z)
wrong("7.2", "the_bug_itself")(lambda z, quantized: z + quantized - quantized.detach())


# 7.3 quantization_losses


def of_both(loss):
    """An answer: the same function of the tensors on either side, one of them detached."""
    return lambda z, quantized: (loss(quantized, z.detach()), loss(z, quantized.detach()))


right("7.3")(of_both(lambda a, b: F.mse_loss(a, b, reduction="none").flatten(1).sum(1)))
right("7.3")(of_both(lambda a, b: torch.stack([F.mse_loss(*pair, reduction="sum") for pair in zip(a, b)])))
right("7.3")(of_both(lambda a, b: torch.einsum("bdhw,bdhw->b", a - b, a - b)))
wrong("7.3")(of_both(lambda a, b: losses.squared_error(a, b) / len(a)))
wrong("7.3")(of_both(lambda a, b: -losses.squared_error(a, b)))


# 7.4 VectorQuantizer

# init_codebook is given in the cell: it samples, and nothing asks it to leave no hook
not_asked("7.4", "init_codebook moves the random state", "init_codebook leaves a hook")


@right("7.4")
class ImageByImage(GivenQuantizer):
    def forward(self, z):
        rows = z.flatten(2).mT  # (batch, positions, dim)
        if self.training and not bool(self.initialized):
            self.init_codebook(rows.reshape(-1, self.dim).detach())
        codes = torch.stack([torch.cdist(image, self.codebook).argmin(1) for image in rows]).unflatten(1, z.shape[2:])
        return list(self.put_together(z, codes, self.lookup(codes)))


@right("7.4")
class LossesWithTheAxisLast(GivenQuantizer):
    def put_together(self, z, codes, quantized):
        both = losses.quantization_losses(z.movedim(1, -1), self.codebook[codes])
        return models.straight_through(z, quantized), codes, *both


@right("7.4")
class Inherits(models.VectorQuantizer):
    def forward(self, z):
        return super(type(self), self).forward(z)


@wrong("7.4")
class SetsOnlyInitialized(GivenQuantizer):
    def initialise(self, rows):
        self.initialized.fill_(True)


@wrong("7.4")
class QuantisesInTrainingOnly(GivenQuantizer):
    def put_together(self, z, codes, quantized):
        return super().put_together(z, codes, quantized if self.training else z)


# 7.5 vq_loss

wrong("7.5")(lambda model, x: model.loss(x))
wrong("7.5")(lambda model, x: models.VQVAE.loss(model, x) | {"codes": model.encode(x)})


@right("7.5")
def with_mse_loss(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    r = F.mse_loss(model.decoder(quantized), x, reduction="sum") / len(x)
    e, c = codebook.sum() / len(x), commitment.sum() / len(x)
    weights = torch.tensor([1.0, 1.0, model.beta], device=x.device)
    return {"loss": weights @ torch.stack([r, e, c]), "reconstruction": r, "codebook": e, "commitment": c}


@right("7.5")
def per_image_to_the_end(model, x):
    quantized, codes, *both = model.quantizer(model.encoder(x))
    e = losses.squared_error(model.decoder(quantized), x)
    loss = (e + both[0] + model.beta * both[1]).mean()
    return dict(commitment=both[1].mean(), codebook=both[0].mean(), reconstruction=e.mean(), loss=loss)


@right("7.5")
def quantises_twice(model, x):
    z = model.encoder(x)
    return added_up(model, x, model.decoder(model.quantizer(z)[0]), *model.quantizer(z)[2:])


# 7.6 a heavy commitment

right("7.6")(lambda: " Less")
wrong("7.6")(lambda: "fewer")
wrong("7.6")(lambda: ("less", "nothing"))


# Right on easy inputs only


@wrong("7.3")
def views_what_need_not_be_contiguous(z, quantized):
    pairs = (quantized, z.detach()), (z, quantized.detach())
    return [(a.view(len(z), -1) - b.view(len(z), -1)).square().sum(1) for a, b in pairs]


@wrong("7.2")
def quantises_only_where_gradients_flow(z, quantized):
    return models.straight_through(z, quantized) if z.requires_grad else z
