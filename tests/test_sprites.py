"""Sprites: each factor changes what it should and nothing else; the set is the same every time."""

import math

import pytest
import torch

from aecourse import data
from aecourse.data import draw_sprites, files, sprites

SQUARE, ELLIPSE, HEART = range(3)


@pytest.fixture(scope="module")
def loaded():
    return data.load("sprites")


def factors(shape=SQUARE, size=5, orientation=0, x=15, y=15):
    """Rows of factors; a range or list in one place makes one row for each of its values."""
    columns = [torch.as_tensor(list(c) if isinstance(c, range) else c) for c in (shape, size, orientation, x, y)]
    return torch.stack(torch.broadcast_tensors(*torch.atleast_1d(*columns)), dim=1)


def drawn(pixels=32, **where):
    return draw_sprites(factors(**where), pixels).float()[:, 0] / 255


def centres(images):
    """Centre of mass (n, 2), x and y, in pixels from the top left corner."""
    places = torch.arange(images.shape[-1]) + 0.5
    ink = images.sum(dim=(1, 2))
    return torch.stack(
        [(images.sum(dim=1) * places).sum(dim=1) / ink, (images.sum(dim=2) * places).sum(dim=1) / ink], 1
    )


def farthest(images):
    """How far the images are from the first, in pixels that changed from black to white."""
    return (images - images[:1]).abs().sum(dim=(1, 2))


def test_images_are_white_on_black_with_grey_at_the_edges_only():
    images = draw_sprites(factors(shape=range(3), orientation=3))
    assert images.shape == (3, 1, 32, 32) and images.dtype == torch.uint8
    grey = (images > 0) & (images < 255)
    assert (images == 255).sum(dim=(1, 2, 3)).min() > 50 and (images == 0).sum(dim=(1, 2, 3)).min() > 800
    assert (grey.sum(dim=(1, 2, 3)) > 15).all() and len(images.unique()) > 20
    white = torch.nn.functional.max_pool2d((images == 255).float(), 5, 1, 2)
    assert (white[grey] == 1).all(), "grey is never far from white"


@pytest.mark.parametrize("shape", range(3))
def test_each_size_is_larger_and_its_ink_is_its_area(shape):
    images = drawn(shape=shape, size=range(6), orientation=4)
    ink = images.sum(dim=(1, 2))
    radius = 7 * torch.linspace(0.5, 1, 6)
    half = 7 / (1 + sprites.HEART_CENTRE)
    areas = (2 * radius**2, math.pi / 2 * radius**2, (2 + math.pi / 2) * (half / 7 * radius) ** 2)
    torch.testing.assert_close(ink, areas[shape], rtol=0.03, atol=0)
    assert (ink.diff() > 5).all()


@pytest.mark.parametrize("shape", range(3))
@pytest.mark.parametrize("factor", ["x", "y"])
def test_the_centre_of_mass_moves_by_half_a_pixel_at_a_time_along_its_own_axis(shape, factor):
    moved = centres(drawn(shape=shape, size=3, orientation=7, **{factor: range(32)}))
    along, across = moved.T if factor == "x" else moved.T.flip(0)
    torch.testing.assert_close(along, 16 + (torch.arange(32) - 15.5) / 2, atol=0.05, rtol=0)
    torch.testing.assert_close(across, torch.full((32,), 15.75), atol=0.05, rtol=0)


@pytest.mark.parametrize("shape", range(3))
def test_turning_and_growing_leave_the_centre_of_mass_where_it_is(shape):
    for where in ({"orientation": range(40)}, {"size": range(6), "orientation": 5}):
        moved = centres(drawn(shape=shape, **where))
        torch.testing.assert_close(moved, torch.full_like(moved, 15.75), atol=0.06, rtol=0)


@pytest.mark.parametrize("shape, period", [(SQUARE, 10), (ELLIPSE, 20), (HEART, 40)])
def test_a_shape_looks_the_same_again_after_its_period_and_not_before(shape, period):
    images = drawn(shape=shape, orientation=range(40))
    changed = farthest(images)
    again = torch.arange(40) % period == 0
    assert (changed[again] < 0.1).all() and (changed[~again] > 3).all()


def test_orientation_turns_counter_clockwise():
    upright, turned = draw_sprites(factors(shape=HEART, orientation=[0, 10], x=15, y=[15, 16])).float()[:, 0]
    assert upright[:16].sum() > upright[16:].sum(), "the lobes are above the tip"
    torch.testing.assert_close(upright.rot90(), turned, atol=2, rtol=0)  # rot90 takes the centre to y = 16.25
    assert (upright.rot90(-1) - turned).abs().max() > 100


def test_the_shapes_differ():
    images = drawn(shape=range(3))
    assert (farthest(images)[1:] > 10).all() and (images[1] - images[2]).abs().sum() > 10
    ellipse = images[ELLIPSE] > 0.5
    assert ellipse.sum(dim=1).max() == 14 and ellipse.sum(dim=0).max() == 7, "twice as long as wide"


@pytest.mark.parametrize("size", [32, 64])
def test_no_sprite_touches_the_border(size):
    where = torch.cartesian_prod(torch.arange(3), torch.tensor([5]), torch.arange(40), *[torch.tensor([0, 31])] * 2)
    images = draw_sprites(where, size)[:, 0]
    frame = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
    assert len(images) == 480 and frame.max() == 0


@pytest.mark.parametrize("shape", range(3))
def test_twice_the_size_is_the_same_picture_with_more_pixels(shape):
    where = {"shape": shape, "orientation": range(0, 40, 7), "x": 9, "y": 20}
    small, large = drawn(**where), drawn(pixels=64, **where)
    assert large.shape == (6, 64, 64)
    torch.testing.assert_close(large.sum(dim=(1, 2)) / 4, small.sum(dim=(1, 2)), rtol=0.02, atol=0)
    torch.testing.assert_close(centres(large) / 2, centres(small), atol=0.05, rtol=0)
    edges = [((images > 0.05) & (images < 0.95)).sum().item() for images in (small, large)]
    assert edges[1] == pytest.approx(2 * edges[0], rel=0.1), "an edge is one pixel wide at either size"


def test_an_image_does_not_depend_on_its_neighbours():
    where = torch.cartesian_prod(torch.arange(3), torch.arange(6), torch.tensor([1, 17]), *[torch.arange(0, 32, 6)] * 2)
    images, order = draw_sprites(where), torch.randperm(len(where))
    assert len(where) > 1000 and torch.equal(draw_sprites(where[order]), images[order])
    assert torch.equal(draw_sprites(where[700:701]), images[700:701])
    assert draw_sprites(where[:0]).shape == (0, 1, 32, 32)


@pytest.mark.parametrize(
    "wrong, problem",
    [
        (torch.zeros(3, 4, dtype=torch.int64), r"got torch.int64 \(3, 4\)"),
        (torch.zeros(3, 5), r"got torch.float32 \(3, 5\)"),
        ([[0, 0, 0, 0, 0]], "got list"),
        (factors(orientation=40), "orientation runs from 0 to 39; got 40 to 40"),
        (factors(x=-1), "x runs from 0 to 31; got -1"),
    ],
)
def test_wrong_factors_are_named(wrong, problem):
    with pytest.raises(ValueError, match=problem):
        draw_sprites(wrong)


def test_load_gives_three_parts_with_their_factors(loaded):
    assert loaded.name == "sprites" and loaded.classes == ("square", "ellipse", "heart")
    assert loaded.factor_names == ("shape", "size", "orientation", "x", "y")
    assert loaded.factor_values == (3, 6, 40, 32, 32) and math.prod(loaded.factor_values) == 737_280
    for part, n in (("train", 54_000), ("val", 6_000), ("test", 10_000)):
        images, labels, made_of = (getattr(loaded, part + end) for end in ("", "_labels", "_factors"))
        assert images.shape == (n, 1, 32, 32) and images.dtype == torch.uint8
        assert made_of.shape == (n, 5) and made_of.dtype == torch.int64
        assert torch.equal(labels, made_of[:, 0])
        some = torch.randperm(n)[:200]
        assert torch.equal(images[some], draw_sprites(made_of[some])), "the factors are those of the images"
    assert "54,000 training, 6,000 validation, 10,000 test images of 1×32×32, 3 classes" in repr(loaded)
    assert loaded.one_per_class().shape == (3, 1, 32, 32)


def test_no_combination_is_in_two_parts(loaded):
    everything = torch.cat([loaded.train_factors, loaded.val_factors, loaded.test_factors])
    assert len(everything.unique(dim=0)) == len(everything) == 70_000


def test_every_value_of_every_factor_is_equally_frequent(loaded):
    for column, values in zip(loaded.train_factors.T, loaded.factor_values):
        counts = torch.bincount(column)
        expected = 54_000 / values
        assert len(counts) == values and ((counts - expected).abs() < 5 * expected**0.5).all()


def test_the_set_is_the_same_every_time_and_leaves_the_random_state_alone(loaded):
    state = torch.get_rng_state()
    again = data.load("sprites")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(again.train, loaded.train) and torch.equal(again.test_factors, loaded.test_factors)


def test_sprites_need_neither_a_file_nor_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("AECOURSE_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(files, "data_folder", lambda: tmp_path / "nor-here")
    assert len(data.load("sprites").test) == 10_000
