"""Answers to the exercises of lesson 8."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from aecourse import models
from aecourse.exercises.lesson08 import kept
from tests.answers import not_asked, right, wrong

# 8.1 causal_mask


for answer in (
    lambda n: torch.arange(n)[:, None] >= torch.arange(n),
    lambda n: nn.Transformer.generate_square_subsequent_mask(n) == 0,
    lambda n: torch.from_numpy(np.tri(n, dtype=bool)),
    lambda n: ~torch.ones(n, n, dtype=torch.bool).triu(diagonal=1),
):
    right("8.1")(answer)


@right("8.1")
def by_loops(n):
    mask = torch.zeros(n, n, dtype=torch.bool)
    for t in range(n):
        mask[t, : t + 1] = True
    return mask


@wrong("8.1")
def rows_of_seven(n):
    mask = models.causal_mask(n)
    mask[7:, 0] = False
    return mask


# 8.2 attention


def scores_of(q, k):
    return q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])


for answer in (
    lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    lambda q, k, v, mask: models.attention(q.double(), k.double(), v.double(), mask).float(),
    lambda q, k, v, mask: (scores_of(q, k) + mask.float().log()).softmax(-1).matmul(v),
):
    right("8.2")(answer)


@right("8.2")
def with_where(q, k, v, mask):
    scores = torch.einsum("...nd,...md->...nm", q, k) * q.size(-1) ** -0.5
    weights = F.softmax(torch.where(mask, scores, -1e9), dim=-1)
    return torch.einsum("...nm,...md->...nd", weights, v)


@right("8.2")
def row_by_row(q, k, v, mask):
    rows = []
    for t, allowed in enumerate(mask):
        weights = scores_of(q[..., t : t + 1, :], k[..., allowed, :]).softmax(dim=-1)
        rows.append(weights @ v[..., allowed, :])
    return torch.cat(rows, dim=-2)


@right("8.2")
def renormalised(q, k, v, mask):
    scores = scores_of(q, k)
    weights = (scores - scores.masked_fill(~mask, -torch.inf).amax(dim=-1, keepdim=True)).clamp(max=0).exp() * mask
    return weights @ v / weights.sum(dim=-1, keepdim=True)


@wrong("8.2", "bare_exponentials")
def the_formula_as_it_stands(q, k, v, mask):
    weights = torch.where(mask, torch.exp(scores_of(q, k)), 0)
    return torch.einsum("...nm,...md->...nd", weights / weights.sum(-1, keepdim=True), v)


@wrong("8.2")
def maximum_of_masked_scores(q, k, v, mask):
    scores = scores_of(q, k)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp() * mask
    return weights / weights.sum(dim=-1, keepdim=True) @ v


# 8.3 shift


@right("8.3")
def longer_then_cut(codes, start):
    return torch.hstack([start.view(-1, 1), codes])[:, :-1]


@right("8.3")
def row_by_row_in_lists(codes, start):
    rows = [[first, *row[:-1]] for first, row in zip(start.tolist(), codes.tolist())]
    return torch.tensor(rows, device=codes.device)


@right("8.3")
def by_padding(codes, start):
    return F.pad(codes, (1, -1)).index_copy(1, torch.zeros(1, dtype=torch.int64, device=codes.device), start[:, None])


@wrong("8.3", "the_bug_itself")
def the_bug_in_other_words(codes, start):
    return torch.cat([start[:, None], codes[:, 1:]], dim=1)


# 8.4 bits_per_image


for answer in (
    lambda nats, positions=49, num_classes=1: (positions * nats + math.log(num_classes)) / math.log(2),
    lambda nats, positions=49, num_classes=1: (
        torch.tensor((nats * positions) / 0.6931471805599453) + torch.tensor(float(num_classes)).log2()
    ),
    lambda nats, positions=49, num_classes=1: np.log2(np.exp(nats)) * positions + np.log2(num_classes),
):
    right("8.4")(answer)


# 8.5 next_code

not_asked("8.5", "next_code moves the random state")  # it samples


@right("8.5")
def by_gumbel_noise(logits, temperature=1.0, top_k=None):
    noise = -torch.empty_like(logits).exponential_().log()
    return (kept(logits, top_k) / temperature + noise).argmax(dim=-1)


@right("8.5")
def by_categorical(logits, temperature=1.0, top_k=None):
    return torch.distributions.Categorical(logits=kept(logits / temperature, top_k)).sample()


@right("8.5")
def among_the_top(logits, temperature=1.0, top_k=None):
    values, codes = logits.topk(top_k or logits.shape[-1], dim=-1)
    return codes.gather(1, torch.multinomial(F.softmax(values / temperature, dim=-1), 1)).flatten()


@wrong("8.5")
def whole_temperatures(logits, temperature=1.0, top_k=None):
    return models.next_code(logits, max(int(temperature), 0.37), top_k)


@wrong("8.5")
def one_random_number_for_all(logits, temperature=1.0, top_k=None):
    chances = (kept(logits, top_k) / temperature).softmax(dim=-1).cumsum(dim=-1)
    return (torch.rand(1, device=logits.device) >= chances).sum(dim=-1).clamp(max=logits.shape[-1] - 1)


# 8.6 colder


right("8.6")(lambda: " FARTHER ")


# Right on easy inputs only


MASKS = {}


@wrong("8.1")
def the_same_tensor_in_every_call(n):
    return MASKS.setdefault(n, models.causal_mask(n))
