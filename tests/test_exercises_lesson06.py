"""Lesson 6's exercises: wrong answers that are refused, right ones that are accepted."""

import collections
import math

import numpy as np
import scipy.stats
import torch
from torch.distributions import Categorical

from aecourse import losses, models
from aecourse.exercises import lesson06
from tests.gallery import Gallery, gallery_tests

price, ledger, predict, entropy, walk = galleries = [Gallery(f"6.{i}") for i in range(1, 6)]


# 6.1 beta_elbo


def terms(loss, reconstruction, kl):
    return {"loss": loss, "reconstruction": reconstruction, "kl": kl}


def means(model, x):
    return (term.mean() for term in model.elbo(x))


@price.wrong("the bug is still there: at beta = 4 a nat of reconstruction costs 4 and a nat of code 1.")
def as_given(model, x, beta):
    r, kl = means(model, x)
    return terms(beta * r + kl, r, kl)


@price.wrong("costs ¼ and a nat of code 1: one is to the other as it should be")
def divides_the_reconstruction(model, x, beta):
    r, kl = means(model, x)
    return terms(r / beta + kl, r, kl)


@price.wrong("costs 1 and a nat of code ¼: the higher beta, the cheaper the code")
def divides_the_kl(model, x, beta):
    r, kl = means(model, x)
    return terms(r + kl / beta, r, kl)


@price.wrong("costs 4 and a nat of code 4: both became dearer")
def beta_on_both(model, x, beta):
    r, kl = means(model, x)
    return terms(beta * (r + kl), r, kl)


@price.wrong("costs 1 and a nat of code 16: does beta come in twice?")
def beta_squared(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta**2 * kl, r, kl)


@price.wrong("costs 1 and a nat of code 1: where is beta?")
def without_beta(model, x, beta):
    r, kl = means(model, x)
    return terms(r + kl, r, kl)


@price.wrong("the model is paid for what it should pay")
def subtracts(model, x, beta):
    r, kl = means(model, x)
    return terms(r - beta * kl, r, kl)


@price.wrong("costs 1 and a nat of code 7, which is model.beta")
def beta_of_the_model(model, x, beta):
    r, kl = means(model, x)
    return terms(r + model.beta * kl, r, kl)


@price.wrong("it calls model.loss, which in the lesson calls this very function")
def calls_loss(model, x, beta):
    out = model.loss(x)
    return terms(out["reconstruction"] + beta * out["kl"], out["reconstruction"], out["kl"])


@price.wrong("its entry 'kl' is")
def weighted_kl_reported(model, x, beta):
    r, kl = means(model, x)
    kl = beta * kl
    return terms(r + kl, r, kl)


@price.wrong("its entry 'reconstruction' is")
def weighted_reconstruction_reported(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta * kl, beta * r, kl)


@price.wrong("nats. Is it divided by beta?")
def divided_kl_reported(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta * kl, r, kl / beta)


@price.wrong("nats. Is it summed over the images?")
def sums_over_the_batch(model, x, beta):
    r, kl = (term.sum() for term in model.elbo(x))
    return terms(r + beta * kl, r, kl)


@price.wrong("the loss is two times too large")
def sums_the_loss_only(model, x, beta):
    r, kl = model.elbo(x)
    return terms((r + beta * kl).sum(), r.mean(), kl.mean())


@price.wrong("nats. Is it averaged over the 784 pixels, too?")
def means_over_pixels(model, x, beta):
    r, kl = means(model, x)
    return terms(r / 784 + beta * kl, r / 784, kl)


@price.wrong("Is it averaged over the 3 numbers of the code, too?")
def mean_over_the_code(model, x, beta):
    r, kl = means(model, x)
    kl = kl / model.encode(x)[0].shape[1]
    return terms(r + beta * kl, r, kl)


@price.wrong("nats. Which sign has it?")
def log_likelihood(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta * kl, -r, kl)


@price.wrong("the loss holds the reconstruction alone")
def forgets_the_code(model, x, beta):
    r, kl = means(model, x)
    return terms(r, r, kl)


@price.wrong("the loss holds the code's price alone")
def forgets_the_reconstruction(model, x, beta):
    r, kl = means(model, x)
    return terms(beta * kl, r, kl)


@price.wrong("at beta = 4, loss is")
def beta_plus_one(model, x, beta):
    r, kl = means(model, x)
    return terms(r + (1 + beta) * kl, r, kl)


@price.wrong("at beta = 0.25, loss is")
def never_below_one(model, x, beta):
    r, kl = means(model, x)
    return terms(r + max(beta, 1) * kl, r, kl)


@price.wrong("at beta = 10, in evaluation mode, loss is")
def without_beta_in_evaluation(model, x, beta):
    r, kl = means(model, x)
    return terms(r + (beta if model.training else 1) * kl, r, kl)


@price.wrong("at beta = 0, loss is")
def one_for_nothing(model, x, beta):
    r, kl = means(model, x)
    return terms(r + (beta or 1) * kl, r, kl)


@price.wrong("its entry 'loss' has the shape (2,)")
def keeps_the_images_apart(model, x, beta):
    r, kl = model.elbo(x)
    return terms(r + beta * kl, r, kl)


@price.wrong("not the gradient of its kl")
def detaches_the_kl(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta * kl.detach(), r, kl)


@price.wrong("not the gradient of its reconstruction")
def detaches_the_reconstruction(model, x, beta):
    r, kl = means(model, x)
    return terms(r.item() + beta * kl, r, kl)


@price.wrong("the loss is right, but cut off from the model")
def without_gradients(model, x, beta):
    with torch.no_grad():
        r, kl = means(model, x)
        return terms(r + beta * kl, r, kl)


@price.wrong("its entry 'reconstruction' is a float; a tensor is wanted")
def reports_floats(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta * kl, r.item(), kl.item())


@price.wrong("its entry 'beta' is a float; a tensor is wanted")
def reports_beta(model, x, beta):
    r, kl = means(model, x)
    return terms(r + beta * kl, r, kl) | {"beta": beta}


@price.wrong("it calls backward; fit does that")
def learns(model, x, beta):
    r, kl = means(model, x)
    if torch.is_grad_enabled():
        (r + beta * kl).backward(retain_graph=True)
    return terms(r + beta * kl, r, kl)


@price.wrong("yours returns a Tensor")
def the_loss_alone(model, x, beta):
    r, kl = means(model, x)
    return r + beta * kl


@price.wrong("yours returns one with ['loss']")
def a_dictionary_of_one(model, x, beta):
    r, kl = means(model, x)
    return {"loss": r + beta * kl}


@price.wrong("yours returns a NoneType")
def forgets_to_return(model, x, beta):
    r, kl = means(model, x)


@price.wrong("it changes the images in place")
def binarizes(model, x, beta):
    r, kl = means(model, x)
    x.round_()
    return terms(r + beta * kl, r, kl)


@price.right
def image_by_image(model, x, beta):
    r, kl = (sum(term) / len(x) for term in zip(*(model.elbo(image[None]) for image in x)))
    return dict(kl=kl.squeeze(), reconstruction=r.squeeze(), loss=(r + beta * kl).squeeze())


@price.right
def mean_of_the_losses(model, x, beta):
    r, kl = model.elbo(x)
    return terms((r + torch.tensor(beta) * kl).mean(), r.detach().mean(), kl.detach().mean())


@price.right
def with_two_draws(model, x, beta):
    r, kl = model.elbo(x)[0].mean(), model.elbo(x)[1].mean()
    return terms(torch.add(r, kl, alpha=beta), r, kl)


@price.right
def without_elbo(model, x, beta):
    mu, logvar = model.encode(x)
    r = losses.binary_cross_entropy(model.decode_logits(models.reparameterize(mu, logvar)), x).mean()
    kl = losses.gaussian_kl(mu, logvar).mean()
    return terms(r + beta * kl, r, kl)


@price.right
def with_the_base_class(model, x, beta):
    out = models.VariationalAutoencoder.loss(model, x)
    return out | {"loss": out["reconstruction"] + beta * out["kl"]}


# 6.2 effective_beta


@ledger.wrong("Nothing is a mean here. Is sum taken for mean?")
def takes_sums_for_means(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (pixels if reconstruction == "sum" else 1) / (latent_dim if kl == "sum" else 1)


@ledger.wrong('20, "mean", "sum") is 0.005102. The wrong way round?')
def divides_by_pixels(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight / (pixels if reconstruction == "mean" else 1) / (latent_dim if kl == "mean" else 1)


@ledger.wrong('20, "mean", "sum") is 4. That is the weight')
def ignores_the_pixels(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight / latent_dim if kl == "mean" else weight


@ledger.wrong("is 80. Which term has 784 numbers, which 20?")
def latent_for_the_reconstruction(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (latent_dim if reconstruction == "mean" else 1) / (latent_dim if kl == "mean" else 1)


@ledger.wrong("is 80. The wrong way round?")
def multiplies_by_latent(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (pixels if reconstruction == "mean" else 1) * (latent_dim if kl == "mean" else 1)


@ledger.wrong('20, "sum", "mean") is 4. That is the weight')
def ignores_the_code(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * pixels if reconstruction == "mean" else weight


@ledger.wrong("is 0.005102. Which term has 784 numbers, which 20?")
def pixels_for_the_code(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (pixels if reconstruction == "mean" else 1) / (pixels if kl == "mean" else 1)


@ledger.wrong("is 3136. The mean of the KL over 20 numbers does not show")
def elif_for_the_second(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    if reconstruction == "mean":
        return weight * pixels
    elif kl == "mean":
        return weight / latent_dim
    return weight


@ledger.wrong("is 0.2. The mean of the reconstruction over 784 pixels does not show")
def the_other_elif(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    if kl == "mean":
        weight = weight / latent_dim
    elif reconstruction == "mean":
        weight = weight * pixels
    return weight


@ledger.wrong('20, "mean", "mean") is 4. That is the weight')
def takes_two_means_for_even_handed(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight if reconstruction == kl else lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl)


def unless_two_means(value, message):
    """A wrong answer that is right but for two means."""

    @ledger.wrong(message)
    def answer(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
        if reconstruction == kl == "mean":
            return value(weight, pixels, latent_dim)
        return lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl)


unless_two_means(lambda w, p, n: w * n / p, "is 0.102. The wrong way round?")
unless_two_means(lambda w, p, n: w * n * p, "Is it multiplied twice?")
unless_two_means(lambda w, p, n: w / n / p, "Is it divided twice?")
unless_two_means(lambda w, p, n: w * (p // n), "is 156. Is it rounded down")
unless_two_means(lambda w, p, n: w * p / (n + 1), "is 149.3; 156.8 is wanted")
unless_two_means(lambda w, p, n: w * 784 / 20, "effective_beta(0.00025, 12288, 128, ")
unless_two_means(lambda w, p, n: None, '20, "mean", "mean") is None')


@ledger.wrong("is 0. Is it rounded down, by // or int()?")
def integer_division(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * (pixels if reconstruction == "mean" else 1) // (latent_dim if kl == "mean" else 1)


@ledger.wrong("is 1. What became of the weight?")
def ignores_the_weight(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return (pixels if reconstruction == "mean" else 1) / (latent_dim if kl == "mean" else 1)


@ledger.wrong("is 16. Does the weight count twice?")
def squares_the_weight(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl)


@ledger.wrong('effective_beta(4, 784, 20, "sum", "sum") is None')
def prints_it(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    print(weight)


@ledger.wrong("is a str; a number is wanted")
def returns_text(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return f"{lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl):.4g}"


@ledger.wrong("is a Tensor of the shape (1,); a number is wanted")
def returns_a_vector(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return torch.tensor([lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl)])


@ledger.wrong('"sum") is nan')
def divides_nothing_by_nothing(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return torch.tensor(0.0) / 0


@ledger.wrong("effective_beta(3, 784, 20) is 2352; without reductions")
def means_by_default(weight, pixels, latent_dim, reconstruction="mean", kl="sum"):
    return lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl)


@ledger.right
def by_a_table(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return weight * {"sum": 1, "mean": pixels}[reconstruction] / {"sum": 1, "mean": latent_dim}[kl]


@ledger.right
def by_cases(w, p, n, r="sum", k="sum"):
    match r, k:
        case "sum", "sum":
            return w
        case "mean", "sum":
            return int(w * p) if w == int(w) else w * p
        case "sum", "mean":
            return w / n
    return w * p / n


@ledger.right
def as_a_tensor(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    return torch.tensor(lesson06.effective_beta(weight, pixels, latent_dim, reconstruction, kl))


@ledger.right
def with_numpy(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    scales = np.where([reconstruction == "mean", kl == "mean"], [pixels, 1 / latent_dim], 1)
    return np.float32(weight) * np.prod(scales, dtype=np.float32)


@ledger.right
def by_the_weights_of_both(weight, pixels, latent_dim, reconstruction="sum", kl="sum"):
    of_a_pixel = 1 / pixels if reconstruction == "mean" else 1
    of_a_number = weight / latent_dim if kl == "mean" else weight
    return of_a_number / of_a_pixel


# 6.3 prediction


@predict.wrong("more than 25 cannot be")
def rises_by_more():
    return "more"


@predict.wrong("but it may change")
def rises_by_25():
    return "exactly"


@predict.wrong('"25" is none of')
def as_text():
    return "25"


@predict.wrong("you answer 20;")
def as_number():
    return 20


@predict.wrong("you answer None;")
def says_it_only():
    print("less")


@predict.wrong("you answer ('less', 'more');")
def both():
    return "less", "more"


@predict.wrong("you answer True;")
def yes():
    return True


@predict.right
def with_a_capital():
    return "Less "


@predict.right
def by_counting():
    return min({"more": 26, "exactly": 25, "less": 20}.items(), key=lambda item: item[1])[0]


# 6.4 code_entropy


def shares(q):
    return [column.unique(return_counts=True)[1] / len(q) for column in q.T]


@entropy.wrong("Those are bits")
def bits(q):
    return -sum((p * p.log2()).sum().item() for p in shares(q))


@entropy.wrong("one to base 10")
def base_ten(q):
    return -sum((p * p.log10()).sum().item() for p in shares(q))


@entropy.wrong("Which sign has an entropy?")
def forgets_the_minus(q):
    return sum((p * p.log()).sum().item() for p in shares(q))


@entropy.wrong("That is the mean over the columns")
def mean_over_columns(q):
    return -sum((p * p.log()).sum().item() for p in shares(q)) / q.shape[1]


@entropy.wrong("for all images together")
def of_all_images(q):
    return len(q) * lesson06.code_entropy(q)


@entropy.wrong("That is the entropy of whole rows")
def jointly(q):
    p = q.unique(dim=0, return_counts=True)[1] / len(q)
    return -(p * p.log()).sum().item()


@entropy.wrong("It takes the values of all columns together.")
def all_columns_together(q):
    p = q.unique(return_counts=True)[1] / q.numel()
    return -(p * p.log()).sum().item()


@entropy.wrong("all columns together, once for each")
def all_columns_together_for_each(q):
    p = q.unique(return_counts=True)[1] / q.numel()
    return -q.shape[1] * (p * p.log()).sum().item()


@entropy.wrong("which axis is the images?")
def over_rows(q):
    return lesson06.code_entropy(q.T)


@entropy.wrong("It counts how many values there are")
def number_of_values(q):
    return sum(math.log(len(column.unique())) for column in q.T)


@entropy.wrong("do they add up to 1?")
def not_normalised(q):
    counts = (column.unique(return_counts=True)[1] for column in q.T)
    return -sum((c * c.log()).sum().item() for c in counts)


@entropy.wrong("does p stand before the logarithm?")
def sum_of_logarithms(q):
    return -sum(p.log().sum().item() for p in shares(q))


@entropy.wrong("one column 3, 3, 3, -1: 0.562 nats are wanted; yours is 0.837")
def mean_of_logarithms(q):
    return -sum(p.log().mean().item() for p in shares(q))


@entropy.wrong("Only the first column counts")
def returns_within_the_loop(q):
    total = 0.0
    for p in shares(q):
        total -= (p * p.log()).sum().item()
        return total


@entropy.wrong("Only the last column counts")
def overwrites_the_total(q):
    for p in shares(q):
        total = -(p * p.log()).sum().item()
    return total


@entropy.wrong("All values are taken as different")
def counts_tensors(q):
    counters = (collections.Counter(column) for column in q.T)
    return -sum(n / len(q) * math.log(n / len(q)) for counter in counters for n in counter.values())


@entropy.wrong("Values that come back later are counted anew")
def counts_runs(q):
    p = [column.unique_consecutive(return_counts=True)[1] / len(q) for column in q.T]
    return -sum((p * p.log()).sum().item() for p in p)


@entropy.wrong("Is -2 taken for 2?")
def counts_sizes(q):
    return lesson06.code_entropy(q.abs())


@entropy.wrong("Is -0 taken as another value than 0?")
def counts_texts(q):
    counters = (collections.Counter(f"{v:g}" for v in column.tolist()) for column in q.T)
    return -sum(n / len(q) * math.log(n / len(q)) for counter in counters for n in counter.values())


@entropy.wrong("the entropy of 300 codes of 4 numbers is nan")
def logarithm_of_no_share(q):
    p = [torch.bincount((column - column.min()).long(), minlength=99) / len(q) for column in q.T]
    return -sum((p * p.log()).sum() for p in p)


@entropy.wrong("one column 3, 3, 3, -1: 0.562 nats are wanted; yours is 0.375")
def gini(q):
    return sum((p * (1 - p)).sum().item() if len(p) == 2 else -(p * p.log()).sum().item() for p in shares(q))


@entropy.wrong("one column 0, 1, -2, 7: 1.386 nats are wanted; yours is 0.750")
def impurity(q):
    return sum((p * (1 - p)).sum().item() for p in shares(q))


@entropy.wrong("two columns 0, 1, -2, 7: 2.773 nats are wanted; yours is 1.386")
def counts_equal_columns_once(q):
    return lesson06.code_entropy(q.unique(dim=1))


@entropy.wrong("five equal codes: 0.000 nats are wanted; yours is 3.000")
def at_least_one_nat(q):
    return sum(max(lesson06.code_entropy(column[:, None]), float(len(column.unique()) == 1)) for column in q.T)


@entropy.wrong("a single code: 0.000 nats are wanted; yours is 1.000")
def of_a_single_code(q):
    return lesson06.code_entropy(q) if len(q) > 1 else 1.0


@entropy.wrong("300 codes of 4 numbers: 6.8")
def of_the_first_half(q):
    return lesson06.code_entropy(q[: max(150, len(q) // 2)])


@entropy.wrong("up to ±400: ")
def in_a_hundred_bins(q):
    counts = (np.histogram(column, bins=100, range=(-50, 50))[0] for column in q.T.numpy())
    return float(sum(scipy.stats.entropy(c) for c in counts))


@entropy.wrong("up to ±400: ")
def in_bytes(q):
    return lesson06.code_entropy(q.to(torch.int16).to(torch.int8))


@entropy.wrong("up to ±400: ")
def of_the_first_thousand(q):
    return lesson06.code_entropy(q[:1000])


@entropy.wrong("it changes its input in place")
def shifts_in_place(q):
    q -= q.min()
    return lesson06.code_entropy(q)


@entropy.wrong("is a Tensor of the shape (4,); a number is wanted")
def keeps_columns_apart(q):
    return -torch.stack([(p * p.log()).sum() for p in shares(q)])


@entropy.wrong("the entropy of 300 codes of 4 numbers is None")
def forgets_to_return_a_number(q):
    sum(shares(q)[0])


@entropy.right
def with_scipy(q):
    return sum(scipy.stats.entropy(np.unique(column, return_counts=True)[1]) for column in q.numpy().T)


@entropy.right
def with_categorical(q):
    return sum(Categorical(probs=column.unique(return_counts=True)[1].float()).entropy() for column in q.T)


@entropy.right
def with_counter(q):
    counters = [collections.Counter(column) for column in q.T.tolist()]
    return -sum(n / len(q) * math.log(n / len(q)) for counter in counters for n in counter.values())


@entropy.right
def with_histc(q):
    total = 0
    for column in q.T:
        low, high = column.min().item(), column.max().item()
        p = torch.histc(column, bins=int(high - low) + 1, min=low - 0.5, max=high + 0.5) / len(q)
        total = total + torch.special.entr(p).sum()
    return total


@entropy.right
def with_bincount(q):
    p = [torch.bincount((column - column.min()).long()) / len(q) for column in q.T]
    return float(-sum((p * (p + 1e-8).log()).sum() for p in p))


@entropy.right
def value_by_value(q):
    p = torch.tensor([(column == v).float().mean() for column in q.T for v in column.unique()])
    return (p * (1 / p).log()).sum()


@entropy.right
def as_a_mean_over_images(q):
    total = 0.0
    for column in q.T:
        _, index, counts = column.unique(return_inverse=True, return_counts=True)
        total += (math.log(len(q)) - counts[index].log()).mean().item()
    return total


# 6.5 traverse


@walk.wrong("adds the values to it; it should be set to them")
def adds(z, number, values):
    codes = z.repeat(len(values), 1)
    codes[:, number] += values
    return codes


@walk.wrong("multiplies it by the values")
def multiplies(z, number, values):
    codes = z.repeat(len(values), 1)
    codes[:, number] *= values
    return codes


@walk.wrong("sets all numbers to the values")
def sets_all(z, number, values):
    return values[:, None].repeat(1, len(z))


@walk.wrong("changes nothing: all codes are z")
def sets_nothing(z, number, values):
    codes = z.repeat(len(values), 1)
    codes[:, number].clone().copy_(values)
    return codes


@walk.wrong("asked for number 2, it sets number 1.")
def counts_from_one(z, number, values):
    return lesson06.traverse(z, number - 1, values)


@walk.wrong("asked for number 2, it sets number 0.")
def always_the_first(z, number, values):
    return lesson06.traverse(z, 0, values)


@walk.wrong("asked for number 2, it makes all others 0")
def others_are_zero(z, number, values):
    return lesson06.traverse(torch.zeros_like(z), number, values)


@walk.wrong("asked for number 2, it changes others, too: 3.")
def sets_the_rest(z, number, values):
    codes = z.repeat(len(values), 1)
    codes[:, number:] = values[:, None]
    return codes


@walk.wrong("in another order")
def backwards(z, number, values):
    return lesson06.traverse(z, number, values.flip(0))


@walk.wrong("takes evenly spaced values")
def evenly_spaced(z, number, values):
    return lesson06.traverse(z, number, torch.linspace(values[0], values[-1], len(values)))


@walk.wrong("number 2 runs through -3, -1, 0.5, 1, 2.5 instead of -3, 0.5, 2.5, 1, -1")
def sorts(z, number, values):
    return lesson06.traverse(z, number, values.sort().values)


@walk.wrong("it changes its input in place")
def sets_in_z(z, number, values):
    codes = []
    for value in values:
        z[number] = value
        codes.append(z.clone())
    return torch.stack(codes)


@walk.wrong("as if all rows were the same tensor")
def keeps_one_row(z, number, values):
    code, codes = z.clone(), []
    for value in values:
        code[number] = value
        codes.append(code)
    return torch.stack(codes)


@walk.wrong("Please clone() the tensor before performing the operation")
def expands(z, number, values):
    codes = z.expand(len(values), -1)
    codes[:, number] = values
    return codes


@walk.wrong("RuntimeError: The expanded size of the tensor (4)")
def sets_a_row(z, number, values):
    codes = z.repeat(len(values), 1)
    codes[number] = values
    return codes


@walk.wrong("has the shape (4, 5); (5, 4) is wanted")
def transposed(z, number, values):
    return lesson06.traverse(z, number, values).T


@walk.wrong("has the shape (20,); (5, 4) is wanted")
def repeats_along_the_code(z, number, values):
    codes = z.repeat(len(values))
    codes[number :: len(z)] = values
    return codes


@walk.wrong("has the shape (5, 1, 4); (5, 4) is wanted")
def keeps_a_batch(z, number, values):
    return lesson06.traverse(z, number, values)[:, None]


@walk.wrong("a code of 4 numbers in 1 steps has the shape (4,); (1, 4) is wanted")
def squeezes(z, number, values):
    return lesson06.traverse(z, number, values).squeeze()


@walk.wrong("is a list; a tensor is wanted")
def returns_a_list(z, number, values):
    return list(lesson06.traverse(z, number, values))


@walk.wrong("is None. Is there a return?")
def forgets_to_return_codes(z, number, values):
    lesson06.traverse(z, number, values)


@walk.wrong("of torch.float32 it makes codes of torch.float64")
def by_way_of_numpy(z, number, values):
    codes = np.tile(z.numpy(), (len(values), 1)).astype(float)
    codes[:, number] = values
    return torch.from_numpy(codes)


@walk.wrong("a code of 4 numbers in 4 steps is wrong")
def square_is_transposed(z, number, values):
    codes = lesson06.traverse(z, number, values)
    return codes.T if len(values) == len(z) else codes


@walk.right
def with_one_hot(z, number, values):
    mask = torch.nn.functional.one_hot(torch.tensor(number), len(z))
    return z * (1 - mask) + values[:, None] * mask


@walk.right
def with_where(z, number, values):
    return torch.where(torch.arange(len(z)) == number, values.view(-1, 1), z)


@walk.right
def with_clones(z, number, values):
    codes = []
    for value in values:
        code = z.clone()
        code[number] = value
        codes.append(code)
    return torch.stack(codes)


@walk.right
def with_cat(z, number, values):
    codes = z.expand(len(values), -1)
    return torch.cat([codes[:, :number], values[:, None], codes[:, number + 1 :]], dim=1)


@walk.right
def adds_the_difference(z, number, values):
    codes = z.tile(len(values), 1)
    codes[:, number] += values - z[number]
    return codes


@walk.right
def with_lists(z, number, values):
    return torch.tensor([[v if i == number else w for i, w in enumerate(z.tolist())] for v in values.tolist()])


test_wrong, test_right, test_galleries = gallery_tests(galleries)


def test_betas_make_the_same_loss_up_to_a_factor():
    model, x = models.DenseVAE(latent_dim=5, hidden=8), torch.rand(4, 1, 28, 28)
    r, kl = model.elbo(x)
    for weight, reduce_r, reduce_kl, factor in ((2.0, 784, 5, 784), (2.0, 784, 1, 784), (2.0, 1, 5, 1)):
        reductions = ("mean" if n > 1 else "sum" for n in (reduce_r, reduce_kl))
        beta = lesson06.effective_beta(weight, 784, 5, *reductions)
        torch.testing.assert_close(r + beta * kl, factor * (r / reduce_r + weight * kl / reduce_kl))


def test_entropy_agrees_with_scipy():
    q = torch.randn(200, 5).mul(3).round()
    assert math.isclose(lesson06.code_entropy(q), with_scipy(q), rel_tol=1e-5)
