"""Exercises of lesson 6, part 2: wrong answers that are refused, right ones that are accepted."""

import math

import numpy as np
import torch

from aecourse import metrics
from aecourse.data import to_float
from aecourse.exercises import lesson06b
from aecourse.sprites import draw_sprites
from aecourse.training import in_batches
from tests.gallery import Gallery, gallery_tests

information, gap, capacity_, predict, attribute = galleries = [Gallery(f"6b.{i}") for i in range(1, 6)]


# 6b.1 mutual_information


def table(a, b):
    """Shares of the pairs (values of a, values of b)."""
    counts = torch.zeros(int(a.max()) + 1, int(b.max()) + 1)
    counts.index_put_((a, b), torch.ones(len(a)), accumulate=True)
    return counts / len(a)


def terms(joint, inside):
    """Σ p(a, b) log inside, where pairs occur."""
    return (joint * inside.log())[joint > 0].sum()


@information.wrong("those are bits")
def in_bits(a, b):
    return metrics.mutual_information(a, b) / math.log(2)


@information.wrong("right but for its sign")
def sign_of_an_entropy(a, b):
    return -metrics.mutual_information(a, b)


@information.wrong("6 times too large")
def counts_outside_the_logarithm(a, b):
    return len(a) * metrics.mutual_information(a, b)


@information.wrong("the entropy of the pairs")
def joint_entropy(a, b):
    joint = table(a, b)
    return -terms(joint, joint).item()


@information.wrong("that is H(a) + H(b)")
def forgets_the_joint_inside(a, b):
    joint = table(a, b)
    return -terms(joint, joint.sum(1, keepdim=True) * joint.sum(0)).item()


@information.wrong("that is H(a), all there is")
def entropy_of_a(a, b):
    p = torch.bincount(a) / len(a)
    return -(p * p.log()).sum().item()


@information.wrong("that is H(b), all there is")
def divides_by_one_marginal_of_itself(a, b):
    return metrics.mutual_information(b, b)


@information.wrong("is nan")
def forgets_zero_log_zero(a, b):
    joint = table(a, b)
    return (joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log()).sum().item()


@information.wrong("is None. Is there a return, in every case?")
def prints_it(a, b):
    print(metrics.mutual_information(a, b))


@information.wrong("of the shape (3, 2); a number is wanted")
def returns_the_table(a, b):
    joint = table(a, b)
    return joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).clamp(min=1e-9).log()


@information.wrong("share is 0.4621 nats; yours is")
def small_number_added(a, b):
    joint = table(a, b) + 0.01
    return terms(joint, joint / (joint.sum(1, keepdim=True) * joint.sum(0))).item()


@information.wrong("0 0 0 1 1 1 0 1 and 0 0 0 0 1 1 1 2 share is")
def counts_with_the_values_of_a(a, b):
    values = int(a.max()) + 1
    joint = torch.bincount(a * values + b).float() / len(a)
    joint = torch.cat([joint, torch.zeros(-len(joint) % values)]).view(-1, values)
    return terms(joint, joint / (joint.sum(1, keepdim=True) * joint.sum(0))).item()


@information.wrong("are rare pairs lost?")
def drops_rare_pairs(a, b):
    joint = table(a, b)
    seen = joint > 0.0012
    return (joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log())[seen].sum().item()


@information.wrong("changes its input in place")
def sorts_the_input(a, b):
    result = metrics.mutual_information(a, b)
    a.sub_(1)
    return result


@information.right
def by_entropies(a, b):
    def entropy(p):
        return -(p[p > 0] * p[p > 0].log()).sum()

    joint = table(a, b)
    return entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.flatten())


@information.right
def by_unique_pairs(a, b):
    total = 0.0
    for x, y in torch.stack([a, b], 1).unique(dim=0).tolist():
        both, p, q = ((a == x) & (b == y)).double().mean(), (a == x).double().mean(), (b == y).double().mean()
        total += (both * (both / (p * q)).log()).item()
    return total


@information.right
def with_scikit_learn(a, b):
    from sklearn.metrics import mutual_info_score

    return float(mutual_info_score(a.numpy(), b.numpy()))


@information.right
def with_numpy(a, b):
    joint = np.histogram2d(a.numpy(), b.numpy(), bins=(int(a.max()) + 1, int(b.max()) + 1))[0] / len(a)
    ratio = joint / np.maximum(joint.sum(1, keepdims=True) * joint.sum(0), 1e-300)
    return float((joint * np.log(np.where(joint > 0, ratio, 1))).sum())


@information.right
def with_xlogy(a, b):
    joint = table(a, b).double()
    independent = joint.sum(1, keepdim=True) * joint.sum(0)
    return (torch.xlogy(joint, joint) - torch.xlogy(joint, independent)).sum()


# 6b.2 information_gap


def best_two(information):
    return information.topk(2, dim=0).values


@gap.wrong("a gap is a share of the factor's entropy")
def forgets_the_entropy(information, entropies):
    best, second = best_two(information)
    return best - second


@gap.wrong("right but for its sign")
def smallest_first(information, entropies):
    second, best = information.sort(dim=0).values[-2:]
    return (second - best) / entropies


@gap.wrong("that is the best number alone")
def best_alone(information, entropies):
    return information.amax(dim=0) / entropies


@gap.wrong("between the best and the third")
def counts_from_zero(information, entropies):
    ordered = information.sort(dim=0, descending=True).values
    return (ordered[0] - ordered[2]) / entropies


@gap.wrong("between the best and the worst")
def range_of_all(information, entropies):
    return (information.amax(dim=0) - information.amin(dim=0)) / entropies


@gap.wrong("between the best and the mean")
def against_the_mean(information, entropies):
    return (information.amax(dim=0) - information.mean(dim=0)) / entropies


@gap.wrong("divided by the best number's information")
def relative_to_the_best(information, entropies):
    best, second = best_two(information)
    return (best - second) / best


@gap.wrong("divided by the sum of the entropies")
def normalises_once(information, entropies):
    best, second = best_two(information)
    return (best - second) / entropies.sum()


@gap.wrong("divided by the largest entropy")
def by_the_largest_entropy(information, entropies):
    best, second = best_two(information)
    return (best - second) / entropies.max()


@gap.wrong("row 0 minus row 1")
def forgets_to_sort(information, entropies):
    return (information[0] - information[1]) / entropies


@gap.wrong("it looks along the factors")
def wrong_axis_cut(information, entropies):
    best, second = information.topk(2, dim=1).values.T
    return (best - second)[: len(entropies)] / entropies


@gap.wrong("it is one number")
def mean_already(information, entropies):
    best, second = best_two(information)
    return ((best - second) / entropies).mean()


@gap.wrong("must match the size")
def wrong_axis(information, entropies):
    best, second = information.topk(2, dim=1).values.T
    return (best - second) / entropies


@gap.wrong("is a list; a tensor is wanted")
def a_list(information, entropies):
    best, second = best_two(information)
    return ((best - second) / entropies).tolist()


@gap.wrong("changes its input in place")
def wipes_out_the_best(information, entropies):
    best = information.amax(dim=0)
    information[information == best] = 0
    return (best - information.amax(dim=0)) / entropies


@gap.wrong("yours are 0.500, 0.050, 0.050")
def wipes_out_all_of_the_best(information, entropies):
    best = information.amax(dim=0)
    rest = torch.where(information == best, 0.0, information)
    return (best - rest.amax(dim=0)) / entropies


@gap.right
def by_sorting(information, entropies):
    ordered = information.sort(dim=0, descending=True).values
    return (ordered[0] - ordered[1]) / entropies


@gap.right
def factor_by_factor(information, entropies):
    gaps = []
    for column, entropy in zip(information.T, entropies):
        second, best = sorted(column.tolist())[-2:]
        gaps.append((best - second) / entropy.item())
    return torch.tensor(gaps)


@gap.right
def by_kthvalue(information, entropies):
    second = information.kthvalue(len(information) - 1, dim=0).values
    return (information.amax(dim=0) - second) / entropies


@gap.right
def by_masking_one(information, entropies):
    best = information.max(dim=0)
    rest = information.scatter(0, best.indices[None], -1.0)
    return (best.values - rest.amax(dim=0)) / entropies


# 6b.3 capacity_loss


@capacity_.wrong("the bug is still there: with 5 nats of KL where 7 are wanted the loss is 20")
def the_bug_itself(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity)


@capacity_.wrong("nothing is charged")
def one_sided(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity).clamp(min=0)


@capacity_.wrong("every single image is held to the capacity")
def per_image(reconstruction, kl, capacity, gamma=10.0):
    return (reconstruction + gamma * (kl - capacity).abs()).mean()


@capacity_.wrong("the distance is squared")
def squared(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity).square()


@capacity_.wrong("it is a loss for each image")
def no_mean_of_the_reconstruction(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction + gamma * (kl.mean() - capacity).abs()


@capacity_.wrong("is not multiplied by gamma")
def forgets_gamma(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + (kl.mean() - capacity).abs()


@capacity_.wrong("is gamma used?")
def gamma_is_ten(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + 10 * (kl.mean() - capacity).abs()


@capacity_.wrong("it adds up the batch")
def sums_over_the_batch(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.sum() + gamma * (kl.sum() - capacity).abs()


@capacity_.wrong("make a loss of 60; yours is 420")
def gamma_on_everything(reconstruction, kl, capacity, gamma=10.0):
    return gamma * (reconstruction.mean() + (kl.mean() - capacity).abs())


@capacity_.wrong("make a loss of 60; yours is 90")
def forgets_the_capacity(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * kl.mean()


@capacity_.wrong("no gradient comes through")
def as_a_number(reconstruction, kl, capacity, gamma=10.0):
    return torch.tensor(lesson06b.capacity_loss(reconstruction, kl, capacity, gamma).item())


@capacity_.wrong("is a float; a tensor is wanted")
def as_a_float(reconstruction, kl, capacity, gamma=10.0):
    return lesson06b.capacity_loss(reconstruction, kl, capacity, gamma).item()


@capacity_.wrong("the gradient of the mean KL is -10; yours is 0")
def detached_distance(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity).abs().detach() + 0 * kl.sum()


@capacity_.wrong("the gradient of the mean KL is -10; yours is 10")
def wrong_way(reconstruction, kl, capacity, gamma=10.0):
    distance = (kl.mean() - capacity).abs()
    return reconstruction.mean() + gamma * (2 * distance.detach() - distance)


@capacity_.right
def two_slopes(reconstruction, kl, capacity, gamma=10.0):
    above = kl.mean() - capacity
    return reconstruction.mean() + gamma * (above.clamp(min=0) + (-above).clamp(min=0))


@capacity_.right
def with_torch_abs(reconstruction, kl, capacity, gamma=10.0):
    return torch.mean(reconstruction) + gamma * torch.abs(capacity - torch.mean(kl))


@capacity_.right
def by_root_of_square(reconstruction, kl, capacity, gamma=10.0):
    return reconstruction.mean() + gamma * (kl.mean() - capacity).square().sqrt()


@capacity_.right
def by_maximum(reconstruction, kl, capacity, gamma=10.0):
    above = kl.sum() / len(kl) - capacity
    return reconstruction.sum() / len(kl) + gamma * torch.maximum(above, -above)


# 6b.4 prediction


@predict.wrong("neither term knows an axis")
def methods_matter():
    return "methods"


@predict.wrong('"neither" is none of')
def no_difference():
    return "Neither"


@predict.wrong('"beta" is none of')
def another_word():
    return "beta"


@predict.wrong("you answer None;")
def says_it_only():
    print("seeds")


@predict.wrong("you answer 3;")
def a_number():
    return 3


@predict.wrong("you answer ['seeds'];")
def a_list_of_one():
    return ["seeds"]


@predict.wrong("you answer ('seeds', 'methods');")
def both():
    return "seeds", "methods"


@predict.right
def in_capitals():
    return " SEEDS"


@predict.right
def by_reasoning():
    known_to_the_loss = {"methods": False, "seeds": False}
    return "methods" if known_to_the_loss["methods"] else "seeds"


# 6b.5 attribute_vector


def mean_codes(model, factors, factor, value):
    changed = factors.clone()
    changed[:, factor] = value
    return in_batches(model.encode, draw_sprites(changed))[0]


@attribute.wrong("it points the wrong way")
def low_minus_high(model, factors, factor, low, high):
    return (mean_codes(model, factors, factor, low) - mean_codes(model, factors, factor, high)).mean(dim=0)


@attribute.wrong("60 times too long")
def sums(model, factors, factor, low, high):
    return (mean_codes(model, factors, factor, high) - mean_codes(model, factors, factor, low)).sum(dim=0)


@attribute.wrong("ten times too short")
def takes_logvar(model, factors, factor, low, high):
    codes = []
    for value in (low, high):
        changed = factors.clone()
        changed[:, factor] = value
        codes.append(in_batches(model.encode, draw_sprites(changed))[1].mean(dim=0))
    return codes[1] - codes[0]


@attribute.wrong("it is the mean code of high alone")
def high_alone(model, factors, factor, low, high):
    return mean_codes(model, factors, factor, high).mean(dim=0)


@attribute.wrong("it is the difference of the first sprite")
def first_only(model, factors, factor, low, high):
    return (mean_codes(model, factors, factor, high) - mean_codes(model, factors, factor, low))[0]


@attribute.wrong("it has length 1")
def unit_length(model, factors, factor, low, high):
    vector = lesson06b.attribute_vector(model, factors, factor, low, high)
    return vector / vector.norm()


@attribute.wrong("it is the move of one step")
def per_step(model, factors, factor, low, high):
    return lesson06b.attribute_vector(model, factors, factor, low, high) / (high - low)


@attribute.wrong("changes its input in place")
def forgets_to_copy(model, factors, factor, low, high):
    codes = []
    for value in (low, high):
        factors[:, factor] = value
        codes.append(in_batches(model.encode, draw_sprites(factors))[0].mean(dim=0))
    return codes[1] - codes[0]


@attribute.wrong("it is 0: are both sets")
def the_same_tensor_twice(model, factors, factor, low, high):
    small = large = factors.clone()
    small[:, factor] = low
    large[:, factor] = high
    return (in_batches(model.encode, draw_sprites(large))[0] - in_batches(model.encode, draw_sprites(small))[0]).mean(0)


@attribute.wrong("has the shape (60, 3)")
def forgets_the_mean(model, factors, factor, low, high):
    return mean_codes(model, factors, factor, high) - mean_codes(model, factors, factor, low)


@attribute.wrong("has the shape (60,)")
def mean_over_the_code(model, factors, factor, low, high):
    return (mean_codes(model, factors, factor, high) - mean_codes(model, factors, factor, low)).mean(dim=1)


@attribute.wrong("Does anything but size change between the two sets?")
def unmatched(model, factors, factor, low, high):
    half = len(factors) // 2 or 1
    large, small = mean_codes(model, factors[:half], factor, high), mean_codes(model, factors[-half:], factor, low)
    return large.mean(dim=0) - small.mean(dim=0)


@attribute.wrong("is a tuple: encode returns mu and logvar")
def both_outputs(model, factors, factor, low, high):
    changed = factors.clone()
    changed[:, factor] = high
    return model.encode(to_float(draw_sprites(changed)))


@attribute.wrong("carries gradients")
def with_gradients(model, factors, factor, low, high):
    means = []
    for value in (low, high):
        changed = factors.clone()
        changed[:, factor] = value
        means.append(model.encode(to_float(draw_sprites(changed)))[0].mean(dim=0))
    return means[1] - means[0]


@attribute.wrong("for x from 4 to 28 the check's model moves by")
def always_the_size(model, factors, factor, low, high):
    return lesson06b.attribute_vector(model, factors, 1, min(low, 5), min(high, 5))


@attribute.right
def difference_of_means(model, factors, factor, low, high):
    return mean_codes(model, factors, factor, high).mean(dim=0) - mean_codes(model, factors, factor, low).mean(dim=0)


@attribute.right
def without_in_batches(model, factors, factor, low, high):
    columns = list(factors.T)
    means = []
    for value in (low, high):
        columns[factor] = torch.full_like(factors[:, 0], value)
        with torch.no_grad():
            mu, _ = model.encode(to_float(draw_sprites(torch.stack(columns, dim=1))))
        means.append(mu.mean(dim=0))
    return means[1] - means[0]


@attribute.right
def one_batch_for_both(model, factors, factor, low, high):
    both = factors.repeat(2, 1)
    both[: len(factors), factor], both[len(factors) :, factor] = low, high
    mu = in_batches(model.encode, draw_sprites(both))[0]
    before, after = mu.split(len(factors))
    return (after - before).mean(dim=0)


test_wrong, test_right, test_galleries = gallery_tests(galleries)


def test_the_notebooks_score_is_the_packages():
    """Counting, then the gap: what the lesson does step by step is metrics.mutual_information_gap."""
    codes, factors = torch.randn(3000, 4), torch.randint(5, (3000, 2))
    codes[:, 1] += factors[:, 0]
    binned = metrics.discretize(codes)
    table = torch.tensor([[metrics.mutual_information(z, v) for v in factors.T] for z in binned.T])
    entropies = torch.tensor([metrics.mutual_information(v, v) for v in factors.T])
    expected = metrics.mutual_information_gap(codes, factors)
    torch.testing.assert_close(metrics.information_gap(table, entropies), expected)


def test_capacity_loss_pulls_the_rate_to_the_capacity_from_both_sides():
    for start in (1.0, 9.0):
        kl = torch.tensor([start], requires_grad=True)
        optimizer = torch.optim.SGD([kl], lr=0.01)
        for _ in range(100):
            optimizer.zero_grad()
            lesson06b.capacity_loss(torch.zeros(1), kl, 5.0).backward()
            optimizer.step()
        assert abs(kl.item() - 5) < 0.2
