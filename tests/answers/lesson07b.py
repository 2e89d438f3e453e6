"""Answers to the exercises of lesson 7, part 2."""

import torch
from torch.nn import functional as F

from aecourse import losses, models
from aecourse.exercises.lesson07b import found, fractions_of
from tests.answers import right, wrong

# 7b.1 perplexity


@right("7b.1")
def by_unique(codes, num_codes):
    occurrences = codes.unique(return_counts=True)[1]
    p = occurrences / occurrences.sum()
    return (-(p * p.log()).sum()).exp()


@right("7b.1")
def with_epsilon(codes, num_codes):
    p = fractions_of(codes, num_codes)
    return torch.exp(-torch.sum(p * torch.log(p + 1e-10)))


@right("7b.1")
def with_one_hot(codes, num_codes):
    p = F.one_hot(codes.flatten(), num_codes).double().mean(dim=0)
    return torch.distributions.Categorical(probs=p).entropy().exp().item()


@wrong("7b.1")
def first_thousand_only(codes, num_codes):
    p = fractions_of(codes.flatten()[:1000], num_codes)
    return torch.special.entr(p).sum().exp().item()


# 7b.2 quantize


@right("7b.2")
def fixed(quantizer, z):
    codes, nearest = found(quantizer, z)
    terms = losses.quantization_losses(z, nearest)
    return models.straight_through(z, nearest), codes, *terms


@right("7b.2")
def written_out(quantizer, z):
    z_last = z.permute(0, 2, 3, 1)
    distances = torch.cdist(z_last.reshape(-1, z.shape[1]), quantizer.codebook)
    codes = distances.argmin(dim=1).reshape(z_last.shape[:3])
    nearest = F.embedding(codes, quantizer.codebook).permute(0, 3, 1, 2)
    codebook = F.mse_loss(nearest, z.detach(), reduction="none").sum(dim=(1, 2, 3))
    commitment = F.mse_loss(z, nearest.detach(), reduction="none").sum(dim=(1, 2, 3))
    return [z + nearest.detach() - z.detach(), codes, codebook, commitment]


@wrong("7b.2")
def without_codes(quantizer, z):
    _, nearest = found(quantizer, z)
    return models.straight_through(z, nearest), *losses.quantization_losses(z, nearest)


@wrong("7b.2", "the_bug_itself")
def the_bug_in_other_words(quantizer, z):
    codes, nearest = found(quantizer, z)
    nearest = z + (nearest - z).detach()
    return nearest, codes, *losses.quantization_losses(z, nearest)


# 7b.3 init_statistics


@right("7b.3")
def new_tensors(quantizer):
    quantizer.counts = torch.ones_like(quantizer.counts)
    quantizer.sums = quantizer.codebook.detach().clone()


@right("7b.3")
def two_vectors_each(quantizer):
    quantizer.counts[:] = 2
    quantizer.sums[:] = 2 * quantizer.codebook


@wrong("7b.3")
def doubles(quantizer):
    quantizer.counts = torch.ones(len(quantizer.counts), dtype=torch.float64, device=quantizer.counts.device)
    quantizer.sums.copy_(quantizer.codebook)


# 7b.4 most codes used


@right("7b.4")
def with_a_blank():
    return " 4"


@wrong("7b.4")
def as_a_number():
    return 4


# 7b.5 finite_scalar


@right("7b.5")
def with_channels_last(z, levels):
    last = z.movedim(1, -1)
    scaled = torch.sigmoid(last) * (levels - 1)
    rounded = scaled + (scaled.round() - scaled).detach()
    weights = torch.cat([levels.new_ones(1), levels[:-1]]).cumprod(0)
    codes = (rounded.detach().round().long() * weights).sum(dim=-1)
    return [(rounded / (levels - 1) * 2 - 1).movedim(-1, 1), codes]


@right("7b.5")
def dimension_by_dimension(z, levels):
    values, codes, weight = [], torch.zeros_like(z[:, 0], dtype=torch.int64), 1
    for column, level in zip(z.unbind(dim=1), levels.tolist()):
        squashed = 2 * column.sigmoid() - 1
        digit = ((squashed.detach() + 1) / 2 * (level - 1)).round()
        values.append(squashed + (2 * digit / (level - 1) - 1 - squashed).detach())
        codes = codes + weight * digit.long()
        weight *= level
    return torch.stack(values, dim=1), codes


@right("7b.5")
def by_half_a_tanh(z, levels):
    half = ((levels - 1) / 2).view(-1, 1, 1)
    digits = ((z / 2).tanh() * half + half).detach().round()
    codes = torch.zeros_like(digits[:, 0])
    for j in reversed(range(len(levels))):
        codes = codes * levels[j] + digits[:, j]
    bounded = (z / 2).tanh()
    return bounded - bounded.detach() + digits / half - 1, codes.long()


@wrong("7b.5")
def squashes_in_place(z, levels):
    out = models.finite_scalar(z, levels)
    z.data.sigmoid_()
    return out


# Right on easy inputs only


@wrong("7b.1")
def a_byte_for_a_code(codes, num_codes):
    p = fractions_of(codes.to(torch.uint8).long(), num_codes)
    return torch.special.entr(p).sum().exp().item()


@wrong("7b.3")
def switches_gradients_off_for_good(quantizer):
    torch.set_grad_enabled(False)
    models.EMAQuantizer.init_statistics(quantizer)
