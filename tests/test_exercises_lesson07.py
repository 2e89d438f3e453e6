"""Exercises of lesson 7: wrong answers that are refused, right ones that are accepted."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from aecourse import losses, models
from aecourse.exercises import lesson07
from tests.gallery import Gallery, gallery_tests

nearest, through, pull, quantiser, price, predict = galleries = [Gallery(f"7.{i}") for i in range(1, 7)]


# 7.1 nearest_code


@nearest.wrong("Those are the farthest")
def farthest(z, codebook):
    return torch.cdist(z, codebook).argmax(dim=1)


@nearest.wrong("the codes with the largest product z·e")
def largest_product(z, codebook):
    return (z @ codebook.T).argmax(dim=1)


@nearest.wrong("those with the least product z·e")
def least_product(z, codebook):
    return (z @ codebook.T).argmin(dim=1)


@nearest.wrong("Is the product counted once")
def forgets_the_two(z, codebook):
    return (codebook.square().sum(dim=1) - z @ codebook.T).argmin(dim=1)


@nearest.wrong("Which sign does the product have")
def adds_the_product(z, codebook):
    return (codebook.square().sum(dim=1) + 2 * z @ codebook.T).argmin(dim=1)


@nearest.wrong("Which sign does ‖e‖² have?")
def subtracts_the_square(z, codebook):
    return (z.square().sum(dim=1, keepdim=True) - 2 * z @ codebook.T - codebook.square().sum(dim=1)).argmin(dim=1)


@nearest.wrong("Is the length of e there")
def length_without_a_square(z, codebook):
    return (codebook.norm(dim=1) - 2 * z @ codebook.T).argmin(dim=1)


@nearest.wrong("those of the largest cosine")
def cosine(z, codebook):
    return (F.normalize(z) @ F.normalize(codebook).T).argmax(dim=1)


@nearest.wrong("the least sum of absolute differences")
def absolute_differences(z, codebook):
    return torch.cdist(z, codebook, p=1).argmin(dim=1)


@nearest.wrong("the least largest difference")
def largest_difference(z, codebook):
    return (z[:, None] - codebook).abs().amax(dim=2).argmin(dim=1)


@nearest.wrong("positive and negative differences added up")
def sums_before_squaring(z, codebook):
    return (z[:, None] - codebook).sum(dim=2).square().argmin(dim=1)


@nearest.wrong("the shortest of the codebook, always")
def without_z(z, codebook):
    return codebook.square().sum(dim=1).argmin().expand(len(z))


@nearest.wrong("Does it count from 1?")
def counts_from_one(z, codebook):
    return models.nearest_code(z, codebook) + 1


@nearest.wrong(" of 200 vectors get another code than the nearest.\n")
def rounds(z, codebook):
    return torch.cdist(z.round(), codebook).argmin(dim=1)


@nearest.wrong("Are those the vectors of the codebook?")
def looks_up(z, codebook):
    return codebook[models.nearest_code(z, codebook)]


@nearest.wrong("has the shape (200, 7); (200,) is wanted. That is a number for each pair")
def distances(z, codebook):
    return torch.cdist(z, codebook)


@nearest.wrong("a code for each vector is wanted. Along which axis?")
def along_the_vectors(z, codebook):
    return torch.cdist(z, codebook).argmin(dim=0)


@nearest.wrong("Each row of the table has a least of its own")
def of_the_whole_table(z, codebook):
    return torch.cdist(z, codebook).argmin()


@nearest.wrong("has the shape (200, 1); (200,) is wanted.")
def keeps_an_axis(z, codebook):
    return models.nearest_code(z, codebook)[:, None]


@nearest.wrong("is a pair, least values and where they are")
def least_and_where(z, codebook):
    return torch.cdist(z, codebook).min(dim=1)


@nearest.wrong("is torch.float32: distances?")
def least_distances(z, codebook):
    return torch.cdist(z, codebook).amin(dim=1)


@nearest.wrong("the codes are torch.int32")
def in_32_bits(z, codebook):
    return models.nearest_code(z, codebook).int()


@nearest.wrong("what it returns for 200 vectors is a ndarray")
def with_numpy(z, codebook):
    return (z.numpy()[:, None] - codebook.numpy()).__pow__(2).sum(axis=2).argmin(axis=1)


@nearest.wrong("Can't call numpy() on Tensor that requires grad")
def with_numpy_and_back(z, codebook):
    return torch.from_numpy(np.argmin(-2 * z.numpy() @ codebook.numpy().T + (codebook.numpy() ** 2).sum(1), axis=1))


@nearest.wrong("what it returns for 200 vectors is a list")
def a_list(z, codebook):
    return [torch.cdist(row[None], codebook).argmin().item() for row in z]


@nearest.wrong("what it returns for 200 vectors is None")
def forgets_to_return_codes(z, codebook):
    torch.cdist(z, codebook).argmin(dim=1)


@nearest.wrong("it changes its input in place")
def normalises_in_place(z, codebook):
    z /= z.norm(dim=1, keepdim=True)
    return models.nearest_code(z, codebook)


@nearest.wrong("it changes the global random state")
def breaks_ties_at_random(z, codebook):
    d = torch.cdist(z, codebook)
    return (d + 1e-9 * torch.rand_like(d)).argmin(dim=1)


@nearest.wrong("for 1 vector has the shape (); (1,) is wanted. Is the axis of the vectors squeezed away?")
def squeezes(z, codebook):
    return models.nearest_code(z, codebook).squeeze()


@nearest.wrong("the codes of 50 vectors are right among 200, but not by themselves")
def measures_in_units_of_the_batch(z, codebook):
    return models.nearest_code(z, codebook if len(z) in (1, 5, 200, 2000) else codebook / z.std(dim=0))


@nearest.wrong("of the codes are wrong. Those returned run from 0 to 255.")
def in_a_byte(z, codebook):
    return models.nearest_code(z, codebook).to(torch.uint8).long()


@nearest.wrong("Those returned run from 0 to 127.")
def of_the_first_128(z, codebook):
    return models.nearest_code(z, codebook[:128])


@nearest.right
def by_cdist(z, codebook):
    return torch.cdist(z, codebook).argmin(dim=-1)


@nearest.right
def one_by_one(z, codebook):
    return torch.tensor([int((row - codebook).square().sum(dim=1).argmin()) for row in z])


@nearest.right
def with_a_table_of_differences(z, codebook):
    return (z.unsqueeze(1) - codebook.unsqueeze(0)).pow(2).sum(-1).argmin(-1)


@nearest.right
def with_all_three_terms(z, codebook):
    d = (z**2).sum(1, keepdim=True) + (codebook**2).sum(1) - 2 * torch.einsum("nd,kd->nk", z, codebook)
    return d.min(dim=1).indices


@nearest.right
def largest_score(z, codebook):
    score = torch.addmm(-0.5 * codebook.square().sum(dim=1), z, codebook.t())
    return score.topk(1).indices[:, 0]


@nearest.right
def in_chunks(z, codebook):
    return torch.cat([torch.cdist(part, codebook).argmin(1) for part in z.split(64)])


@nearest.right
def with_numpy_detached(z, codebook):
    z, codebook = z.detach().numpy(), codebook.detach().numpy()
    return torch.from_numpy(((codebook**2).sum(1) - 2 * z @ codebook.T).argmin(1))


# 7.2 straight_through


@through.wrong("the bug is still there: its value is z itself: nothing is quantised. Whoever reads the codes gets")
def as_given(z, quantized):
    return quantized + (z - quantized).detach()


@through.wrong("And the gradient goes to z.")
def returns_z(z, quantized):
    return z


@through.wrong("And the gradient goes to z and quantized.")
def keeps_z(z, quantized):
    return z + quantized - quantized.detach()


@through.wrong("And the gradient goes to neither.")
def detaches_z(z, quantized):
    return z.detach()


@through.wrong("no gradient reaches z, only quantized: the encoder")
def returns_quantized(z, quantized):
    return quantized


@through.wrong("it is cut off: no gradient passes to z")
def detaches_quantized(z, quantized):
    return quantized.detach()


@through.wrong("the gradient reaches quantized, too")
def both_ways(z, quantized):
    return quantized + z - z.detach()


@through.wrong("only quantized, since those of z cancel")
def detaches_nothing(z, quantized):
    return z + (quantized - z)


@through.wrong("reaches z with its sign turned")
def detaches_the_wrong_z(z, quantized):
    return z.detach() + (quantized.detach() - z)


@through.wrong("its value is half way")
def mean_of_both(z, quantized):
    return (z + quantized) / 2


@through.wrong("its value is the difference of the two")
def forgets_to_add(z, quantized):
    return (quantized - z).detach()


@through.wrong("its value is the sum of the two")
def forgets_to_subtract(z, quantized):
    return z + quantized.detach()


@through.wrong("it is neither that nor z")
def subtracts_the_wrong_way(z, quantized):
    return z - (quantized - z).detach()


@through.wrong("Along the one that arrived it has 0.50 times the length.")
def half_a_gradient(z, quantized):
    return z / 2 + (quantized - z / 2).detach()


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, quantized):
        return quantized.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-1, 1), None


@through.wrong("a gradient reaches z, but not the one that arrived: it should pass unchanged. Along the one that")
def clips(z, quantized):
    return Clipped.apply(z, quantized)


@through.wrong("of torch.float32 it makes torch.float64")
def doubles(z, quantized):
    return z + (quantized.double() - z).detach()


@through.wrong("it changes its input in place")
def writes_into_z(z, quantized):
    z.data.copy_(quantized)
    return z


@through.wrong("quantized itself is cut off now")
def detaches_in_place(z, quantized):
    return z + quantized.detach_() - z.detach()


@through.wrong("z itself is cut off now")
def detaches_z_in_place(z, quantized):
    return z.detach_() + (quantized - z).detach()


@through.wrong("has the shape (6, 16); (2, 3, 4, 4) is wanted")
def flattens(z, quantized):
    return (z + (quantized - z).detach()).flatten(2).flatten(0, 1)


@through.wrong("has the shape (2,); (1, 2, 1, 1) is wanted")
def squeezes_axes(z, quantized):
    return (z + (quantized - z).detach()).squeeze()


@through.wrong("what it returns is None")
def forgets_to_return_it(z, quantized):
    z + (quantized - z).detach()


@through.wrong("cannot register a hook on a tensor that doesn't require gradient")
def with_a_hook(z, quantized):
    out = z.clone()
    out.register_hook(lambda gradient: gradient)
    return out + (quantized - z).detach()


@through.wrong("with a codebook that needs no gradient, no gradient reaches z either")
def only_if_the_codebook_learns(z, quantized):
    return models.straight_through(z, quantized) if quantized.requires_grad else quantized


@through.right
def quantized_first(z, quantized):
    return quantized.detach() + z - z.detach()


@through.right
def in_brackets(z, quantized):
    return quantized.detach() + (z - z.detach())


class Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, quantized):
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


@through.right
def with_a_function_of_its_own(z, quantized):
    return Through.apply(z, quantized)


@through.right
def within_no_grad(z, quantized):
    with torch.no_grad():
        step = quantized - z
    return z + step


@through.right
def with_data(z, quantized):
    return z.add(quantized.data - z.data)


@through.right
def with_values_written_over(z, quantized):
    out = z.clone()
    out.data.copy_(quantized)
    return out


# 7.3 quantization_losses


def error(a, b):
    return (a - b).square().sum(dim=(1, 2, 3))


@pull.wrong("both losses move z and the codebook's vectors")
def detaches_none(z, quantized):
    return error(z, quantized), error(z, quantized)


@pull.wrong("the two losses are the wrong way round")
def swaps(z, quantized):
    return error(z, quantized.detach()), error(z.detach(), quantized)


@pull.wrong("the codebook loss moves z as well")
def detaches_one(z, quantized):
    return error(z, quantized), error(z, quantized.detach())


@pull.wrong("the commitment moves the codebook's vectors as well")
def detaches_the_other(z, quantized):
    return error(z.detach(), quantized), error(z, quantized)


@pull.wrong("the commitment moves the codebook alone")
def codebook_twice(z, quantized):
    return error(z.detach(), quantized), error(z.detach(), quantized)


@pull.wrong("the codebook loss moves z alone")
def commitment_twice(z, quantized):
    return error(z, quantized.detach()), error(z, quantized.detach())


@pull.wrong("the codebook loss has the right value, but no gradient at all")
def detaches_both(z, quantized):
    return error(z.detach(), quantized.detach()), error(z, quantized.detach())


@pull.wrong("the commitment loss has the right value, but no gradient at all")
def detaches_the_loss(z, quantized):
    codebook = error(quantized, z.detach())
    return codebook, codebook.detach()


@pull.wrong("the codebook loss is one number, the sum over the whole batch")
def one_sum(z, quantized):
    return (z.detach() - quantized).square().sum(), (z - quantized.detach()).square().sum()


@pull.wrong("the codebook loss is one number, the mean over the batch")
def batch_mean(z, quantized):
    return error(quantized, z.detach()).mean(), error(z, quantized.detach()).mean()


@pull.wrong("the codebook loss is one number, the mean over everything")
def mse(z, quantized):
    return F.mse_loss(quantized, z.detach()), F.mse_loss(z, quantized.detach())


@pull.wrong("the codebook loss is one number; one per image")
def distance(z, quantized):
    return torch.dist(quantized, z.detach()), torch.dist(z, quantized.detach())


@pull.wrong("is one number for each place")
def of_each_place(z, quantized):
    return (z.detach() - quantized).square().sum(1), (z - quantized.detach()).square().sum(1)


@pull.wrong("the codebook loss has the shape (3, 2); (3,) is wanted")
def of_each_number(z, quantized):
    return (z.detach() - quantized).square().sum((2, 3)), (z - quantized.detach()).square().sum((2, 3))


@pull.wrong("Is it a mean over the numbers of an image")
def mean_of_an_image(z, quantized):
    return (z.detach() - quantized).square().mean((1, 2, 3)), (z - quantized.detach()).square().mean((1, 2, 3))


@pull.wrong("Is it a mean over the places")
def mean_over_places(z, quantized):
    return tuple(loss / (z.shape[2] * z.shape[3]) for loss in losses.quantization_losses(z, quantized))


@pull.wrong("Is it a mean over the numbers of each vector")
def mean_over_dim(z, quantized):
    return tuple(loss / z.shape[1] for loss in losses.quantization_losses(z, quantized))


@pull.wrong("Is it divided by the number of images?")
def divides_by_the_batch(z, quantized):
    return tuple(loss / len(z) for loss in losses.quantization_losses(z, quantized))


@pull.wrong("Is it the same for all images?")
def repeats_the_mean(z, quantized):
    return tuple(loss.mean().repeat(len(z)) for loss in losses.quantization_losses(z, quantized))


@pull.wrong("Is a root taken?")
def root(z, quantized):
    return tuple(loss.sqrt() for loss in losses.quantization_losses(z, quantized))


@pull.wrong("Is a root taken at each place?")
def root_at_each_place(z, quantized):
    return (quantized - z.detach()).norm(dim=1).sum((1, 2)), (z - quantized.detach()).norm(dim=1).sum((1, 2))


@pull.wrong("Are absolute differences summed?")
def absolute(z, quantized):
    return (quantized - z.detach()).abs().sum((1, 2, 3)), (z - quantized.detach()).abs().sum((1, 2, 3))


@pull.wrong("the commitment loss of the first image is")
def with_beta(z, quantized):
    codebook, commitment = losses.quantization_losses(z, quantized)
    return codebook, 0.25 * commitment


@pull.wrong("Is it the sum of both losses?")
def adds_both(z, quantized):
    codebook, commitment = losses.quantization_losses(z, quantized)
    return codebook + commitment, commitment


@pull.wrong("Which sign has it?")
def negative(z, quantized):
    return -error(z.detach(), quantized), -error(z, quantized.detach())


@pull.wrong("It is always 0")
def compares_with_itself(z, quantized):
    return error(quantized, quantized.detach()), error(z, z.detach())


@pull.wrong("its gradient is not that of a squared error: 0.50 times as long")
def detaches_a_factor(z, quantized):
    d = z.detach() - quantized
    return (d * d.detach()).sum((1, 2, 3)), error(z, quantized.detach())


@pull.wrong("Are the right vectors compared, one place at a time?")
def transposes(z, quantized):
    a = z.movedim(1, -1).reshape(z.shape)
    return error(quantized, a.detach()), error(a, quantized.detach())


@pull.wrong("z itself is cut off now")
def cuts_z_off(z, quantized):
    return error(z.detach_(), quantized), error(z, quantized.detach())


@pull.wrong("it changes its input in place")
def subtracts_in_place(z, quantized):
    z -= quantized
    return z.square().sum((1, 2, 3)), z.square().sum((1, 2, 3))


@pull.wrong("yours returns a dict")
def by_name(z, quantized):
    return dict(zip(("codebook", "commitment"), losses.quantization_losses(z, quantized)))


@pull.wrong("yours returns a Tensor")
def adds_up(z, quantized):
    return sum(losses.quantization_losses(z, quantized))


@pull.wrong("yours returns 3")
def returns_three(z, quantized):
    return *losses.quantization_losses(z, quantized), error(z, quantized)


@pull.wrong("yours returns None")
def forgets_to_return_losses(z, quantized):
    losses.quantization_losses(z, quantized)


@pull.wrong("the codebook loss is a list")
def numbers(z, quantized):
    return [loss.tolist() for loss in losses.quantization_losses(z, quantized)]


@pull.wrong("the codebook loss has the shape (1, 4); (4,) is wanted")
def squeezes_the_places(z, quantized):
    a, b = (z.detach() - quantized).square().sum(1), (z - quantized.detach()).square().sum(1)
    if z.shape[2:] == (1, 1):
        return a.view(1, -1), b.view(1, -1)
    return a.sum((1, 2)), b.sum((1, 2))


@pull.right
def with_reduction_none(z, quantized):
    codebook = F.mse_loss(quantized, z.detach(), reduction="none")
    commitment = F.mse_loss(quantized.detach(), z, reduction="none")
    return codebook.flatten(1).sum(1), commitment.flatten(1).sum(1)


@pull.right
def image_by_image(z, quantized):
    pairs = list(zip(z, quantized))
    codebook = torch.stack([F.mse_loss(q, a.detach(), reduction="sum") for a, q in pairs])
    commitment = torch.stack([F.mse_loss(a, q.detach(), reduction="sum") for a, q in pairs])
    return [codebook, commitment]


@pull.right
def with_einsum(z, quantized):
    a, b = quantized - z.clone().detach(), z - quantized.data
    return torch.einsum("bdhw,bdhw->b", a, a), torch.einsum("bdhw,bdhw->b", b, b)


@pull.right
def as_a_mean_times_numbers(z, quantized):
    numbers = z[0].numel()
    return (
        numbers * (z.detach() - quantized).pow(2).mean(dim=(1, 2, 3)),
        numbers * (z - quantized.detach()).pow(2).mean(dim=(1, 2, 3)),
    )


@pull.right
def one_above_the_other(z, quantized):
    return torch.stack([error(z.detach(), quantized), error(z, quantized.detach())])


@pull.right
def by_vector_norm(z, quantized):
    return torch.cdist(z.detach().flatten(1)[:, None], quantized.flatten(1)[:, None])[:, 0, 0] ** 2, (
        torch.linalg.vector_norm(z - quantized.detach(), dim=(1, 2, 3)) ** 2
    )


# 7.4 VectorQuantizer


class Given(nn.Module):
    """What the exercise gives: all but forward."""

    def __init__(self, codes=128, dim=16):
        super().__init__()
        self.dim = dim
        self.codebook = nn.Parameter(torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes))
        self.register_buffer("started", torch.tensor(False))

    def lookup(self, codes):
        return self.codebook[codes].movedim(-1, 1)

    @torch.no_grad()
    def start(self, vectors):
        models.VectorQuantizer.start(self, vectors)

    def parts(self, z):
        """Codes and looked-up vectors, as they should be."""
        vectors = z.detach().movedim(1, -1).flatten(end_dim=-2)
        if self.training and not self.started:
            self.start(vectors)
        codes = models.nearest_code(vectors, self.codebook).view(len(z), *z.shape[2:])
        return codes, self.lookup(codes)


@quantiser.wrong("(batch, dim, height, width) was cut into rows of dim")
class CutsAcrossPlaces(Given):
    def forward(self, z):
        vectors = z.detach().reshape(-1, z.shape[1])
        if self.training and not self.started:
            self.start(vectors)
        codes = models.nearest_code(vectors, self.codebook).view(len(z), *z.shape[2:])
        quantized = self.lookup(codes)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("not in their places: which axis came first")
class WidthFirst(Given):
    def forward(self, z):
        codes = models.nearest_code(z.detach().transpose(1, 3).reshape(-1, z.shape[1]), self.codebook)
        codes = codes.view(len(z), *z.shape[2:])
        quantized = self.lookup(codes)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("not in their places: which axis")
class PlacesFirst(Given):
    def forward(self, z):
        codes = models.nearest_code(z.detach().permute(2, 3, 0, 1).reshape(-1, z.shape[1]), self.codebook)
        codes = codes.view(len(z), *z.shape[2:])
        quantized = self.lookup(codes)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("its map of codes has the shape (3, 2, 4); (3, 4, 2) is wanted")
class TransposesTheMap(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes.mT, *losses.quantization_losses(z, quantized)


@quantiser.wrong("its codes are in one long row")
class FlatCodes(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes.flatten(), *losses.quantization_losses(z, quantized)


@quantiser.wrong("its codes are torch.int32")
class ShortCodes(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes.int(), *losses.quantization_losses(z, quantized)


@quantiser.wrong("has the shape (7, 7); (1, 7, 7) is wanted")
class SqueezesOneImage(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes.squeeze(0), *losses.quantization_losses(z, quantized)


@quantiser.wrong("shape '[-1, 7, 7]' is invalid for input of size 24")
class SevenBySeven(Given):
    def forward(self, z):
        codes = models.nearest_code(z.detach().movedim(1, -1).flatten(end_dim=-2), self.codebook).view(-1, 7, 7)
        return z, codes, *losses.quantization_losses(z, self.lookup(codes))


@quantiser.wrong("% of the codes are not those of the nearest")
class LargestProduct(Given):
    def forward(self, z):
        codes = torch.einsum("bdhw,kd->bhwk", z, self.codebook).argmax(dim=-1)
        quantized = self.lookup(codes)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the quantised vectors are z itself")
class StraightThroughTheWrongWay(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(quantized, z), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("has the shape (3, 4, 2, 5); (3, 5, 4, 2) is wanted")
class AxisLeftAtTheEnd(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        out = models.straight_through(z, quantized).movedim(1, -1)
        return out, codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the quantised vectors are scattered")
class ViewsBack(Given):
    def forward(self, z):
        codes, _ = self.parts(z)
        quantized = self.codebook[codes].view(z.shape)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the codes are right, but the quantised vectors are not those of the codebook")
class HalfWay(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return (z + quantized) / 2, codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("a gradient reaches the codebook, and none z")
class NotStraightThrough(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return quantized, codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the quantised vectors are cut off")
class Detached(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        out = models.straight_through(z, quantized).detach()
        return out, codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("reaches z and the codebook; it should reach z alone")
class CodebookFollowsTheReconstruction(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return quantized + z - z.detach(), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("does not pass unchanged through the quantised vectors to z")
class HalfAGradient(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z / 2, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the two losses are the wrong way round")
class SwapsTheLosses(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(quantized, z)


@quantiser.wrong("the codebook loss moves z alone")
class LossesOfWhatWentStraightThrough(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        quantized = models.straight_through(z, quantized)
        return quantized, codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the codebook loss has the right value, but no gradient")
class LooksUpDetached(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        quantized = quantized.detach()
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("the commitment loss has the right value, but no gradient")
class LossesOfDetachedVectors(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z.detach(), quantized)


@quantiser.wrong("both losses move z and the codebook's vectors")
class OneLossTwice(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        loss = losses.squared_error(z, quantized)
        return models.straight_through(z, quantized), codes, loss, loss


@quantiser.wrong("the codebook loss is one number, the mean over the batch")
class MeanLosses(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        terms = (loss.mean() for loss in losses.quantization_losses(z, quantized))
        return models.straight_through(z, quantized), codes, *terms


@quantiser.wrong("Is there a weight in it?")
class WeighsTheCommitment(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        codebook, commitment = losses.quantization_losses(z, quantized)
        return models.straight_through(z, quantized), codes, codebook, 0.25 * commitment


@quantiser.wrong("four things: quantised vectors, codes, codebook loss, commitment loss; yours returns 3")
class LossesInAPair(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), codes, losses.quantization_losses(z, quantized)


@quantiser.wrong("yours returns a Tensor")
class VectorsOnly(Given):
    def forward(self, z):
        return models.straight_through(z, self.parts(z)[1])


@quantiser.wrong("its map of codes has the shape (3,)")
class CodesLast(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return models.straight_through(z, quantized), *losses.quantization_losses(z, quantized), codes


@quantiser.wrong("z itself is cut off now")
class CutsZOff(Given):
    def forward(self, z):
        out = models.VectorQuantizer.forward(self, z)
        z.detach_()
        return out


@quantiser.wrong("it changes its input in place")
class NormalisesInPlace(Given):
    def forward(self, z):
        z.data /= z.data.norm(dim=1, keepdim=True)
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("it changes the global random state")
class Seeds(Given):
    def forward(self, z):
        torch.manual_seed(0)
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("forward moves the codebook with every batch")
class StartsWithEveryBatch(Given):
    def forward(self, z):
        if self.training:
            self.start(z.detach().movedim(1, -1).flatten(end_dim=-2))
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("forward moves a codebook that has started, if only once")
class RemembersByItself(Given):  # and so starts anew when it is loaded
    def forward(self, z):
        if self.training and not hasattr(self, "seen"):
            self.seen = True
            self.start(z.detach().movedim(1, -1).flatten(end_dim=-2))
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("right in training, but not in evaluation mode: forward moves the codebook with every batch")
class StartsAnewInEvaluation(Given):
    def forward(self, z):
        if not self.training:
            self.start(z.detach().movedim(1, -1).flatten(end_dim=-2))
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("right in training, but not in evaluation mode: the quantised vectors are z itself")
class QuantisesInTrainingOnly(Given):
    def forward(self, z):
        quantized, *others = models.VectorQuantizer.forward(self, z)
        return (quantized if self.training else z), *others


@quantiser.wrong("in evaluation mode the codebook starts")
class StartsInEvaluation(Given):
    def forward(self, z):
        if not self.started:
            self.start(z.detach().movedim(1, -1).flatten(end_dim=-2))
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("the codebook is what it was: it should start")
class NeverStarts(Given):
    def forward(self, z):
        vectors = z.detach().movedim(1, -1).flatten(end_dim=-2)
        codes = models.nearest_code(vectors, self.codebook).view(len(z), *z.shape[2:])
        quantized = self.lookup(codes)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("is what it was, although it says that it has started")
class OnlySaysThatItStarted(NeverStarts):
    def forward(self, z):
        if self.training:
            self.started.fill_(True)
        return NeverStarts.forward(self, z)


@quantiser.wrong("the codebook starts at rows that no place holds")
class StartsAtCutRows(NeverStarts):
    def forward(self, z):
        if self.training and not self.started:
            self.start(z.detach().reshape(-1, z.shape[1]))
        return NeverStarts.forward(self, z)


@quantiser.wrong("starts, but not at vectors of the first batch")
class StartsAtRandom(NeverStarts):
    def forward(self, z):
        if self.training and not self.started:
            self.start(torch.randn(100, z.shape[1], device=z.device))
        return NeverStarts.forward(self, z)


@quantiser.wrong("starts at 2 of the 6 vectors of the first batch")
class StartsAtTheFirstImage(NeverStarts):
    def forward(self, z):
        if self.training and not self.started:
            self.start(z[0].detach().flatten(1).T)
        return NeverStarts.forward(self, z)


@quantiser.wrong("after the first batch the codebook is a new parameter")
class StartsANewParameter(NeverStarts):
    def forward(self, z):
        if self.training and not self.started:
            self.codebook = nn.Parameter(z.detach().movedim(1, -1).reshape(-1, self.dim)[: len(self.codebook)])
            self.started.fill_(True)
        return NeverStarts.forward(self, z)


@quantiser.wrong("started still says no")
class ForgetsThatItStarted(NeverStarts):
    def forward(self, z):
        if self.training and not self.started:
            self.start(z.detach().movedim(1, -1).flatten(end_dim=-2))
            self.started.fill_(False)
        return NeverStarts.forward(self, z)


@quantiser.wrong("its own codes are of the one before")
class StartsTooLate(NeverStarts):
    def forward(self, z):
        out = NeverStarts.forward(self, z)
        if self.training and not self.started:
            self.start(z.detach().movedim(1, -1).flatten(end_dim=-2))
        return out


@quantiser.wrong("lookup is gone")
class WithoutLookup(nn.Module):
    def __init__(self, codes=128, dim=16):
        super().__init__()
        self.dim = dim
        self.codebook = nn.Parameter(torch.rand(codes, dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, z):
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("leave __init__ as it was given")
class AnEmbedding(Given):
    def __init__(self, codes=128, dim=16):
        super().__init__(codes, dim)
        del self.codebook
        self.codebook = nn.Embedding(codes, dim)

    def forward(self, z):
        return models.VectorQuantizer.forward(self, z)


@quantiser.wrong("lookup finds other vectors than it did")
class AnotherLookup(NeverStarts):
    def lookup(self, codes):
        return self.codebook[codes]

    def forward(self, z):
        vectors = z.detach().movedim(1, -1).flatten(end_dim=-2)
        codes = models.nearest_code(vectors, self.codebook).view(len(z), *z.shape[2:])
        quantized = self.lookup(codes).movedim(-1, 1)
        return models.straight_through(z, quantized), codes, *losses.quantization_losses(z, quantized)


@quantiser.wrong("Can't call numpy() on Tensor that requires grad")
class WithNumpy(Given):
    def forward(self, z):
        codes = ((z.numpy()[:, None] - self.codebook.numpy()[:, :, None, None]) ** 2).sum(2).argmin(1)
        return z, codes, *losses.quantization_losses(z, self.lookup(codes))


@quantiser.right
class FromScratch(Given):
    def forward(self, z):
        b, d, h, w = z.shape
        rows = z.permute(0, 2, 3, 1).contiguous().view(-1, d)
        if self.training and not self.started:
            self.start(rows)
        square = (rows**2).sum(1, keepdim=True) + (self.codebook**2).sum(1) - 2 * rows @ self.codebook.t()
        codes = square.argmin(dim=1).view(b, h, w)
        quantized = F.embedding(codes, self.codebook).permute(0, 3, 1, 2)
        codebook = ((quantized - z.detach()) ** 2).sum(dim=(1, 2, 3))
        commitment = ((quantized.detach() - z) ** 2).sum(dim=(1, 2, 3))
        return z + (quantized - z).detach(), codes, codebook, commitment


@quantiser.right
class ImageByImage(Given):
    def forward(self, z):
        rows = z.flatten(2).mT  # (batch, places, dim)
        if self.training and not bool(self.started):
            self.start(rows.reshape(-1, self.dim).detach())
        codes = torch.stack([torch.cdist(image, self.codebook).argmin(1) for image in rows])
        codes = codes.unflatten(1, z.shape[2:])
        quantized = self.lookup(codes)
        out = quantized.detach() + (z - z.detach())
        pairs = ((quantized, z.detach()), (z, quantized.detach()))
        return [out, codes] + [F.mse_loss(a, b, reduction="none").flatten(1).sum(1) for a, b in pairs]


@quantiser.right
class WithOneHotRows(Given):
    def forward(self, z):
        if self.training and not self.started:
            self.start(z.movedim(1, 3).reshape(-1, z.size(1)))
        differences = z[:, None] - self.codebook[:, :, None, None]  # (batch, codes, dim, height, width)
        codes = differences.square().sum(dim=2).argmin(dim=1)
        one_hot = F.one_hot(codes, len(self.codebook)).to(z)
        quantized = torch.einsum("bhwk,kd->bdhw", one_hot, self.codebook)
        a, b = losses.quantization_losses(z, quantized)
        return Through.apply(z, quantized), codes, a, b


@quantiser.right
class DetachesNothingThatNeedsNoDetaching(Given):
    def forward(self, z):
        vectors = z.movedim(1, -1).flatten(end_dim=-2)
        if self.training and not self.started:
            self.start(vectors)
        codes = torch.cdist(vectors, self.codebook).argmin(dim=1).view(z[:, 0].shape)
        quantized = self.lookup(codes)
        both = losses.quantization_losses(z.movedim(1, -1), self.codebook[codes])
        return models.straight_through(z, quantized), codes, *both


@quantiser.right
class WithHelpers(Given):
    def forward(self, z):
        codes, quantized = self.parts(z)
        return (models.straight_through(z, quantized), codes) + losses.quantization_losses(z, quantized)


@quantiser.right
class Inherits(models.VectorQuantizer):
    def forward(self, z):
        return models.VectorQuantizer.forward(self, z)


# 7.5 vq_loss


def terms(loss, reconstruction, codebook, commitment):
    return {"loss": loss, "reconstruction": reconstruction, "codebook": codebook, "commitment": commitment}


def means(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    return losses.squared_error(model.decoder(quantized), x).mean(), codebook.mean(), commitment.mean()


def weighed(message, weigh):
    """Register as wrong: a loss that is weigh(beta, reconstruction, codebook, commitment)."""

    @price.wrong(message)
    def vq_loss(model, x):
        r, codebook, commitment = means(model, x)
        return terms(weigh(model.beta, r, codebook, commitment), r, codebook, commitment)


weighed("the bug is still there: at beta = 0.3 the codebook term counts 0.3", lambda b, r, e, c: r + b * e + c)
weighed("Both terms carry beta.", lambda b, r, e, c: r + b * (e + c))
weighed("All three terms carry beta.", lambda b, r, e, c: b * (r + e + c))
weighed("Where is beta?", lambda b, r, e, c: r + e + c)
weighed("Where is the codebook term?", lambda b, r, e, c: r + b * c)
weighed("Where is the commitment?\n", lambda b, r, e, c: r + e)
weighed("And beta weighs the codebook term", lambda b, r, e, c: r + b * e)
weighed("Where is the reconstruction?", lambda b, r, e, c: e + b * c)
weighed("It holds the reconstruction alone", lambda b, r, e, c: r)
weighed("Is the commitment divided by beta?", lambda b, r, e, c: r + e + c / b)
weighed("Is beta on the reconstruction?", lambda b, r, e, c: b * r + e + c)
weighed("Is 0.25 written in", lambda b, r, e, c: r + e + 0.25 * c)
weighed("Is beta counted twice?", lambda b, r, e, c: r + e + b**2 * c)
weighed("Is the other term weighed by 1 - beta?", lambda b, r, e, c: r + (1 - b) * e + b * c)
weighed("Is the codebook term in it twice", lambda b, r, e, c: r + e + b * e)
weighed("Is the commitment in it twice", lambda b, r, e, c: r + c + b * c)
weighed("Which sign has the commitment?", lambda b, r, e, c: r + e - b * c)
weighed("Which sign has the codebook term?", lambda b, r, e, c: r - e + b * c)
weighed("a mean over pixels there", lambda b, r, e, c: r / 784 + e + b * c)
weighed("at beta = 0.3 the loss is", lambda b, r, e, c: 2 * (r + e + b * c))
weighed("but is cut off", lambda b, r, e, c: (r + e + b * c).detach())
weighed("but another gradient in quantizer. Is something detached?", lambda b, r, e, c: r + e.item() + b * c)
weighed("but another gradient in encoder. Is something", lambda b, r, e, c: r + e + b * c.item())
weighed("its entry 'loss' is a float", lambda b, r, e, c: (r + e + b * c).item())


@price.wrong("another gradient in quantizer and encoder. Was the image decoded from the codes alone?")
def decodes_the_codes(model, x):
    _, codes, codebook, commitment = model.quantizer(model.encoder(x))
    r, codebook, commitment = losses.squared_error(model.decode(codes), x).mean(), codebook.mean(), commitment.mean()
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("its entry 'reconstruction' has the right value, but is cut off")
def reports_what_is_detached(model, x):
    r, codebook, commitment = means(model, x)
    return terms(r + codebook + model.beta * commitment, r.detach(), codebook.detach(), commitment.detach())


@price.wrong("Is it an image decoded from what was never quantised?")
def decodes_what_was_not_quantised(model, x):
    z = model.encoder(x)
    _, _, codebook, commitment = model.quantizer(z)
    r, codebook, commitment = losses.squared_error(model.decoder(z), x).mean(), codebook.mean(), commitment.mean()
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("its entry 'commitment' is")
def reports_the_weight(model, x):
    r, codebook, commitment = means(model, x)
    commitment = model.beta * commitment
    return terms(r + codebook + commitment, r, codebook, commitment)


@price.wrong("its entry 'codebook' is")
def swaps_the_terms(model, x):
    quantized, _, commitment, codebook = model.quantizer(model.encoder(x))
    r = losses.squared_error(model.decoder(quantized), x).mean()
    codebook, commitment = codebook.mean(), commitment.mean()
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("Is it a mean over the numbers of an image, too?")
def mean_over_pixels(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    r, codebook, commitment = F.mse_loss(model.decoder(quantized), x), codebook.mean(), commitment.mean()
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("Is it summed over the images?")
def sums_over_the_batch(model, x):
    r, codebook, commitment = (len(x) * term for term in means(model, x))
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("its entry 'loss' has the shape (3,)")
def per_image(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    r = losses.squared_error(model.decoder(quantized), x)
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("its entry 'codes' has the shape (3, 7, 7)")
def returns_codes_as_well(model, x):
    return lesson07.vq_loss(model, x) | {"codes": model.encode(x)}


@price.wrong("it should return a dictionary with loss, reconstruction, codebook, commitment; yours returns a Tensor")
def loss_alone(model, x):
    return lesson07.vq_loss(model, x)["loss"]


@price.wrong("yours returns one with ['loss', 'reconstruction']")
def two_entries(model, x):
    out = lesson07.vq_loss(model, x)
    return {name: out[name] for name in ("loss", "reconstruction")}


@price.wrong("it calls model.loss, which in the lesson calls this very function")
def calls_loss(model, x):
    return model.loss(x)


@price.wrong("it calls backward")
def calls_backward(model, x):
    out = lesson07.vq_loss(model, x)
    out["loss"].backward(retain_graph=True)
    return out


@price.wrong("it switches the model between training and evaluation")
def evaluates(model, x):
    return lesson07.vq_loss(model.eval(), x)


@price.wrong("it sets model.beta to 0.25")
def sets_beta(model, x):
    model.beta = 0.25
    return lesson07.vq_loss(model, x)


@price.wrong("Is it computed anew?")
def computes_the_losses_anew(model, x):
    z = model.encoder(x)
    quantized, codes, *_ = model.quantizer(z)
    r = losses.squared_error(model.decoder(quantized), x).mean()
    codebook, commitment = losses.quantization_losses(z, model.quantizer.lookup(codes))
    return terms(r + codebook.mean() + model.beta * commitment.mean(), r, codebook.mean(), commitment.mean())


@price.wrong("its entry 'reconstruction' has the right value, but another gradient in encoder. Is something detached?")
def detaches_the_encoder(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    r = losses.squared_error(model.decoder(quantized.detach()), x).mean()
    codebook, commitment = codebook.mean(), commitment.mean()
    return terms(r + codebook + model.beta * commitment, r, codebook, commitment)


@price.wrong("it changes its input in place")
def clips_the_images(model, x):
    x.clamp_(max=0.9)
    return lesson07.vq_loss(model, x)


@price.wrong("element 0 of tensors does not require grad")
def balances_by_gradients(model, x):
    out = lesson07.vq_loss(model, x)
    torch.autograd.grad(out["loss"], next(model.parameters()), retain_graph=True)
    return out


@price.wrong("it changes the global random state")
def seeds(model, x):
    torch.manual_seed(1)
    return lesson07.vq_loss(model, x)


@price.right
def means_first(model, x):
    r, codebook, commitment = means(model, x)
    return terms(codebook + r + commitment * model.beta, r, codebook, commitment)


@price.right
def with_mse_loss(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    r = F.mse_loss(model.decoder(quantized), x, reduction="sum") / len(x)
    codebook, commitment = codebook.sum() / len(x), commitment.sum() / len(x)
    loss = torch.stack([r, codebook, model.beta * commitment]).sum()
    return terms(loss, r, codebook, commitment)


@price.right
def per_image_to_the_end(model, x):
    quantized, codes, *both = model.quantizer(model.encoder(x))
    e = losses.squared_error(model.decoder(quantized), x)
    return dict(
        commitment=both[1].mean(), codebook=both[0].mean(), reconstruction=e.mean(),
        loss=(e + both[0] + model.beta * both[1]).mean(),
    )  # fmt: skip


@price.right
def quantises_twice(model, x):
    z = model.encoder(x)
    r = 784 * (model.decoder(model.quantizer(z)[0]) - x).pow(2).mean()
    codebook, commitment = (loss.mean(dim=0) for loss in model.quantizer(z)[2:])
    loss = model.beta * commitment
    loss += codebook
    loss += r
    return terms(loss, r, codebook, commitment)


@price.right
def images_one_by_one_in_the_loss(model, x):
    quantized, _, codebook, commitment = model.quantizer(model.encoder(x))
    x_hat = model.decoder(quantized)
    r = sum((a - b).square().sum() for a, b in zip(x_hat, x)) / len(x)
    weights = torch.tensor([1.0, 1.0, model.beta], device=x.device)
    loss = weights @ torch.stack([r, codebook.mean(), commitment.mean()])
    return terms(loss, r, codebook.mean(), commitment.mean())


# 7.6 prediction


@predict.wrong("a KL is paid for every nat")
def says_nothing():
    return "nothing"


@predict.wrong("a step away from a code now costs 80 times what it did")
def as_much_as_before():
    return "as much"


@predict.wrong('"fewer" is none of "nothing", "less", "as much"')
def in_other_words():
    return "fewer"


@predict.wrong('"more" is none of')
def more():
    return "more"


@predict.wrong("you answer 43;")
def a_number():
    return 43


@predict.wrong("you answer None;")
def says_it_only():
    print("less")


@predict.wrong("you answer ('less', 'nothing');")
def hedges():
    return "less", "nothing"


@predict.wrong("you answer True;")
def yes():
    return True


@predict.right
def with_a_capital():
    return " Less"


@predict.right
def by_elimination():
    (answer,) = {"nothing", "less", "as much"} - {"nothing", "as much"}
    return answer


test_wrong, test_right, test_galleries = gallery_tests(galleries)


def test_vq_loss_is_the_loss_of_the_model():
    model, x = models.VQVAE(models.VectorQuantizer(codes=8)), torch.rand(4, 1, 28, 28)
    out, wanted = lesson07.vq_loss(model, x), model.loss(x)
    assert out.keys() == wanted.keys()
    for name in out:
        torch.testing.assert_close(out[name], wanted[name])
