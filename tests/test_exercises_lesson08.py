"""Exercises of lesson 8: wrong answers that are refused, right ones that are accepted."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aecourse.exercises import lesson08
from tests.gallery import Gallery, gallery_tests

mask_, attention_, shift_, bits_, draw_, predict = galleries = [Gallery(f"8.{i}") for i in range(1, 7)]


# 8.1 causal_mask


@mask_.wrong("rows look, columns are seen")
def upper_triangle(n):
    return torch.ones(n, n, dtype=torch.bool).triu()


@mask_.wrong("true and false are exchanged")
def as_multihead_attention_wants_it(n):
    return torch.ones(n, n, dtype=torch.bool).triu(1)


@mask_.wrong("a place does not see itself")
def without_itself(n):
    return torch.ones(n, n, dtype=torch.bool).tril(-1)


@mask_.wrong("sees one place ahead")
def one_too_far(n):
    return torch.ones(n, n, dtype=torch.bool).tril(1)


@mask_.wrong("the future too")
def everything(n):
    return torch.ones(n, n, dtype=torch.bool)


@mask_.wrong("every place sees itself alone")
def diagonal(n):
    return torch.eye(n, dtype=torch.bool)


@mask_.wrong("numbers to be added to the scores")
def additive(n):
    return nn.Transformer.generate_square_subsequent_mask(n)


@mask_.wrong("its dtype is torch.float32")
def ones_and_zeros(n):
    return torch.tril(torch.ones(n, n))


@mask_.wrong("its dtype is torch.int64")
def integers(n):
    return torch.tril(torch.ones(n, n, dtype=torch.int64))


@mask_.wrong("has the shape (1, 4, 4)")
def with_a_batch_axis(n):
    return lesson08.causal_mask(n)[None]


@mask_.wrong("is a ndarray; a tensor is wanted")
def numpy_mask(n):
    return np.tril(np.ones((n, n), dtype=bool))


@mask_.wrong("is None. Is there a return?")
def returns_nothing(n):
    torch.ones(n, n, dtype=torch.bool).tril_()


@mask_.wrong("wrong at row 2, column 0, row 3, column 0")
def a_window_of_two(n):
    mask = torch.ones(n, n, dtype=torch.bool)
    return mask.tril() & mask.triu(-1)


@mask_.wrong("right for four places and wrong for 49")
def rows_of_seven(n):
    mask = lesson08.causal_mask(n)
    mask[7:, 0] = False
    return mask


@mask_.right
def by_comparison(n):
    place = torch.arange(n)
    return place[:, None] >= place


@mask_.right
def by_loops(n):
    mask = torch.zeros(n, n, dtype=torch.bool)
    for t in range(n):
        mask[t, : t + 1] = True
    return mask


@mask_.right
def from_the_additive_one(n):
    return nn.Transformer.generate_square_subsequent_mask(n) == 0


@mask_.right
def from_numpy(n):
    return torch.from_numpy(np.tri(n, dtype=bool))


@mask_.right
def not_the_upper_one(n):
    return ~torch.ones(n, n, dtype=torch.bool).triu(diagonal=1)


@mask_.right
def from_lists(n):
    return torch.tensor([[s <= t for s in range(n)] for t in range(n)])


# 8.2 attention


def scores_of(q, k):
    return q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5


@attention_.wrong("the future included")
def forgets_the_mask(q, k, v, mask):
    return scores_of(q, k).softmax(dim=-1) @ v


@attention_.wrong("not divided by √d")
def forgets_the_root(q, k, v, mask):
    return (q @ k.mT).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("multiplied by √d")
def multiplies_by_the_root(q, k, v, mask):
    return (q @ k.mT * q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("the root of n, not of d")
def root_of_places(q, k, v, mask):
    return (q @ k.mT / k.shape[-2] ** 0.5).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("divided by d, not by its root")
def divides_by_d(q, k, v, mask):
    return (q @ k.mT / q.shape[-1]).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("is the mask turned?")
def turned_mask(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask.T, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("0 is multiplied by infinity")
def mask_times_infinity(q, k, v, mask):
    return (scores_of(q, k) + (~mask) * -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("looks at what it may not")
def exchanged_mask(q, k, v, mask):
    return scores_of(q, k).masked_fill(mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("set to 0 after the softmax")
def masks_the_weights(q, k, v, mask):
    return scores_of(q, k).softmax(dim=-1).masked_fill(~mask, 0) @ v


@attention_.wrong("A score of 0 still gets a weight")
def zero_scores(q, k, v, mask):
    return (scores_of(q, k) * mask).softmax(dim=-1) @ v


@attention_.wrong("the softmax runs over the places that look")
def wrong_axis(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask, -torch.inf).softmax(dim=-2) @ v


@attention_.wrong("q and k are exchanged")
def exchanged(q, k, v, mask):
    return scores_of(k, q).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("there is no softmax")
def no_softmax(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask, 0) @ v


@attention_.wrong("has the shape (3, 2, 5, 5)")
def the_weights(q, k, v, mask):
    return scores_of(q, k).masked_fill(~mask, -torch.inf).softmax(dim=-1)


@attention_.wrong("changes its input in place")
def scales_in_place(q, k, v, mask):
    q /= q.shape[-1] ** 0.5
    return (q @ k.mT).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("e to the power of 300")
def bare_exponentials(q, k, v, mask):
    weights = scores_of(q, k).exp() * mask
    return weights / weights.sum(dim=-1, keepdim=True) @ v


@attention_.wrong("no gradient comes through")
def without_gradient(q, k, v, mask):
    with torch.no_grad():
        return lesson08.attention(q, k, v, mask)


@attention_.wrong("the gradient of q not")
def detached_weights_in_part(q, k, v, mask):
    weights = scores_of(q, k).masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return lesson08.attention(q.detach(), k, v, mask) + 0 * (weights @ v)


@attention_.wrong("through its own mask")
def ignores_the_given_mask(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@attention_.wrong("which d is it?")
def always_two(q, k, v, mask):
    return (q @ k.mT / 2).masked_fill(~mask, -torch.inf).softmax(dim=-1) @ v


@attention_.wrong("should get its own value")
def values_of_the_queries(q, k, v, mask):
    return lesson08.attention(q, k, q, mask)


@attention_.wrong("too many values to unpack")
def only_for_heads(q, k, v, mask):
    batch, n, d = q.shape
    return lesson08.attention(q, k, v, mask)


@attention_.right
def built_in(q, k, v, mask):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@attention_.right
def with_where(q, k, v, mask):
    scores = torch.einsum("...nd,...md->...nm", q, k) * q.size(-1) ** -0.5
    weights = F.softmax(torch.where(mask, scores, -1e9), dim=-1)
    return torch.einsum("...nm,...md->...nd", weights, v)


@attention_.right
def row_by_row(q, k, v, mask):
    rows = []
    for t, may in enumerate(mask):
        scores = (q[..., t : t + 1, :] * k[..., may, :]).sum(dim=-1) / math.sqrt(q.shape[-1])
        rows.append((scores.softmax(dim=-1)[..., None] * v[..., may, :]).sum(dim=-2))
    return torch.stack(rows, dim=-2)


@attention_.right
def renormalised(q, k, v, mask):
    scores = scores_of(q, k)
    weights = (scores - scores.masked_fill(~mask, -torch.inf).amax(dim=-1, keepdim=True)).clamp(max=0).exp() * mask
    return weights @ v / weights.sum(dim=-1, keepdim=True)


@attention_.right
def added_infinity(q, k, v, mask):
    bias = torch.zeros(mask.shape, device=q.device).masked_fill(mask.logical_not(), float("-inf"))
    return torch.softmax(scores_of(q, k) + bias, dim=-1) @ v


@attention_.right
def values_mixed_with_log_mask(q, k, v, mask):
    return (scores_of(q, k) + mask.float().log()).softmax(-1).matmul(v)


# 8.3 shift


@shift_.wrong("the bug is still there: for the codes 5 6 7 8")
def the_bug_itself(codes, start):
    inputs = codes.clone()
    inputs[:, 0] = start
    return inputs


@shift_.wrong("it gives the codes themselves")
def nothing_at_all(codes, start):
    return codes


@shift_.wrong("the model would see the next one")
def other_way(codes, start):
    return torch.cat([codes[:, 1:], start[:, None]], dim=1)


@shift_.wrong("has come round to the front")
def rolled(codes, start):
    return codes.roll(1, dims=1)


@shift_.wrong("the other way round")
def rolled_back(codes, start):
    return codes.roll(-1, dims=1)


@shift_.wrong("one longer than the codes")
def forgets_to_drop_the_last(codes, start):
    return torch.cat([start[:, None], codes], dim=1)


@shift_.wrong("one shorter than the codes")
def drops_without_start(codes, start):
    return codes[:, :-1]


@shift_.wrong("the start token stands at the end")
def start_at_the_end(codes, start):
    return torch.cat([codes[:, :-1], start[:, None]], dim=1)


@shift_.wrong("moved by two places")
def twice(codes, start):
    return lesson08.shift(lesson08.shift(codes, start), start)


@shift_.wrong("both images have the start token of the first")
def one_start_for_all(codes, start):
    return torch.cat([start[0].expand(len(codes), 1), codes[:, :-1]], dim=1)


@shift_.wrong("starts with 0, which is a code")
def padded_with_zero(codes, start):
    return F.pad(codes[:, :-1], (1, 0))


@shift_.wrong("changes its input in place")
def in_place(codes, start):
    codes[:, 1:] = codes[:, :-1].clone()
    codes[:, 0] = start
    return codes


@shift_.wrong("Dimension out of range")
def forgets_the_axis(codes, start):
    return torch.cat([start, codes[:, :-1]], dim=1)


@shift_.wrong("its dtype is torch.float32")
def floats(codes, start):
    inputs = torch.zeros(codes.shape)
    inputs[:, 0], inputs[:, 1:] = start, codes[:, :-1]
    return inputs


@shift_.wrong("it gives 90 5 5 6")
def overlapping_copies(codes, start):
    inputs = lesson08.shift(codes, start)
    inputs[:, 2:] = inputs[:, 1:-1].clone()
    return inputs


@shift_.right
def by_rolling(codes, start):
    inputs = codes.roll(1, dims=1)
    inputs[:, 0] = start
    return inputs


@shift_.right
def by_filling(codes, start):
    inputs = torch.empty_like(codes)
    inputs[:, 0], inputs[:, 1:] = start, codes[:, :-1]
    return inputs


@shift_.right
def longer_then_cut(codes, start):
    return torch.hstack([start.view(-1, 1), codes])[:, :-1]


@shift_.right
def row_by_row_in_lists(codes, start):
    rows = [[first, *row[:-1]] for first, row in zip(start.tolist(), codes.tolist())]
    return torch.tensor(rows, device=codes.device)


@shift_.right
def by_padding(codes, start):
    return F.pad(codes, (1, -1)).index_copy(1, torch.zeros(1, dtype=torch.int64, device=codes.device), start[:, None])


# 8.4 bits_per_image


@bits_.wrong("those are nats")
def stays_in_nats(nats_per_code, places=49, classes=1):
    return nats_per_code * places + math.log(classes)


@bits_.wrong("A bit is less than a nat")
def multiplies(nats_per_code, places=49, classes=1):
    return nats_per_code * places * math.log(2) + math.log2(classes)


@bits_.wrong("that is one code")
def of_one_code(nats_per_code, places=49, classes=1):
    return nats_per_code / math.log(2) + math.log2(classes)


@bits_.wrong("divided by the number of codes")
def divides_by_places(nats_per_code, places=49, classes=1):
    return nats_per_code / places / math.log(2) + math.log2(classes)


@bits_.wrong("the class is forgotten")
def forgets_the_class(nats_per_code, places=49, classes=1):
    return nats_per_code * places / math.log(2)


@bits_.wrong("the class is counted in nats")
def class_in_nats(nats_per_code, places=49, classes=1):
    return nats_per_code * places / math.log(2) + math.log(classes)


@bits_.wrong("how many yes-or-no questions")
def adds_the_classes(nats_per_code, places=49, classes=1):
    return nats_per_code * places / math.log(2) + (classes if classes > 1 else 0)


@bits_.wrong("once is enough")
def class_with_every_code(nats_per_code, places=49, classes=1):
    return places * (nats_per_code / math.log(2) + math.log2(classes))


@bits_.wrong("taken off")
def takes_it_off(nats_per_code, places=49, classes=1):
    return nats_per_code * places / math.log(2) - math.log2(classes)


@bits_.wrong("the class's bits, too, are divided by log 2")
def divides_everything(nats_per_code, places=49, classes=1):
    return (nats_per_code * places + math.log2(classes)) / math.log(2)


@bits_.wrong("is a str; a number is wanted")
def as_a_text(nats_per_code, places=49, classes=1):
    return f"{nats_per_code * places} + log {classes} nats"


@bits_.wrong("and no class, are 10 bits; yours are 49")
def forty_nine_always(nats_per_code, places=49, classes=1):
    return nats_per_code * 49 / math.log(2) + math.log2(classes)


@bits_.wrong("is None. Is there a return, in every case?")
def prints(nats_per_code, places=49, classes=1):
    print(nats_per_code * places / math.log(2) + math.log2(classes))


@bits_.wrong("turned into bits twice")
def twice_into_bits(nats_per_code, places=49, classes=1):
    return nats_per_code / math.log(2) ** 2 * places + math.log2(classes)


@bits_.wrong("should be 70.69; yours is 71.00")
def whole_bits(nats_per_code, places=49, classes=1):
    return round(nats_per_code * places / math.log(2)) + round(math.log2(classes))


@bits_.right
def by_one_quotient(nats_per_code, places=49, classes=1):
    return (places * nats_per_code + math.log(classes)) / math.log(2)


@bits_.right
def by_log2_e(nats_per_code, places=49, classes=1):
    return places * nats_per_code * math.log2(math.e) + math.log2(classes)


@bits_.right
def with_torch(nats_per_code, places=49, classes=1):
    return torch.tensor((nats_per_code * places) / 0.6931471805599453) + torch.tensor(float(classes)).log2()


@bits_.right
def with_numpy(nats_per_code, places=49, classes=1):
    return np.log2(np.exp(nats_per_code)) * places + np.log2(classes)


# 8.5 next_code


def keep(logits, top_k):
    if top_k is None:
        return logits
    return logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)


def draw_from(logits):
    return torch.multinomial(logits.softmax(dim=-1), 1)[:, 0]


@draw_.wrong("always takes the likeliest code")
def greedy(logits, temperature=1.0, top_k=None):
    return logits.argmax(dim=-1)


@draw_.wrong("the wrong way round")
def multiplies_by_it(logits, temperature=1.0, top_k=None):
    return draw_from(keep(logits, top_k) * temperature)


@draw_.wrong("where does the temperature come in?")
def no_temperature(logits, temperature=1.0, top_k=None):
    return draw_from(keep(logits, top_k))


@draw_.wrong("every code is still drawn: where does top_k come in?")
def no_top_k(logits, temperature=1.0, top_k=None):
    return draw_from(logits / temperature)


@draw_.wrong("places in the order of likelihood")
def place_in_the_order(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits = logits.topk(top_k).values
    return draw_from(logits / temperature)


@draw_.wrong("it keeps the 2 least likely codes")
def keeps_the_least(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits = logits.masked_fill(logits > logits.topk(top_k, largest=False).values[:, -1:], -torch.inf)
    return draw_from(logits / temperature)


@draw_.wrong("it keeps codes 0 to 1, likely or not")
def keeps_the_first(logits, temperature=1.0, top_k=None):
    return draw_from(logits[:, :top_k] / temperature)


@draw_.wrong("it draws all that is kept alike")
def alike_among_the_kept(logits, temperature=1.0, top_k=None):
    if top_k is None:
        return draw_from(logits / temperature)
    chosen = logits.topk(top_k).indices
    return chosen[torch.arange(len(logits)), torch.randint(top_k, (len(logits),))]


@draw_.wrong("the same code: one is drawn for all")
def one_for_all(logits, temperature=1.0, top_k=None):
    return draw_from((keep(logits, top_k) / temperature)[:1]).expand(len(logits))


@draw_.wrong("softmax is taken twice")
def softmax_twice(logits, temperature=1.0, top_k=None):
    return draw_from((keep(logits, top_k) / temperature).softmax(dim=-1))


@draw_.wrong("all codes are drawn alike")
def uniform(logits, temperature=1.0, top_k=None):
    return torch.randint(logits.shape[-1], (len(logits),))


@draw_.wrong("the less likely a code")
def wrong_sign(logits, temperature=1.0, top_k=None):
    return draw_from(-keep(logits, None) / temperature)


@draw_.wrong("the probabilities are divided; it is the logits")
def divides_probabilities(logits, temperature=1.0, top_k=None):
    probabilities = logits.softmax(dim=-1)
    return draw_from(probabilities / temperature) if temperature != 1 else draw_from(keep(logits, top_k))


@draw_.wrong("at 0.25: is it in twice?")
def twice_divided(logits, temperature=1.0, top_k=None):
    return draw_from(keep(logits / temperature, top_k) / temperature)


@draw_.wrong("has the shape (20000, 1)")
def forgets_the_axis_of_multinomial(logits, temperature=1.0, top_k=None):
    return torch.multinomial((keep(logits, top_k) / temperature).softmax(dim=-1), 1)


@draw_.wrong("changes the logits in place")
def divides_in_place(logits, temperature=1.0, top_k=None):
    logits /= 2 * temperature
    return draw_from(2 * keep(logits, top_k))


@draw_.wrong("it draws the same every time")
def seeded(logits, temperature=1.0, top_k=None):
    torch.manual_seed(0)
    return draw_from(keep(logits, top_k) / temperature)


@draw_.wrong("is none of the 2 likeliest codes")
def one_too_many(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        top_k = min(top_k + 1, logits.shape[-1])
    return draw_from(keep(logits, top_k) / temperature)


@draw_.wrong("it forgets the temperature")
def top_k_without_temperature(logits, temperature=1.0, top_k=None):
    return draw_from(logits / temperature) if top_k is None else draw_from(keep(logits, top_k))


@draw_.wrong("is none of the 3 likeliest codes")
def zeros_instead_of_infinity(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -3.0 * (5 - top_k) - 100 * (top_k < 3))
    return draw_from(logits / temperature)


@draw_.wrong("probability tensor contains either `inf`, `nan`")
def bare_exponentials_of_logits(logits, temperature=1.0, top_k=None):
    return torch.multinomial((keep(logits, top_k) / temperature).exp(), 1)[:, 0]


@draw_.wrong("do its exponentials overflow?")
def exponentials_made_finite(logits, temperature=1.0, top_k=None):
    weights = (keep(logits, top_k) / temperature).exp().clamp(max=1e30) + 1e-30
    return torch.multinomial(weights / weights.sum(dim=-1, keepdim=True), 1)[:, 0]


@draw_.wrong("it keeps one code less")
def loses_the_last_of_the_top(logits, temperature=1.0, top_k=None):
    if top_k not in (None, logits.shape[-1]):
        logits = logits.masked_fill(logits <= logits.topk(top_k).values[:, -1:], -torch.inf)
    return draw_from(logits / temperature)


@draw_.wrong("each row has its own top 2")
def threshold_of_the_first_row(logits, temperature=1.0, top_k=None):
    if top_k is not None:
        logits = logits.masked_fill(logits < logits[0].topk(top_k).values[-1], -1e9)
    return draw_from(logits / temperature)


@draw_.wrong("along which axis does the softmax run?")
def softmax_over_the_batch(logits, temperature=1.0, top_k=None):
    return torch.multinomial((keep(logits, top_k) / temperature).softmax(dim=0), 1)[:, 0]


@draw_.wrong("for a batch of 1 has the shape ()")
def squeezes_the_batch(logits, temperature=1.0, top_k=None):
    return torch.multinomial((keep(logits, top_k) / temperature).softmax(dim=-1), 1).squeeze()


@draw_.wrong("its dtype is torch.float32")
def as_floats(logits, temperature=1.0, top_k=None):
    return draw_from(keep(logits, top_k) / temperature).float()


@draw_.right
def by_gumbel_noise(logits, temperature=1.0, top_k=None):
    noise = -torch.empty_like(logits).exponential_().log()
    return (keep(logits, top_k) / temperature + noise).argmax(dim=-1)


@draw_.right
def by_numpy(logits, temperature=1.0, top_k=None):
    chances = (keep(logits, top_k) / temperature).double().softmax(dim=-1).cpu().numpy()
    generator = np.random.default_rng(int(torch.randint(2**31, (1,))))
    return torch.tensor([generator.choice(len(row), p=row) for row in chances]).to(logits.device)


@draw_.right
def by_categorical(logits, temperature=1.0, top_k=None):
    return torch.distributions.Categorical(logits=keep(logits / temperature, top_k)).sample()


@draw_.right
def among_the_top(logits, temperature=1.0, top_k=None):
    values, codes = logits.topk(top_k or logits.shape[-1], dim=-1)
    place = torch.multinomial(F.softmax(values / temperature, dim=-1), 1)
    return codes.gather(1, place).flatten()


@draw_.right
def by_powers_of_probabilities(logits, temperature=1.0, top_k=None):
    powers = (logits.log_softmax(dim=-1) / temperature).softmax(dim=-1)
    if top_k is not None:
        powers = powers * torch.zeros_like(powers).scatter(1, logits.topk(top_k).indices, 1.0)
    return torch.multinomial(powers, 1).squeeze(1)


@draw_.right
def by_cumulative_sums(logits, temperature=1.0, top_k=None):
    chances = (keep(logits, top_k) / temperature).softmax(dim=-1).double().cumsum(dim=-1)
    chances = chances / chances[:, -1:]
    return (torch.rand(len(logits), 1, device=logits.device).double() >= chances).sum(dim=-1)


@draw_.right
def image_by_image(logits, temperature=1.0, top_k=None):
    return torch.stack([torch.multinomial(row.softmax(0), 1)[0] for row in keep(logits, top_k) / temperature])


# 8.6 prediction


@predict.wrong("what of their spread?")
def neater_is_nearer():
    return "nearer"


@predict.wrong("1/25 as many draws")
def no_difference():
    return "alike"


@predict.wrong('"colder" is none of')
def another_word():
    return "Colder"


@predict.wrong("you answer None;")
def says_it_only():
    print("farther")


@predict.wrong("you answer True;")
def a_boolean():
    return True


@predict.wrong("you answer ('farther',);")
def a_tuple():
    return ("farther",)


@predict.wrong("you answer 2;")
def a_number():
    return 2


@predict.right
def in_capitals():
    return " FARTHER "


@predict.right
def by_reasoning():
    spread_shrinks = True
    return "farther" if spread_shrinks else "nearer"


test_wrong, test_right, test_galleries = gallery_tests(galleries)


# The lesson's mathematics


def test_the_mask_is_that_of_pytorchs_transformer():
    theirs = nn.Transformer.generate_square_subsequent_mask(49)  # 0 where a place may look, else -inf
    assert torch.equal(lesson08.causal_mask(49), theirs == 0)


@pytest.mark.parametrize("n, m", [(5, 5), (1, 5), (3, 7)])
def test_attention_is_pytorchs(n, m):
    q, k, v = torch.randn(2, 4, n, 16), torch.randn(2, 4, m, 16), torch.randn(2, 4, m, 16)
    mask = lesson08.causal_mask(m)[m - n :]
    torch.testing.assert_close(
        lesson08.attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    )


def test_attention_place_by_place_is_attention_at_once():
    """What the cache relies on: the newest query with all keys gives the row that all queries give."""
    q, k, v = torch.randn(3, 2, 4, 9, 16)
    at_once = lesson08.attention(q, k, v, lesson08.causal_mask(9))
    for t in range(9):
        mask = lesson08.causal_mask(t + 1)[t:]
        row = lesson08.attention(q[..., t : t + 1, :], k[..., : t + 1, :], v[..., : t + 1, :], mask)
        torch.testing.assert_close(row, at_once[..., t : t + 1, :])


def test_a_shifted_prior_is_a_probability():
    """The chain rule: over all sequences, the product of the conditionals sums to 1. Unshifted, it does not."""
    codes, places = 3, 4
    torch.manual_seed(0)
    table = nn.Embedding(codes + 1, codes)  # a prior that sees the token before alone
    table.requires_grad_(False)
    every = torch.cartesian_prod(*[torch.arange(codes)] * places)
    start = torch.full((len(every),), codes)

    def total(inputs):
        nats = F.cross_entropy(table(inputs).movedim(-1, 1), every, reduction="none").sum(dim=1)
        return (-nats).exp().sum().item()

    assert total(lesson08.shift(every, start)) == pytest.approx(1.0, abs=1e-5)
    copied = every.clone()
    copied[:, 0] = start
    assert abs(total(copied) - 1) > 0.05


def test_bits_of_uniform_codes():
    assert lesson08.bits_per_image(math.log(128)) == pytest.approx(343)
    assert lesson08.bits_per_image(math.log(128), classes=10) == pytest.approx(343 + 3.3219, abs=1e-3)
