"""Answers to the exercises of lesson 6, part 2."""

import numpy as np
import torch
from sklearn.metrics import mutual_info_score

from aecourse import latent, losses, metrics
from aecourse.data import draw_sprites, to_float
from aecourse.training import in_batches
from tests.answers import right, wrong

# 6b.1 mutual_information


def table(a, b):
    """Fractions of the pairs (values of a, values of b)."""
    counts = torch.zeros(int(a.max()) + 1, int(b.max()) + 1)
    return counts.index_put_((a, b), torch.ones(len(a)), accumulate=True) / len(a)


@right("6b.1")
def by_entropies(a, b):
    p = table(a, b)
    return sum(torch.special.entr(q).sum() for q in (p.sum(0), p.sum(1))) - torch.special.entr(p).sum()


@right("6b.1")
def with_numpy(a, b):
    joint = np.histogram2d(a.numpy(), b.numpy(), bins=(int(a.max()) + 1, int(b.max()) + 1))[0] / len(a)
    ratio = joint / np.maximum(joint.sum(1, keepdims=True) * joint.sum(0), 1e-300)
    return float((joint * np.log(np.where(joint > 0, ratio, 1))).sum())


right("6b.1")(lambda a, b: float(mutual_info_score(a.numpy(), b.numpy())))


wrong("6b.1")(lambda a, b: table(a, b))
wrong("6b.1")(lambda a, b: [metrics.mutual_information(a, b), a.sub_(1)][0])

# 6b.2 information_gap


@right("6b.2")
def by_sorting(information, entropies):
    ordered = information.sort(dim=0, descending=True).values
    return (ordered[0] - ordered[1]) / entropies


@right("6b.2")
def by_kthvalue(information, entropies):
    second = information.kthvalue(len(information) - 1, dim=0).values
    return (information.amax(dim=0) - second) / entropies


@right("6b.2")
def by_masking_one(information, entropies):
    best = information.max(dim=0)
    rest = information.scatter(0, best.indices[None], -1.0)
    return (best.values - rest.amax(dim=0)) / entropies


wrong("6b.2")(lambda information, entropies: metrics.information_gap(information, entropies).tolist())
wrong("6b.2")(lambda information, entropies: metrics.information_gap(information.double(), entropies.double()))

# 6b.3 capacity_loss


@right("6b.3")
def two_slopes(reconstruction, kl, capacity, gamma=10.0):
    above = kl.mean() - capacity
    return reconstruction.mean() + gamma * (above.clamp(min=0) + (-above).clamp(min=0))


@right("6b.3")
def with_torch_abs(reconstruction, kl, capacity, gamma=10.0):
    return torch.mean(reconstruction) + gamma * torch.abs(capacity - torch.mean(kl))


@right("6b.3")
def by_root_of_square(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity).square().sqrt()


wrong("6b.3")(lambda r, kl, capacity, gamma=10.0: losses.capacity_loss(r, kl, int(capacity), gamma))
wrong("6b.3")(lambda r, kl, capacity, gamma=10.0: losses.capacity_loss(r, kl, capacity, int(gamma)))

# 6b.4 methods or seeds?

right("6b.4")(lambda: " SEEDS")
wrong("6b.4")(lambda: "Neither")
wrong("6b.4")(lambda: ["seeds"])

# 6b.5 attribute_vector


@right("6b.5")
def without_in_batches(model, factors, factor, low, high):
    columns, means = list(factors.T), []
    for value in (low, high):
        columns[factor] = torch.full_like(factors[:, 0], value)
        x = to_float(draw_sprites(torch.stack(columns, dim=1)))
        with torch.no_grad():
            means.append(model.encode(x.to(next(model.parameters()).device))[0].mean(dim=0).cpu())
    return means[1] - means[0]


@right("6b.5")
def one_batch_for_both(model, factors, factor, low, high):
    both = factors.repeat(2, 1)
    both[: len(factors), factor], both[len(factors) :, factor] = low, high
    before, after = in_batches(model.encode, draw_sprites(both))[0].split(len(factors))
    return (after - before).mean(dim=0)


@right("6b.5")
def difference_of_means(model, factors, factor, low, high):
    sets = (factors.index_fill(1, torch.tensor(factor), value) for value in (low, high))
    start, end = (in_batches(model.encode, draw_sprites(changed))[0].mean(dim=0) for changed in sets)
    return end - start


wrong("6b.5")(lambda model, *case: latent.attribute_vector(model.train(), *case))
wrong("6b.5")(lambda model, *case: [latent.attribute_vector(model, *case), model.train()][0])


# Right on easy inputs only


@wrong("6b.2")
def entropies_of_at_least_one_nat(information, entropies):
    return metrics.information_gap(information, entropies.clamp(min=1))
