"""Vector quantisation: against the package vector-quantize-pytorch, k-means, SciPy, and numbers worked out by hand."""

import copy
import math

import pytest
import scipy.stats
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F

from aecourse import data, metrics
from aecourse.losses import quantization_losses, squared_error
from aecourse.models import (
    VQVAE,
    EMAQuantizer,
    LinearAutoencoder,
    VectorQuantizer,
    count_parameters,
    nearest_code,
    straight_through,
)
from aecourse.training import evaluate, fit, in_batches

QUANTIZERS = [VectorQuantizer, EMAQuantizer]


def started(quantizer):
    """The quantiser with a codebook far from zero, in place of the one that the first batch would give it."""
    with torch.no_grad():
        quantizer.codebook.copy_(torch.randn_like(quantizer.codebook))
        quantizer.initialized.fill_(True)
        if isinstance(quantizer, EMAQuantizer):
            quantizer.sums.copy_(quantizer.codebook)
    return quantizer


def state(module):
    return copy.deepcopy(module.state_dict())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def flat(z):
    """(batch, dim, height, width) → (batch · height · width, dim)."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def quiet(model, images, *rest, **keywords):
    return fit(model, images, *rest, device="cpu", progress=False, **keywords)


# The nearest vector of the codebook


@pytest.mark.parametrize("n, size, dim", [(1, 1, 1), (500, 7, 1), (500, 128, 16), (3, 512, 64)])
def test_nearest_code_is_that_of_all_distances(n, size, dim):
    z, codebook = 3 * torch.randn(n, dim), torch.randn(size, dim)
    codes = nearest_code(z, codebook)
    assert codes.shape == (n,) and codes.dtype == torch.int64
    assert torch.equal(codes, torch.cdist(z.double(), codebook.double()).argmin(dim=1))


def test_nearest_code_by_hand():
    codebook = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 3.0]])
    z = torch.tensor([[4.9, 0.0], [5.1, 0.0], [100.0, 99.0], [-1.0, 1.4], [-1.0, 1.6]])
    assert nearest_code(z, codebook).tolist() == [0, 1, 1, 0, 2]


def test_of_codes_equally_near_one_is_chosen():
    codebook = torch.tensor([[5.0, 5.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])  # the second and the last are the same
    assert set(nearest_code(torch.zeros(20, 2), codebook).tolist()) <= {1, 2, 3}
    assert set(nearest_code(torch.full((20, 2), 0.1), codebook).tolist()) <= {1, 3}
    assert set(nearest_code(torch.zeros(5, 2), torch.zeros(4, 2)).tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("offset, wrong", [(0, 0), (3, 0), (10, 0.001), (100, 0.02)])
def test_vectors_far_from_the_origin_still_find_their_code(offset, wrong):
    # The squares grow with the offset and their differences do not: at 100 standard deviations float32 mistakes
    # one in a hundred, at 1,000 almost half, and no more than torch.cdist, which expands the square as well.
    z, codebook = torch.randn(4000, 16) + offset, torch.randn(128, 16) + offset
    distances = torch.cdist(z.double(), codebook.double()).square()
    codes = nearest_code(z, codebook)
    assert (codes != distances.argmin(dim=1)).double().mean() <= wrong
    too_far = distances.gather(1, codes[:, None])[:, 0] - distances.amin(dim=1)
    rounding = torch.finfo(torch.float32).eps * codebook.square().sum(dim=1).max()
    assert too_far.max() <= 4 * rounding, "it mistakes only codes that are equally near but for rounding"


# Straight through, and the two losses


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    z, quantized, weights = torch.randn(3, 2, 4, 5, 5, dtype=torch.double).unbind()
    z, quantized = z.requires_grad_(), quantized.requires_grad_()
    out = straight_through(z, quantized)
    torch.testing.assert_close(out, quantized)
    (out * weights).sum().backward()
    assert torch.equal(z.grad, weights) and quantized.grad is None


def test_quantization_losses_by_hand():
    z = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]]], [[[0.0, 0.0]], [[0.0, 5.0]]]], requires_grad=True)
    quantized = torch.tensor([[[[0.0, 2.0]], [[0.0, 3.0]]], [[[0.0, 0.0]], [[1.0, 3.0]]]], requires_grad=True)
    codebook, commitment = quantization_losses(z, quantized)
    assert codebook.tolist() == commitment.tolist() == [10.0, 5.0], "summed over the places of each image"
    assert torch.autograd.grad(codebook.sum(), (z, quantized), retain_graph=True, allow_unused=True)[0] is None
    assert torch.autograd.grad(commitment.sum(), (z, quantized), retain_graph=True, allow_unused=True)[1] is None
    (pull,) = torch.autograd.grad(codebook.sum(), quantized)
    (push,) = torch.autograd.grad(commitment.sum(), z)
    assert torch.equal(pull, 2 * (quantized - z)) and torch.equal(push, 2 * (z - quantized))


# What both quantisers do


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch, height, width", [(1, 7, 7), (3, 2, 5), (2, 1, 1)])
def test_every_place_gets_its_nearest_vector(quantizer_class, training, batch, height, width):
    quantizer = started(quantizer_class(6, 4)).train(training)
    before, z = quantizer.codebook.detach().clone(), torch.randn(batch, 4, height, width)
    quantized, codes, codebook, commitment = quantizer(z)
    assert quantized.shape == z.shape and codes.shape == (batch, height, width) and codes.dtype == torch.int64
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                distances = (z[b, :, i, j] - before).square().sum(dim=1)
                assert codes[b, i, j] == distances.argmin()
                assert torch.allclose(quantized[b, :, i, j], before[codes[b, i, j]], atol=1e-6), "as it was before"
    expected = squared_error(quantized, z)
    assert codebook.shape == commitment.shape == (batch,)
    torch.testing.assert_close(codebook, expected)
    torch.testing.assert_close(commitment, expected)


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_lookup(quantizer_class):
    quantizer, codes = started(quantizer_class(6, 4)), torch.randint(6, (3, 2, 5))
    vectors = quantizer.lookup(codes)
    assert vectors.shape == (3, 4, 2, 5) and torch.equal(vectors[1, :, 0, 4], quantizer.codebook[codes[1, 0, 4]])
    assert torch.equal(quantizer.eval()(vectors.detach())[1], codes), "vectors of the codebook are their own nearest"


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_the_codebook_starts_at_distinct_vectors_of_the_first_batch(quantizer_class):
    z = torch.randn(8, 4, 5, 5)
    z[:, :, 1:] = 0.5  # four of five places are the same: the black of a digit
    quantizer, vectors = quantizer_class(30, 4), flat(z)
    quantizer.init_codebook(vectors)
    codebook = quantizer.codebook.detach()
    assert len(codebook.unique(dim=0)) == 30
    assert (codebook[:, None] == vectors).all(dim=2).any(dim=1).all(), "and all of them are the batch's"
    assert quantizer.initialized
    orders = set()
    for seed in range(3):
        torch.manual_seed(seed)
        quantizer.init_codebook(vectors)
        orders.add(str(quantizer.codebook.tolist()))
    assert len(orders) == 3, "drawn at random"


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_of_fewer_vectors_than_codes_all_are_taken(quantizer_class):
    vectors = torch.randn(5, 4)
    quantizer = quantizer_class(12, 4)
    quantizer.init_codebook(vectors.repeat(10, 1))
    assert torch.equal(quantizer.codebook.detach().unique(dim=0), vectors.unique(dim=0))
    taken = torch.cdist(quantizer.codebook.detach(), vectors).argmin(dim=1).bincount()
    assert sorted(taken.tolist()) == [2, 2, 2, 3, 3], "twelve places for five vectors"
    quantizer.init_codebook(vectors[:1])
    assert torch.equal(quantizer.codebook.detach(), vectors[:1].expand(12, 4))


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_it_starts_once_and_only_in_training(quantizer_class):
    quantizer, z = quantizer_class(6, 4), torch.randn(5, 4, 3, 3)
    before = state(quantizer)
    quantizer.eval()(z)
    assert same(before, state(quantizer)) and not quantizer.initialized
    quantizer.train()(z)
    assert quantizer.initialized and quantizer(z)[2].mean() < 0.9 * squared_error(z, torch.zeros_like(z)).mean()
    starts = []
    quantizer.init_codebook = starts.append
    quantizer(z + 100)
    assert not starts, "and never anew"


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_evaluation_moves_nothing_and_draws_nothing(quantizer_class):
    quantizer, z = started(quantizer_class(6, 4)).eval(), torch.randn(5, 4, 3, 3)
    before, random = state(quantizer), torch.get_rng_state()
    first, second = quantizer(z), quantizer(z)
    assert same(before, state(quantizer)) and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(*pair) for pair in zip(first, second))


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_the_vectors_that_come_in_are_not_changed(quantizer_class):
    quantizer, z = quantizer_class(6, 4).train(), torch.randn(5, 4, 3, 3)
    before = z.clone()
    quantizer(z)
    quantizer(z)
    assert torch.equal(z, before)


# The codebook that gradients move


def test_which_term_reaches_what():
    quantizer, z = started(VectorQuantizer(6, 4)).train(), torch.randn(5, 4, 3, 3, requires_grad=True)
    weights = torch.randn_like(z)
    quantized, codes, codebook, commitment = quantizer(z)

    def gradients(value):
        return torch.autograd.grad(value, (z, quantizer.codebook), retain_graph=True, allow_unused=True)

    through, nothing = gradients((quantized * weights).sum())
    assert torch.equal(through, weights) and nothing is None, "what comes after teaches the encoder alone"
    nothing, pull = gradients(codebook.sum())
    vectors, assigned = flat(z.detach()), F.one_hot(codes.flatten(), 6).float()
    expected = 2 * (assigned.sum(dim=0)[:, None] * quantizer.codebook - assigned.T @ vectors)
    assert nothing is None
    torch.testing.assert_close(pull, expected, msg="each code towards the vectors it stands for")
    push, nothing = gradients(commitment.sum())
    torch.testing.assert_close(push, 2 * (z - quantizer.lookup(codes)).detach())
    assert nothing is None


def test_a_code_that_is_not_used_gets_no_gradient():
    quantizer = started(VectorQuantizer(3, 4))
    with torch.no_grad():
        quantizer.codebook[1] = 1000
    quantizer(torch.randn(5, 4, 3, 3))[2].sum().backward()
    assert not quantizer.codebook.grad[1].any() and quantizer.codebook.grad[[0, 2]].any(dim=1).all()


def test_gradient_descent_on_the_codebook_loss_ends_at_the_means():
    z = torch.cat([torch.randn(40, 2) + 10, torch.randn(60, 2) - 10]).T.reshape(1, 2, 10, 10)
    quantizer = VectorQuantizer(2, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        quantizer.initialized.fill_(True)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.005)
    for _ in range(100):
        optimizer.zero_grad()
        quantizer(z)[2].sum().backward()
        optimizer.step()
    vectors = flat(z)
    expected = torch.stack([vectors[:40].mean(dim=0), vectors[40:].mean(dim=0)])
    torch.testing.assert_close(quantizer.codebook.detach(), expected, rtol=1e-4, atol=1e-4)


# The codebook that is a moving average


def test_a_training_step_moves_the_averages_by_hand():
    quantizer = EMAQuantizer(3, 2, decay=0.9, threshold=0).train()
    start = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    with torch.no_grad():
        quantizer.codebook.copy_(start)
        quantizer.sums.copy_(start)
        quantizer.initialized.fill_(True)
    z = torch.tensor([[1.0, 1.0], [2.0, 0.0], [9.0, 1.0], [0.0, 3.0]]).T.reshape(1, 2, 2, 2)
    quantized, codes, *_ = quantizer(z)
    assert codes.flatten().tolist() == [0, 0, 1, 0] and torch.allclose(flat(quantized), start[[0, 0, 1, 0]], atol=1e-6)
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.2, 1.0, 0.9]))
    torch.testing.assert_close(quantizer.sums, torch.tensor([[0.3, 0.4], [9.9, 0.1], [0.0, 9.0]]))
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[0.25, 1 / 3], [9.9, 0.1], [0.0, 10.0]]))


def test_every_vector_of_the_start_counts_as_one():
    quantizer = EMAQuantizer(6, 4)
    quantizer.counts.fill_(7.0)
    quantizer.init_codebook(torch.randn(20, 4))
    assert quantizer.counts.tolist() == 6 * [1] and torch.equal(quantizer.sums, quantizer.codebook)


def test_the_same_batch_again_and_again_ends_at_the_mean_of_each_code():
    quantizer = started(EMAQuantizer(4, 3, decay=0.9, threshold=0)).train()
    vectors, codes = torch.randn(50, 3), torch.arange(50) % 4
    start, n = quantizer.codebook.clone(), codes.bincount().float()
    sums = torch.stack([vectors[codes == code].sum(dim=0) for code in range(4)])
    for step in range(1, 251):
        quantizer.update(vectors, codes)
        if step in (1, 10, 250):
            old = 0.9**step
            counts = old + (1 - old) * n
            torch.testing.assert_close(quantizer.counts, counts, rtol=1e-4, atol=1e-5)
            expected = (old * start + (1 - old) * sums) / counts[:, None]
            torch.testing.assert_close(quantizer.codebook, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quantizer.codebook, sums / n[:, None], rtol=1e-4, atol=1e-5)


def test_repeated_training_steps_end_at_a_fixed_point_of_k_means():
    z = torch.randn(6, 3, 7, 7)
    quantizer = EMAQuantizer(5, 3, decay=0.8).train()
    for _ in range(300):
        quantizer(z)
    codes = quantizer.eval()(z)[1].flatten()
    means = torch.stack([flat(z)[codes == code].mean(dim=0) for code in range(5)])
    torch.testing.assert_close(quantizer.codebook, means, rtol=1e-4, atol=1e-4)


def test_no_gradient_reaches_a_moving_average():
    quantizer, z = started(EMAQuantizer(6, 4)).train(), torch.randn(5, 4, 3, 3, requires_grad=True)
    before = quantizer.codebook.clone()
    quantized, codes, codebook, commitment = quantizer(z)
    assert count_parameters(quantizer) == 0 and not codebook.requires_grad
    assert not any(value.requires_grad for value in (quantizer.codebook, quantizer.counts, quantizer.sums))
    weights = torch.randn_like(z)
    ((quantized * weights).sum() + commitment.sum()).backward()  # after the codebook has moved
    expected = weights + 2 * (z.detach() - before[codes].movedim(-1, 1))
    torch.testing.assert_close(z.grad, expected)
    assert quantizer.codebook.grad is None and not torch.equal(quantizer.codebook, before)


@pytest.mark.parametrize("least", [0.1, 1.0])
def test_a_code_that_is_never_used_starts_anew_at_a_vector_of_the_batch(least):
    quantizer = EMAQuantizer(3, 2, decay=0.9, threshold=least).train()
    quantizer.init_codebook(torch.tensor([[1000.0, 1000.0], [1000.0, -1000.0], [0.0, 0.0]]))
    lost = quantizer.codebook.norm(dim=1) > 100
    z = torch.randn(4, 2, 3, 3)
    quantizer(z)
    steps = 1
    while (quantizer.codebook[lost].norm(dim=1) > 100).any() and steps < 100:
        assert torch.allclose(quantizer.codebook[lost].abs(), torch.tensor(1000.0)), "not before its time"
        quantizer(z)
        steps += 1
    assert steps == math.ceil(math.log(least) / math.log(0.9) + 1e-3), "as soon as its count is below the least"
    vectors = flat(z)
    assert (quantizer.codebook[lost][:, None] == vectors).all(dim=2).any(dim=1).all()
    assert quantizer.counts[lost].tolist() == [1, 1] and torch.equal(quantizer.sums[lost], quantizer.codebook[lost])
    for _ in range(100):
        quantizer(z)
    assert len(quantizer.eval()(z)[1].unique()) == 3, "and takes part from then on"


def test_codes_start_anew_each_at_another_vector():
    quantizer, z = EMAQuantizer(40, 2).train(), torch.randn(4, 2, 5, 5)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        quantizer.init_codebook(1000 + torch.arange(80.0).view(40, 2))
        quantizer(z)
        assert (quantizer.codebook.norm(dim=1) < 100).sum() >= 39, "all but the one that was nearest"
        assert len(quantizer.codebook.unique(dim=0)) > 20, "drawn from the hundred"
        runs.append(quantizer.codebook.clone())
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_codes_that_are_used_enough_do_not_start_anew():
    quantizer = EMAQuantizer(3, 2, threshold=1.0).train()
    vectors = 100 * torch.eye(3)[:, :2]
    for repeats in (1, 2, 10):  # one vector for each code is the least
        quantizer.init_codebook(vectors)
        for _ in range(200):
            z = vectors.repeat(repeats, 1).T.reshape(1, 2, -1, 1)
            quantizer(z)
        torch.testing.assert_close(quantizer.codebook.sort(dim=0).values, vectors.sort(dim=0).values)


def test_a_dead_code_stays_dead_and_where_it_was_without_restarts():
    quantizer = EMAQuantizer(3, 2, threshold=0).train()
    quantizer.init_codebook(torch.tensor([[1000.0, 0.0], [0.0, -3.0], [0.0, 0.5]]))
    start = quantizer.codebook.clone()
    used = int((start == 0.5).any(dim=1).nonzero())
    dead = [code for code in range(3) if code != used]
    vectors, codes = torch.full((4, 2), 0.5), torch.full((4,), used)
    for step in range(8000):  # counts and sums shrink alike, to 1e-35: their quotient stays
        quantizer.update(vectors, codes)
        if step % 1000 == 999:
            assert (quantizer.counts[dead] > 0).all() and quantizer.codebook.isfinite().all()
    torch.testing.assert_close(quantizer.codebook[dead], start[dead], rtol=1e-4, atol=0)
    torch.testing.assert_close(quantizer.codebook[used], torch.tensor([0.5, 0.5]), rtol=1e-4, atol=0)


def test_the_averages_hold_what_the_codebook_is():
    quantizer = EMAQuantizer(16, 4).train()
    for _ in range(30):
        quantizer(torch.randn(3, 4, 5, 5))
        torch.testing.assert_close(quantizer.codebook, quantizer.sums / quantizer.counts[:, None])
        assert (quantizer.counts >= quantizer.threshold).all()
    assert quantizer.counts.sum() <= 75 * 1.01 and quantizer.codebook.isfinite().all()


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_state_goes_into_another_quantizer(quantizer_class):
    one, other = quantizer_class(6, 4).train(), quantizer_class(6, 4).train()
    for _ in range(3):
        one(torch.randn(5, 4, 3, 3))
    names = {"codebook", "initialized"} | ({"counts", "sums"} if quantizer_class is EMAQuantizer else set())
    assert set(one.state_dict()) == names
    other.load_state_dict(state(one))
    assert other.initialized
    torch.manual_seed(1)
    z = torch.randn(5, 4, 3, 3)
    torch.manual_seed(2)
    expected = one(z)
    torch.manual_seed(2)
    assert all(torch.equal(*pair) for pair in zip(other(z), expected)), "it does not start anew"
    assert same(state(one), state(other))
    assert one.codebook.data_ptr() != other.codebook.data_ptr()


# The autoencoder


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_skeleton_of_a_vqvae(quantizer_class, batch):
    model, x = VQVAE(started(quantizer_class(10, 8))).eval(), torch.rand(batch, 1, 28, 28)
    codes = model.encode(x)
    assert codes.shape == (batch, 7, 7) and codes.dtype == torch.int64
    x_hat = model.decode(codes)
    assert x_hat.shape == x.shape and x_hat.min() >= 0 and x_hat.max() <= 1 and model.unit
    assert torch.equal(model(x), x_hat)
    quantized = model.quantizer(model.encoder(x))[0]
    torch.testing.assert_close(model.decoder(quantized), x_hat, msg="training sees what decode makes of the codes")
    terms = model.loss(x)
    assert set(terms) == {"loss", "reconstruction", "codebook", "commitment"}
    assert all(value.ndim == 0 and value.isfinite() for value in terms.values())
    assert terms["reconstruction"].item() == pytest.approx(squared_error(x_hat, x).mean().item(), rel=1e-5)
    distance = squared_error(model.quantizer.lookup(codes), model.encoder(x)).mean().item()
    assert terms["codebook"].item() == terms["commitment"].item() == pytest.approx(distance, rel=1e-5)


def test_what_a_vqvae_is_made_of():
    model = VQVAE()
    assert isinstance(model.quantizer, EMAQuantizer) and model.quantizer.codebook.shape == (128, 16)
    assert model.beta == 0.25 and not model.quantizer.initialized
    encoder = [(1, 32, 4), (32, 64, 4), (64, 16, 1)]
    decoder = [(64, 16, 9), (64, 32, 16), (32, 1, 16)]
    biases, norms = 32 + 64 + 16 + 64 + 32 + 1, 2 * (32 + 64 + 64 + 32)
    expected = sum(a * b * kernel for a, b, kernel in encoder + decoder) + biases + norms
    assert count_parameters(model) == expected == 52_433
    assert count_parameters(VQVAE(VectorQuantizer())) == expected + 128 * 16
    assert VQVAE(VectorQuantizer(5, 3)).eval()(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


def test_every_code_sees_its_own_pixels_alone():
    model, x = VQVAE().eval(), torch.rand(1, 1, 28, 28)
    other = x.clone()
    other[..., 8:12, 20:24] = 1 - other[..., 8:12, 20:24]
    changed = (model.encoder(x) != model.encoder(other)).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[2, 5]]


def test_which_part_learns_from_which_term():
    model = VQVAE(started(VectorQuantizer(10, 8))).eval()
    learn = {"reconstruction": {"encoder", "decoder"}, "codebook": {"quantizer"}, "commitment": {"encoder"}}
    for term, parts in learn.items():
        model.zero_grad()
        model.loss(torch.rand(16, 1, 28, 28))[term].backward()
        assert {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()} == parts


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_one_image_is_enough_to_train(digits, quantizer_class):
    model = VQVAE(quantizer_class())  # 49 vectors, most of them black, for 128 codes
    history = quiet(model, digits.train[:1], epochs=5)
    assert math.isfinite(history["loss"][-1]) and all(value.isfinite().all() for value in model.state_dict().values())


class Killed(Exception):
    """Stands for whatever ends a process."""


class Fragile(VQVAE):
    """Fails after a number of training steps."""

    steps = 10**9

    def loss(self, x):
        self.steps -= self.training
        if self.steps < 0:
            raise Killed
        return super().loss(x)


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_a_vqvae_goes_on_from_its_checkpoint_bit_for_bit(digits, tmp_path, quantizer_class):
    def run(seed, steps, **keywords):
        torch.manual_seed(seed)
        model = Fragile(quantizer_class(40, 8))
        model.steps = steps
        return model, lambda: quiet(model, digits.train[:96], digits.val[:50], epochs=4, batch_size=32, **keywords)

    whole, train = run(3, 12)
    history = train()
    with pytest.raises(Killed):
        run(3, 7, checkpoint=tmp_path / "run.pt")[1]()
    resumed, train = run(99, 6, checkpoint=tmp_path / "run.pt")
    assert train()["val_loss"] == history["val_loss"] and same(state(resumed), state(whole))


# What it learns


def patches(x):
    """(n, 1, 28, 28) → the 49 squares of 4×4 pixels of each image, (n · 49, 16)."""
    return x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(-1, 16)


@pytest.mark.parametrize("quantizer_class", QUANTIZERS)
def test_a_trained_vqvae_beats_pca_at_the_same_rate_and_a_codebook_of_patches(digits, quantizer_class):
    x, train = data.to_float(digits.test), data.to_float(digits.train)
    mean_error = metrics.mse(train.mean(dim=0, keepdim=True).expand_as(x), x)
    # 49 codes of 7 bits are 343 bits: ten numbers of 32 bits are 320, eleven 352
    pca_error = metrics.mse(in_batches(LinearAutoencoder.from_pca(digits.train, 11), digits.test).clamp(0, 1), x)
    kmeans = KMeans(128, n_init=1, max_iter=20, random_state=0).fit(patches(train).numpy())
    nearest = kmeans.cluster_centers_[kmeans.predict(patches(x).numpy())]
    patch_error = metrics.mse(torch.from_numpy(nearest).clamp(0, 1), patches(x))
    model = VQVAE(quantizer_class())
    quiet(model, digits.train, epochs=12, batch_size=32, lr=3e-3)
    error = metrics.mse(in_batches(model, digits.test), x)
    assert error < 0.1 * mean_error and error < 0.5 * pca_error
    assert error < patch_error, "the same 128 codes for the same pixels: its decoder sees the neighbours, too"
    codes = in_batches(model.encode, digits.test)
    shuffled = in_batches(model.decode, codes[torch.randperm(len(codes))])
    assert metrics.mse(shuffled, x) > mean_error, "the image is in its codes"
    assert metrics.perplexity(codes, 128) > 4
    assert len(codes.unique()) > 20


def test_restarts_bring_more_codes_into_use(digits):
    used = []
    for least in (0, 1.0):
        torch.manual_seed(0)
        model = VQVAE(EMAQuantizer(threshold=least))
        quiet(model, digits.train, epochs=2, batch_size=32, lr=3e-3)
        used.append(len(in_batches(model.encode, digits.train).unique()))
    assert used[1] > used[0] + 10


# Codes as what a model learns from


class Prior(nn.Module):
    """For every place, and for every label if there are any, how frequent each code is."""

    def __init__(self, codes=5, labels=1, shape=(7, 7)):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(labels, codes, *shape))
        self.seen = []

    def loss(self, codes, *labels):
        self.seen.append((self.training, codes.dtype, tuple(codes.shape), *(y.dtype for y in labels)))
        logits = self.logits[labels[0]] if labels else self.logits.expand(len(codes), -1, -1, -1)
        return {"loss": F.cross_entropy(logits, codes, reduction="none").flatten(1).sum(dim=1).mean()}


def test_fit_and_evaluate_take_codes():
    codes = torch.randint(5, (200, 7, 7))
    codes[:, 0] = 3  # the first row is known
    model = Prior()
    assert evaluate(model, codes, batch_size=30) == {"loss": pytest.approx(49 * math.log(5), rel=1e-5)}
    assert {shape[0] for _, _, shape in model.seen} == {30, 20}
    model.seen.clear()
    history = quiet(model, codes[:150], codes[150:], epochs=40, batch_size=50, lr=0.3)
    assert set(model.seen) == {(True, torch.int64, (50, 7, 7)), (False, torch.int64, (50, 7, 7))}
    assert model.logits[0, :, 0].argmax(dim=0).tolist() == 7 * [3]
    assert history["loss"][-1] < 42 * math.log(5) + 1 and set(history) == {
        "epoch",
        "seconds",
        "step_loss",
        "loss",
        "val_loss",
    }


def test_fit_and_evaluate_take_codes_with_labels():
    labels = torch.arange(200) % 4
    codes = labels.view(-1, 1, 1).repeat(1, 2, 3)  # the label says them all
    model = Prior(labels=4, shape=(2, 3))
    both = codes[:150], labels[:150]
    history = quiet(model, both, (codes[150:], labels[150:]), epochs=40, batch_size=50, lr=0.3)
    assert {types[1::2] for types in model.seen} == {(torch.int64, torch.int64)}
    assert history["val_loss"][-1] < 0.5 and evaluate(model, both, batch_size=40)["loss"] < 0.5
    assert evaluate(model, (codes, labels.flip(0)))["loss"] > 5, "each label with its own codes"


def test_codes_of_a_vqvae_go_into_fit(digits):
    codes = in_batches(VQVAE(started(VectorQuantizer(5, 8))).encode, digits.train[:100])
    history = quiet(Prior(labels=10), (codes, digits.train_labels[:100]), epochs=3, batch_size=20)
    assert history["loss"][-1] < history["loss"][0]


# How many codes are in use


@pytest.mark.parametrize("size", [1, 2, 128, 1000])
def test_perplexity_of_codes_all_alike_and_of_one_alone(size):
    codes = torch.arange(size).repeat(12).view(3, -1, 2)
    assert metrics.perplexity(codes, size) == pytest.approx(size, rel=1e-5)
    assert metrics.perplexity(codes, size + 50) == pytest.approx(size, rel=1e-5), "codes never used do not count"
    assert metrics.perplexity(torch.full((4, 7, 7), size - 1), size) == pytest.approx(1, rel=1e-6)


def test_perplexity_by_hand_and_by_scipy():
    codes = torch.tensor([[0, 0, 2], [0, 2, 1], [0, 5, 5]])  # 4, 1, 2, 0, 0, 2 of 9
    entropy = 4 / 9 * math.log(9 / 4) + 1 / 9 * math.log(9) + 4 / 9 * math.log(9 / 2)
    assert metrics.perplexity(codes, 6) == pytest.approx(math.exp(entropy), rel=1e-6)
    codes = torch.randn(10_000).abs().mul(20).long()
    expected = math.exp(scipy.stats.entropy(codes.bincount().numpy()))
    perplexity = metrics.perplexity(codes.view(100, 10, 10), 128)
    assert isinstance(perplexity, float) and perplexity == pytest.approx(expected, rel=1e-5)


# Somebody else's: vector-quantize-pytorch


def theirs(**keywords):
    from vector_quantize_pytorch import VectorQuantize

    settings = dict(dim=4, codebook_size=12, accept_image_fmap=True, rotation_trick=False, threshold_ema_dead_code=0)
    return VectorQuantize(**settings | keywords).train()


def ours(their, quantizer):
    """Our quantiser with their codebook: it has stood for one vector each at the start, there as here."""
    with torch.no_grad():
        quantizer.codebook.copy_(their.codebook)
        quantizer.initialized.fill_(True)
        if isinstance(quantizer, EMAQuantizer):
            quantizer.sums.copy_(their.codebook)
    return quantizer.train()


def test_codes_losses_and_gradients_are_those_of_vector_quantize_pytorch():
    # Their loss is one mean over all numbers, whose gradient goes both ways: ours is a sum over each image, and
    # codebook and commitment together, with beta = 1, are theirs.
    their = theirs(learnable_codebook=True, ema_update=False, commitment_weight=1.0)
    quantizer = ours(their, VectorQuantizer(12, 4))
    z, weights = torch.randn(5, 4, 3, 6), torch.randn(5, 4, 3, 6)
    numbers = 4 * 3 * 6  # of one image
    one, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    quantized, codes, codebook, commitment = quantizer(one)
    their_quantized, their_codes, their_loss = their(other)
    assert torch.equal(codes, their_codes) and len(codes.unique()) > 6
    torch.testing.assert_close(quantized, their_quantized)
    torch.testing.assert_close(codebook.mean() / numbers, their_loss.squeeze())
    torch.testing.assert_close(commitment.mean() / numbers, their_loss.squeeze())
    ((quantized * weights).sum() + (codebook + commitment).mean() / numbers).backward()
    ((their_quantized * weights).sum() + their_loss.sum()).backward()
    torch.testing.assert_close(one.grad, other.grad)
    (their_gradient,) = [p.grad for p in their.parameters() if p.grad is not None]
    assert quantizer.codebook.grad.abs().max() > 1e-3
    torch.testing.assert_close(quantizer.codebook.grad, their_gradient.view(12, 4))


@pytest.mark.parametrize("decay", [0.99, 0.5])
def test_moving_averages_are_those_of_vector_quantize_pytorch(decay):
    their = theirs(decay=decay, eps=0, commitment_weight=0.25)  # without the smoothing that they add to the counts
    quantizer = ours(their, EMAQuantizer(12, 4, decay=decay, threshold=0))
    start = quantizer.codebook.clone()
    for _ in range(20):
        z = torch.randn(5, 4, 3, 6)
        quantized, codes, _, commitment = quantizer(z)
        their_quantized, their_codes, their_loss = their(z)
        assert torch.equal(codes, their_codes)
        torch.testing.assert_close(quantized, their_quantized, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(0.25 * commitment.mean() / 72, their_loss.squeeze(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(quantizer.codebook, their.codebook, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(quantizer.codebook, start, atol=0.05), "it has moved"


def test_restarts_are_those_of_vector_quantize_pytorch():
    # Which vector a code restarts at is drawn at random: here they are all the same.
    their = theirs(decay=0.9, eps=0, threshold_ema_dead_code=1)
    quantizer = ours(their, EMAQuantizer(12, 4, decay=0.9, threshold=1.0))
    for step in range(5):
        z = torch.full((2, 4, 3, 3), 0.1 * step)
        quantizer(z)
        their(z)
        torch.testing.assert_close(quantizer.codebook, their.codebook, rtol=1e-4, atol=1e-6)


def test_beta_weighs_the_commitment_and_nothing_else():
    """The values of codebook loss and commitment are the same: only gradients tell where beta is."""
    model = VQVAE(started(VectorQuantizer()), beta=0.25).eval()
    terms = model.loss(torch.rand(3, 1, 28, 28))
    codebook, conv = model.quantizer.codebook, model.encoder[0].weight

    def slope(term, parameter):
        return torch.autograd.grad(term, parameter, retain_graph=True)[0]

    torch.testing.assert_close(slope(terms["loss"], codebook), slope(terms["codebook"], codebook))
    expected = slope(terms["reconstruction"], conv) + 0.25 * slope(terms["commitment"], conv)
    torch.testing.assert_close(slope(terms["loss"], conv), expected)


def test_a_dead_code_stays_finite_when_its_count_underflows():
    quantizer = started(EMAQuantizer(num_codes=4, dim=2, threshold=0))
    quantizer.counts[3], quantizer.sums[3] = 0.0, torch.zeros(2)
    before = quantizer.codebook[3].clone()
    quantizer.update(torch.randn(5, 2), torch.tensor([0, 1, 1, 2, 0]))
    assert torch.equal(quantizer.codebook[3], before) and quantizer.codebook.isfinite().all()
