"""Answers to the exercises of lesson 7."""

import torch
from torch.nn import functional as F

from aecourse import losses, models
from aecourse.exercises.lesson07 import GivenQuantizer, added_up, weighed
from tests.answers import not_asked, right, wrong

# 7.1 nearest_code

not_asked("7.1", "nearest_code detaches input 0", "nearest_code detaches input 1")  # indices have no gradient

right("7.1")(lambda z, codebook: torch.cdist(z, codebook).argmin(dim=-1))
wrong("7.1")(lambda z, codebook: torch.cdist(z.round(), codebook).argmin(dim=1))
wrong("7.1")(lambda z, codebook: models.nearest_code(z, codebook).to(torch.uint8).long())
wrong("7.1")(lambda z, codebook: models.nearest_code(z, codebook[:128]))
wrong("7.1")(lambda z, e: models.nearest_code(z, e if len(z) in (1, 200, 2000) else e / z.std()))
wrong("7.1")(lambda z, codebook: (-torch.cdist(z, codebook).square()).exp().argmax(dim=1))  # all 0 where z is far away
wrong("7.1", "differences")(lambda z, e: (z.unsqueeze(1) - e.unsqueeze(0)).norm(dim=-1).min(dim=-1).indices)


@right("7.1")
def one_by_one(z, codebook):
    return torch.tensor([int((row - codebook).square().sum(dim=1).argmin()) for row in z])


@right("7.1")
def with_all_three_terms(z, codebook):
    d = (z**2).sum(1, keepdim=True) + (codebook**2).sum(1) - 2 * torch.einsum("nd,kd->nk", z, codebook)
    return d.min(dim=1).indices


@right("7.1")
def largest_score(z, codebook):
    score = torch.addmm(-0.5 * codebook.square().sum(dim=1), z, codebook.t())
    return score.topk(1).indices[:, 0]


@right("7.1")
def in_chunks(z, codebook):
    return torch.cat([(part[:, None] - codebook).square().sum(2).argmin(1) for part in z.split(64)])


@right("7.1")
def with_numpy_detached(z, codebook):
    z, codebook = z.detach().numpy(), codebook.detach().numpy()
    return torch.from_numpy(((codebook**2).sum(1) - 2 * z @ codebook.T).argmin(1))


# 7.2 straight_through

not_asked("7.2", "straight_through detaches input 1")  # quantized is to get no gradient

right("7.2")(lambda z, quantized: quantized.detach() + z - z.detach())
right("7.2")(lambda z, quantized: quantized.detach() + (z - z.detach()))
right("7.2")(lambda z, quantized: z.add(quantized.data - z.data))
wrong("7.2", "the_bug_itself")(lambda z, quantized: z)
wrong("7.2", "the_bug_itself")(lambda z, quantized: z + quantized - quantized.detach())
wrong("7.2", "the_bug_itself")(lambda z, quantized: z.detach())
wrong("7.2")(lambda z, quantized: z.detach_() + (quantized - z).detach())
wrong("7.2")(lambda z, quantized: z + quantized.detach_() - z.detach())


class Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, quantized):
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Clipped(Through):
    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-1, 1), None


right("7.2")(lambda z, quantized: Through.apply(z, quantized))
wrong("7.2")(lambda z, quantized: Clipped.apply(z, quantized))


@right("7.2")
def within_no_grad(z, quantized):
    with torch.no_grad():
        step = quantized - z
    return z + step


@right("7.2")
def with_values_written_over(z, quantized):
    out = z.clone()
    out.data.copy_(quantized)
    return out


@wrong("7.2")
def with_a_hook(z, quantized):  # which a tensor has only where gradients are wanted
    out = z.clone()
    out.register_hook(lambda gradient: gradient)
    return out + (quantized - z).detach()


# 7.3 quantization_losses


def of_both(loss):
    """An answer: the same function of the tensors on either side, one of them detached."""
    return lambda z, quantized: (loss(quantized, z.detach()), loss(z, quantized.detach()))


right("7.3")(of_both(lambda a, b: F.mse_loss(a, b, reduction="none").flatten(1).sum(1)))
right("7.3")(of_both(lambda a, b: torch.stack([F.mse_loss(*pair, reduction="sum") for pair in zip(a, b)])))
right("7.3")(of_both(lambda a, b: torch.einsum("bdhw,bdhw->b", a - b, a - b)))
right("7.3")(of_both(lambda a, b: a[0].numel() * (a - b).pow(2).mean(dim=(1, 2, 3))))
right("7.3")(of_both(lambda a, b: torch.cdist(a.flatten(1)[:, None], b.flatten(1)[:, None])[:, 0, 0] ** 2))
right("7.3")(of_both(lambda a, b: torch.linalg.vector_norm(a - b, dim=(1, 2, 3)) ** 2))
right("7.3")(lambda z, quantized: torch.stack(losses.quantization_losses(z, quantized)))
wrong("7.3")(of_both(lambda a, b: losses.squared_error(a, b) / len(a)))
wrong("7.3")(of_both(lambda a, b: -losses.squared_error(a, b)))
wrong("7.3")(of_both(lambda a, b: (a - b).norm(dim=1).sum((1, 2))))
wrong("7.3")(of_both(lambda a, b: losses.squared_error(a, b).sqrt().square()))  # nan where an image is on its codes
wrong("7.3", "batch_mean")(of_both(lambda a, b: F.mse_loss(a, b, reduction="sum") / len(a)))
wrong("7.3", "swaps")(lambda z, quantized: of_both(losses.squared_error)(quantized, z))
wrong("7.3")(lambda z, quantized: (losses.squared_error(quantized, z.detach_()), losses.squared_error(z, quantized)))


# 7.4 VectorQuantizer

# start stands in the cell as it is given: it samples, and nothing asks it to leave no hook
not_asked("7.4", "start moves the random state", "start leaves a hook")


@right("7.4")
class FromScratch(GivenQuantizer):
    def forward(self, z):
        b, d, h, w = z.shape
        rows = z.permute(0, 2, 3, 1).contiguous().view(-1, d)
        if self.training and not self.started:
            self.start(rows)
        square = (rows**2).sum(1, keepdim=True) + (self.codebook**2).sum(1) - 2 * rows @ self.codebook.t()
        codes = square.argmin(dim=1).view(b, h, w)
        quantized = F.embedding(codes, self.codebook).permute(0, 3, 1, 2)
        pairs = (quantized, z.detach()), (quantized.detach(), z)
        return z + (quantized - z).detach(), codes, *(((x - y) ** 2).sum(dim=(1, 2, 3)) for x, y in pairs)


@right("7.4")
class ImageByImage(GivenQuantizer):
    def forward(self, z):
        rows = z.flatten(2).mT  # (batch, positions, dim)
        if self.training and not bool(self.started):
            self.start(rows.reshape(-1, self.dim).detach())
        codes = torch.stack([torch.cdist(image, self.codebook).argmin(1) for image in rows]).unflatten(1, z.shape[2:])
        return list(self.put_together(z, codes, self.lookup(codes)))


@right("7.4")
class WithOneHotRows(GivenQuantizer):
    def forward(self, z):
        if self.training and not self.started:
            self.start(z.movedim(1, 3).reshape(-1, z.size(1)))
        differences = z[:, None] - self.codebook[:, :, None, None]  # (batch, codes, dim, height, width)
        codes = differences.square().sum(dim=2).argmin(dim=1)
        quantized = torch.einsum("bhwk,kd->bdhw", F.one_hot(codes, len(self.codebook)).to(z), self.codebook)
        return Through.apply(z, quantized), codes, *losses.quantization_losses(z, quantized)


@right("7.4")
class LossesWithTheAxisLast(GivenQuantizer):
    def put_together(self, z, codes, quantized):
        both = losses.quantization_losses(z.movedim(1, -1), self.codebook[codes])
        return models.straight_through(z, quantized), codes, *both


@right("7.4")
class Inherits(models.VectorQuantizer):
    def forward(self, z):
        return super(type(self), self).forward(z)


@wrong("7.4", "StartsEveryTime")
class RemembersByItself(GivenQuantizer):  # and so starts anew when it is loaded
    def needs_start(self):
        first, self.seen = not hasattr(self, "seen"), True
        return self.training and first


@wrong("7.4")
class SaysOnlyThatItStarted(GivenQuantizer):
    def begin(self, rows):
        self.started.fill_(True)


@wrong("7.4")
class ForgetsThatItStarted(GivenQuantizer):
    def begin(self, rows):
        self.start(rows)
        self.started.fill_(False)


@wrong("7.4")
class QuantisesInTrainingOnly(GivenQuantizer):
    def put_together(self, z, codes, quantized):
        return super().put_together(z, codes, quantized if self.training else z)


# 7.5 vq_loss

wrong("7.5")(lambda model, x: model.loss(x))
wrong("7.5")(lambda model, x: models.VQVAE.loss(model, x) | {"codes": model.encode(x)})
wrong("7.5")(lambda model, x: models.VQVAE.loss(model.eval(), x))
wrong("7.5")(lambda model, x: setattr(model, "beta", 0.25) or models.VQVAE.loss(model, x))


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


@wrong("7.5")
def computes_the_losses_anew(model, x):
    z = model.encoder(x)
    quantized, codes, *_ = model.quantizer(z)
    return added_up(model, x, model.decoder(quantized), *losses.quantization_losses(z, model.quantizer.lookup(codes)))


wrong("7.5", "the_bug_as_given")(weighed(lambda b, r, e, c: r + b * e + c))
wrong("7.5")(weighed(lambda b, r, e, c: r + e + b * b * c))
wrong("7.5")(weighed(lambda b, r, e, c: r + (1 - b) * e + b * c))
wrong("7.5")(weighed(lambda b, r, e, c: r / 784 + e + b * c))

# 7.6 a heavy commitment

right("7.6")(lambda: " Less")
wrong("7.6")(lambda: "fewer")
wrong("7.6")(lambda: ("less", "nothing"))
