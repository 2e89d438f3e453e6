"""Exercises of lesson 7, part 2: wrong answers that are refused, right ones that are accepted."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from aecourse import losses, metrics, models
from aecourse.exercises import lesson07b
from tests.gallery import Gallery, gallery_tests

count, step, statistics, predict, scalar = galleries = [Gallery(f"7b.{i}") for i in range(1, 6)]


# 7b.1 perplexity


def shares_of(codes, size):
    return torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()


def entropy(p):
    return torch.special.entr(p).sum().item()


@count.wrong("the entropy in nats, not yet e to it")
def entropy_alone(codes, size):
    return entropy(shares_of(codes, size))


@count.wrong("That is the entropy in bits.")
def entropy_in_bits(codes, size):
    return entropy(shares_of(codes, size)) / math.log(2)


@count.wrong("e to the entropy in bits")
def bits_with_e(codes, size):
    return math.exp(entropy(shares_of(codes, size)) / math.log(2))


@count.wrong("2 to the entropy in nats")
def nats_with_two(codes, size):
    return 2 ** entropy(shares_of(codes, size))


@count.wrong("which sign has an entropy?")
def wrong_sign(codes, size):
    return math.exp(-entropy(shares_of(codes, size)))


@count.wrong("That is how many codes occur")
def how_many_occur(codes, size):
    return float(len(codes.unique()))


@count.wrong("another measure")
def inverse_simpson(codes, size):
    return 1 / shares_of(codes, size).square().sum().item()


@count.wrong("That is a share of the codebook")
def share_of_size(codes, size):
    return metrics.perplexity(codes, size) / size


@count.wrong("the mean of the images' own perplexities")
def image_by_image(codes, size):
    return sum(metrics.perplexity(image, size) for image in codes) / len(codes)


@count.wrong("shares by softmax")
def softmax_of_counts(codes, size):
    return math.exp(entropy(torch.bincount(codes.flatten(), minlength=size).float().softmax(0)))


@count.wrong("is nan: what is 0 · log 0")
def zero_log_zero(codes, size):
    p = shares_of(codes, size)
    return (-(p * p.log()).sum()).exp().item()


@count.wrong("is None. Is there a return, in every case?")
def prints_it(codes, size):
    print(metrics.perplexity(codes, size))


@count.wrong("of the shape (2,); a number is wanted")
def one_per_image(codes, size):
    return torch.tensor([metrics.perplexity(image, size) for image in codes])


@count.wrong("bincount only supports 1-d")
def forgets_to_flatten(codes, size):
    return math.exp(entropy(torch.bincount(codes, minlength=size) / codes.numel()))


@count.wrong("have a perplexity of 2.828; yours is 0.250")
def shares_per_image(codes, size):
    return math.exp(entropy(torch.bincount(codes.flatten(), minlength=size) / len(codes)))


@count.wrong("the perplexity of each of 128 codes 49 times is 128.000; yours is")
def first_thousand_only(codes, size):
    counts = torch.bincount(codes.flatten()[:1000], minlength=size)
    return math.exp(entropy(counts / counts.sum()))


@count.wrong("are rare codes lost?")
def drops_rare_codes(codes, size):
    p = shares_of(codes, size)
    p = p[p > 1e-4]
    return math.exp(entropy(p / p.sum()))


@count.wrong("changes its input in place")
def sorts_in_place(codes, size):
    result = metrics.perplexity(codes, size)
    codes.sub_(codes.min() - 1)
    return result


@count.right
def by_unique(codes, size):
    occurrences = codes.unique(return_counts=True)[1]
    p = occurrences / occurrences.sum()
    return (-(p * p.log()).sum()).exp()


@count.right
def with_two_and_bits(codes, size):
    p = np.bincount(codes.numpy().ravel(), minlength=size) / codes.numel()
    p = p[p > 0]
    return float(2 ** -(p * np.log2(p)).sum())


@count.right
def with_a_small_number(codes, size):
    p = shares_of(codes, size)
    return torch.exp(-torch.sum(p * torch.log(p + 1e-10)))


@count.right
def with_one_hot(codes, size):
    p = F.one_hot(codes.flatten(), size).double().mean(dim=0)
    return torch.distributions.Categorical(probs=p).entropy().exp().item()


@count.right
def with_a_dictionary(codes, size):
    seen = {}
    for code in codes.flatten().tolist():
        seen[code] = seen.get(code, 0) + 1
    n = codes.numel()
    return math.exp(-sum(c / n * math.log(c / n) for c in seen.values()))


# 7b.2 quantize


def codes_of(quantizer, z):
    vectors = z.movedim(1, -1).flatten(end_dim=-2)
    return models.nearest_code(vectors, quantizer.codebook).view(len(z), *z.shape[2:])


def found(quantizer, z):
    codes = codes_of(quantizer, z)
    return codes, quantizer.lookup(codes)


@step.wrong("the bug is still there: no gradient of the codebook loss reaches the codebook, which never moves")
def the_bug_itself(quantizer, z):
    codes, nearest = found(quantizer, z)
    quantized = models.straight_through(z, nearest)
    return quantized, codes, *losses.quantization_losses(z, quantized)


@step.wrong("is anything straight through?")
def no_straight_through(quantizer, z):
    codes, nearest = found(quantizer, z)
    return nearest, codes, *losses.quantization_losses(z, nearest)


@step.wrong("is there a detach too many?")
def codebook_detached(quantizer, z):
    codes, nearest = found(quantizer, z)
    nearest = nearest.detach()
    return models.straight_through(z, nearest), codes, *losses.quantization_losses(z, nearest)


@step.wrong("the two losses have changed places")
def losses_swapped(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook, commitment = losses.quantization_losses(z, nearest)
    return models.straight_through(z, nearest), codes, commitment, codebook


@step.wrong("the codebook loss moves the encoder as well")
def nothing_detached(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook = losses.squared_error(nearest, z)
    return models.straight_through(z, nearest), codes, codebook, losses.squared_error(z, nearest.detach())


@step.wrong("the commitment moves the codebook as well")
def commitment_not_detached(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook = losses.squared_error(nearest, z.detach())
    return models.straight_through(z, nearest), codes, codebook, losses.squared_error(z, nearest)


@step.wrong("no gradient of the commitment reaches the encoder")
def commitment_detached(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook, commitment = losses.quantization_losses(z, nearest)
    return models.straight_through(z, nearest), codes, codebook, commitment.detach()


@step.wrong("the codebook loss is 0, though the vectors differ")
def loss_of_it_with_itself(quantizer, z):
    codes, nearest = found(quantizer, z)
    quantized = models.straight_through(z, nearest)
    return quantized, codes, losses.squared_error(quantized, nearest), losses.squared_error(z, nearest.detach())


@step.wrong("the reconstruction moves the codebook")
def straight_through_without_detach(quantizer, z):
    codes, nearest = found(quantizer, z)
    quantized = nearest + z - z.detach()
    return quantized, codes, *losses.quantization_losses(z, nearest)


@step.wrong("nothing is quantised")
def forgets_to_quantise(quantizer, z):
    codes, nearest = found(quantizer, z)
    return z, codes, *losses.quantization_losses(z, nearest)


@step.wrong("of the codes are not those of the nearest vectors")
def wrong_axis_last(quantizer, z):
    vectors = z.reshape(-1, z.shape[1])
    codes = models.nearest_code(vectors, quantizer.codebook).view(len(z), *z.shape[2:])
    nearest = quantizer.lookup(codes)
    return models.straight_through(z, nearest), codes, *losses.quantization_losses(z, nearest)


@step.wrong("the codebook loss is one number; one for each image is wanted")
def averaged_losses(quantizer, z):
    codes, nearest = found(quantizer, z)
    terms = (term.mean() for term in losses.quantization_losses(z, nearest))
    return models.straight_through(z, nearest), codes, *terms


@step.wrong("the codebook loss is 0.0167 times what it should be")
def mean_over_places(quantizer, z):
    codes, nearest = found(quantizer, z)
    terms = (term / nearest[0].numel() for term in losses.quantization_losses(z, nearest))
    return models.straight_through(z, nearest), codes, *terms


@step.wrong("the commitment loss is 0.25 times")
def beta_already(quantizer, z):
    codes, nearest = found(quantizer, z)
    codebook, commitment = losses.quantization_losses(z, nearest)
    return models.straight_through(z, nearest), codes, codebook, 0.25 * commitment


@step.wrong("it should return four things")
def without_codes(quantizer, z):
    _, nearest = found(quantizer, z)
    return models.straight_through(z, nearest), *losses.quantization_losses(z, nearest)


@step.wrong("it returns None. Is there a return?")
def no_return(quantizer, z):
    found(quantizer, z)


@step.wrong("the codes of 3 images of 4×5 places has the shape (60,)")
def flat_codes(quantizer, z):
    codes, nearest = found(quantizer, z)
    return models.straight_through(z, nearest), codes.flatten(), *losses.quantization_losses(z, nearest)


@step.wrong("it changes the codebook in place")
def moves_it_by_hand(quantizer, z):
    codes, nearest = found(quantizer, z)
    out = models.straight_through(z, nearest), codes, *losses.quantization_losses(z, nearest)
    with torch.no_grad():
        quantizer.codebook.mul_(0.9)
    return out


@step.right
def mended(quantizer, z):
    codes, nearest = found(quantizer, z)
    terms = losses.quantization_losses(z, nearest)
    quantized = models.straight_through(z, nearest)
    return quantized, codes, *terms


@step.right
def as_a_list_of_four(quantizer, z):
    return list(lesson07b.quantize(quantizer, z))


@step.right
def written_out(quantizer, z):
    z_last = z.permute(0, 2, 3, 1)
    distances = torch.cdist(z_last.reshape(-1, z.shape[1]), quantizer.codebook)
    codes = distances.argmin(dim=1).reshape(z_last.shape[:3])
    nearest = F.embedding(codes, quantizer.codebook).permute(0, 3, 1, 2)
    codebook = F.mse_loss(nearest, z.detach(), reduction="none").sum(dim=(1, 2, 3))
    commitment = F.mse_loss(z, nearest.detach(), reduction="none").sum(dim=(1, 2, 3))
    return z + nearest.detach() - z.detach(), codes, codebook, commitment


@step.right
def with_one_hot_rows(quantizer, z):
    codes = codes_of(quantizer, z)
    nearest = (F.one_hot(codes, len(quantizer.codebook)).float() @ quantizer.codebook).movedim(-1, 1)
    codebook = (nearest - z.detach()).square().flatten(1).sum(1)
    commitment = (nearest.detach() - z).square().flatten(1).sum(1)
    return (nearest - z).detach() + z, codes, codebook, commitment


# 7b.3 first_statistics


@statistics.wrong(
    "the bug is still there: before any batch a code that stands for nothing lies at sum / count = e / 0, out of reach"
)
def zero_counts(codebook):
    return torch.zeros_like(codebook[:, 0]), codebook.detach().clone()


@statistics.wrong("lies at sum / count = 100000 times its place")
def a_small_count(codebook):
    return torch.full_like(codebook[:, 0], 1e-5), codebook.detach().clone()


@statistics.wrong("the counts are torch.float64, the codebook is torch.float32")
def doubles(codebook):
    return torch.ones(len(codebook), dtype=torch.float64, device=codebook.device), codebook.detach().clone()


@statistics.wrong("lies at sum / count = 0 / 0")
def both_zero(codebook):
    return torch.zeros_like(codebook[:, 0]), torch.zeros_like(codebook)


@statistics.wrong("All codes start at the origin")
def sums_zero(codebook):
    return torch.ones_like(codebook[:, 0]), torch.zeros_like(codebook)


@statistics.wrong("Before any batch sums / counts should be the codebook; it is off by up to")
def sums_random(codebook):
    return torch.ones_like(codebook[:, 0]), torch.linspace(-1, 1, codebook.numel()).to(codebook.device).view_as(
        codebook
    )


@statistics.wrong("Every code starts at 6 times its place")
def shares_for_counts(codebook):
    return torch.full_like(codebook[:, 0], 1 / len(codebook)), codebook.detach().clone()


@statistics.wrong("a count starts at 1e-05: below 1, where a code counts as dead")
def nearly_zero(codebook):
    return torch.full_like(codebook[:, 0], 1e-5), 1e-5 * codebook.detach()


@statistics.wrong("hardly moves")
def very_heavy(codebook):
    return torch.full_like(codebook[:, 0], 1e4), 1e4 * codebook.detach()


@statistics.wrong("the sums are the codebook's own memory")
def no_clone(codebook):
    return torch.ones_like(codebook[:, 0]), codebook.detach()


@statistics.wrong("the sums carry gradients of the codebook")
def no_detach(codebook):
    return torch.ones_like(codebook[:, 0]).detach(), codebook.clone()


@statistics.wrong("the counts are torch.int64: a moving average needs floats")
def whole_numbers(codebook):
    return torch.ones(len(codebook), dtype=torch.int64, device=codebook.device), codebook.detach().clone()


@statistics.wrong("the first counts of 6 codes has the shape (6, 1)")
def a_column(codebook):
    return torch.ones_like(codebook[:, :1]), codebook.detach().clone()


@statistics.wrong("the first counts of 6 codes has the shape (6, 3)")
def counts_like_the_codebook(codebook):
    return torch.ones_like(codebook), codebook.detach().clone()


@statistics.wrong("all counts are one number in memory")
def expanded(codebook):
    return torch.ones((), device=codebook.device).expand(len(codebook)), codebook.detach().clone()


@statistics.wrong("counts and sums have changed places")
def the_wrong_way_round(codebook):
    return codebook.detach().clone().abs(), torch.ones_like(codebook[:, 0])


@statistics.wrong("it should return two things, counts and sums; yours is a Tensor")
def counts_alone(codebook):
    return torch.ones_like(codebook[:, 0])


@statistics.wrong("it returns None")
def nothing(codebook):
    torch.ones_like(codebook[:, 0])


@statistics.wrong("it changes its input in place")
def clears_the_codebook(codebook):
    sums = codebook.detach().clone()
    with torch.no_grad():
        codebook.zero_()
    return torch.ones_like(sums[:, 0]), sums


@statistics.right
def by_new_tensors(codebook):
    return codebook.new_ones(len(codebook)), codebook.detach() * 1


@statistics.right
def two_vectors_each(codebook):
    counts = torch.full((len(codebook),), 2.0, device=codebook.device)
    return counts, codebook.detach() * counts[:, None]


@statistics.right
def as_a_list(codebook):
    return [torch.ones(codebook.shape[0]).to(codebook.device), torch.tensor(codebook.tolist()).to(codebook.device)]


# 7b.4 prediction


@predict.wrong("More room is not more use")
def the_largest():
    return "64"


@predict.wrong("Is it the best of the three at this, or in the middle?")
def the_usual():
    return "16"


@predict.wrong("you answer 4; return one of the texts")
def as_a_number():
    return 4


@predict.wrong("you answer None;")
def says_it_only():
    print("4")


@predict.wrong('"4 numbers" is none of')
def in_words():
    return "4 numbers"


@predict.wrong('"128" is none of')
def another_size():
    return "128"


@predict.wrong("you answer ('4', '16');")
def two_of_them():
    return "4", "16"


@predict.right
def with_a_blank():
    return " 4"


@predict.right
def by_reasoning():
    return min(("4", "16", "64"), key=int)


# 7b.5 finite_scalar


def parts(z, levels):
    top = (levels - 1).view(-1, 1, 1)
    places = (levels.cumprod(0) // levels).view(-1, 1, 1)
    scaled = top * z.sigmoid()
    return top, places, scaled, scaled.detach().round().long()


def right_codes(z, levels):
    return lesson07b.finite_scalar(z, levels)[1]


def right_values(z, levels):
    return lesson07b.finite_scalar(z, levels)[0]


@scalar.wrong("They are not rounded")
def squashed_only(z, levels):
    return 2 * z.sigmoid() - 1, right_codes(z, levels)


@scalar.wrong("no gradient reaches z: rounding has none")
def rounds_without_gradient(z, levels):
    top, places, scaled, digits = parts(z, levels)
    return 2 * scaled.round() / top - 1, (places * digits).sum(dim=1)


@scalar.wrong("They are the digits, 0 to 7")
def digits_for_values(z, levels):
    top, places, scaled, digits = parts(z, levels)
    return models.straight_through(scaled, digits), (places * digits).sum(dim=1)


@scalar.wrong("They run from 0 to 1")
def from_zero_to_one(z, levels):
    top, places, scaled, digits = parts(z, levels)
    return models.straight_through(scaled, digits) / top, (places * digits).sum(dim=1)


@scalar.wrong("They are rounded down")
def floors(z, levels):
    top, places, scaled, digits = parts(z, levels)
    return 2 * models.straight_through(scaled, scaled.floor()) / top - 1, (places * scaled.floor().long()).sum(dim=1)


@scalar.wrong("There is one level too many")
def one_level_too_many(z, levels):
    scaled = levels.view(-1, 1, 1) * z.sigmoid()
    return 2 * models.straight_through(scaled, scaled.round()) / levels.view(-1, 1, 1) - 1, right_codes(z, levels)


@scalar.wrong("They are scaled with L, which is one more")
def scaled_with_levels(z, levels):
    top, places, scaled, digits = parts(z, levels)
    return 2 * models.straight_through(scaled, digits) / (top + 1) - 1, (places * digits).sum(dim=1)


@scalar.wrong("They are squashed by tanh")
def by_tanh(z, levels):
    top, places, _, _ = parts(z, levels)
    scaled = top * (z.tanh() + 1) / 2
    digits = scaled.detach().round().long()
    return 2 * models.straight_through(scaled, digits) / top - 1, (places * digits).sum(dim=1)


@scalar.wrong("Is z rounded without being squashed first?")
def never_squashed(z, levels):
    return models.straight_through(z, z.round().clamp(-1, 1)), right_codes(z, levels)


@scalar.wrong("It is that of the identity")
def straight_through_to_z(z, levels):
    return models.straight_through(z, right_values(z, levels)), right_codes(z, levels)


@scalar.wrong("before they are scaled to [-1, 1]")
def gradient_of_digits(z, levels):
    top, places, scaled, digits = parts(z, levels)
    return scaled + (2 * digits / top - 1 - scaled).detach(), (places * digits).sum(dim=1)


@scalar.wrong("It is the sum of the digits")
def sum_of_digits(z, levels):
    return right_values(z, levels), parts(z, levels)[3].sum(dim=1)


@scalar.wrong("The last digit counts least")
def last_digit_least(z, levels):
    codes = 0
    for level, digit in zip(levels, parts(z, levels)[3].unbind(dim=1)):
        codes = codes * level + digit
    return right_values(z, levels), codes


@scalar.wrong("The first digit counts L0")
def cumulative_product_alone(z, levels):
    digits = parts(z, levels)[3]
    return right_values(z, levels), (levels.cumprod(0).view(-1, 1, 1) * digits).sum(dim=1)


@scalar.wrong("Each digit counts its own number of levels")
def by_levels(z, levels):
    return right_values(z, levels), (levels.view(-1, 1, 1) * parts(z, levels)[3]).sum(dim=1)


@scalar.wrong("the codes are torch.float32; int64 is wanted")
def float_codes(z, levels):
    return right_values(z, levels), right_codes(z, levels).float()


@scalar.wrong("codes start from 0")
def from_one(z, levels):
    return right_values(z, levels), right_codes(z, levels) + 1


@scalar.wrong("the codes for levels 8, 4, 4 has the shape")
def keeps_the_axis(z, levels):
    return right_values(z, levels), right_codes(z, levels)[:, None]


@scalar.wrong("it should return two things, values and codes")
def values_alone(z, levels):
    return right_values(z, levels)


@scalar.wrong("for levels 5, 5, 5 the values are off")
def eight_four_four_only(z, levels):
    return lesson07b.finite_scalar(z, torch.tensor([8, 4, 4]).to(levels)[: len(levels)])


@scalar.wrong("it changes its input in place")
def squashes_in_place(z, levels):
    out = lesson07b.finite_scalar(z, levels)
    with torch.no_grad():
        z.sigmoid_()
    return out


@scalar.right
def with_channels_last(z, levels):
    last = z.movedim(1, -1)
    scaled = torch.sigmoid(last) * (levels - 1)
    rounded = scaled + (scaled.round() - scaled).detach()
    places = torch.cat([levels.new_ones(1), levels[:-1]]).cumprod(0)
    codes = (rounded.detach().round().long() * places).sum(dim=-1)
    return (rounded / (levels - 1) * 2 - 1).movedim(-1, 1), codes


@scalar.right
def both_as_a_list(z, levels):
    return list(lesson07b.finite_scalar(z, levels))


@scalar.right
def number_by_number(z, levels):
    values, codes, place = [], torch.zeros_like(z[:, 0], dtype=torch.int64), 1
    for column, level in zip(z.unbind(dim=1), levels.tolist()):
        squashed = 2 * column.sigmoid() - 1
        digit = ((squashed.detach() + 1) / 2 * (level - 1)).round()
        values.append(squashed + (2 * digit / (level - 1) - 1 - squashed).detach())
        codes = codes + place * digit.long()
        place *= level
    return torch.stack(values, dim=1), codes


@scalar.right
def by_half_a_tanh(z, levels):
    half = ((levels - 1) / 2).view(-1, 1, 1)
    digits = ((z / 2).tanh() * half + half).detach().round()
    codes = torch.zeros_like(digits[:, 0])
    for j in reversed(range(len(levels))):
        codes = codes * levels[j] + digits[:, j]
    bounded = (z / 2).tanh()
    return bounded - bounded.detach() + digits / half - 1, codes.long()


(
    test_wrong_answer_is_refused_by_name,
    test_right_answer_is_accepted,
    test_gallery_is_large_and_its_messages_differ,
) = gallery_tests(galleries)


def test_first_statistics_keep_the_codebook_where_it_is():
    """One step from there leaves an unused code in place, and moves a used one towards its vectors."""
    codebook = torch.randn(4, 2)
    counts, sums = lesson07b.first_statistics(codebook)
    n, batch = torch.tensor([0.0, 1.0, 3.0, 100.0]), torch.randn(4, 2)
    counts.lerp_(n, 0.01)
    sums.lerp_(batch * n[:, None], 0.01)
    moved = (sums / counts[:, None] - codebook).norm(dim=1) / (batch - codebook).norm(dim=1)
    assert torch.allclose(moved, 0.01 * n / (0.99 + 0.01 * n), atol=1e-5)


def test_finite_scalar_codes_are_one_to_one():
    levels = torch.tensor([4, 3, 2])
    z = torch.logit((torch.cartesian_prod(*(torch.arange(n) / (n - 1) for n in (4, 3, 2)))).clamp(0.01, 0.99))
    values, codes = lesson07b.finite_scalar(z.T.reshape(1, 3, 24, 1), levels)
    assert codes.flatten().sort().values.equal(torch.arange(24))
    assert len(values[0, :, :, 0].T.unique(dim=0)) == 24 and values.abs().max() <= 1
