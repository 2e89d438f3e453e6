"""Every plot draws what it should; images are never rescaled."""

import base64
import io
import re
import sys
from unittest.mock import MagicMock

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from aecourse import plots
from aecourse.models import DenseAutoencoder


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


def test_style_is_opaque():
    assert plt.rcParams["figure.facecolor"] == "white" and plt.rcParams["savefig.facecolor"] == "white"


def pixels(picture):
    """What is in the page, as an array (height, width, 3), and its width on the page."""
    kind, width, data = re.search(r'width="(\d+)" src="data:image/(\w+);base64,([^"]+)"', picture).group(2, 1, 3)
    assert kind == "png"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")), int(width)


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, as in Jupyter: a list of bundles, MIME type → data."""
    bundles = []
    monkeypatch.setattr("IPython.get_ipython", MagicMock())
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_image_rows_keeps_values_and_places():
    a, b = torch.rand(4, 1, 28, 28), torch.full((4, 1, 28, 28), 0.25)
    ax = plots.image_rows({"first": a, "second": b})
    drawn = ax.images[0].get_array()
    np.testing.assert_allclose(drawn[:28, 28:56], a[1].permute(1, 2, 0).expand(-1, -1, 3), atol=1e-6)
    np.testing.assert_allclose(drawn[28:], 0.25)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (12, 12), (20, 30), (100, 100)])
def test_a_pixel_of_an_image_is_a_whole_number_of_pixels_of_the_file(n, size, shown):
    stripes = (torch.arange(size[1]) % 2).float().expand(n, 1, *size)
    plots.show(plots.image_rows({"a rather long name": stripes, "b": stripes}), "Stripes.")
    picture, width = pixels(shown[0]["text/html"])
    assert picture.shape[1] == 2 * width, "twice the pixels at the same size on the page"
    line = picture[len(picture) // 4, :, 0]
    stripes_ends = np.flatnonzero(np.diff(line.astype(int)))[-size[1] + 2 : -4]  # in the last image, off frames
    assert len(set(np.diff(stripes_ends))) == 1
    assert set(line[stripes_ends[0] + 1 : stripes_ends[-1]]) == {0, 255}


def test_image_rows_of_large_images_fit_the_page(shown):
    plots.show(plots.image_rows({"a": torch.rand(8, 3, 300, 300)}), "Noise.")
    assert pixels(shown[0]["text/html"])[1] < 800


def test_image_rows_frames_its_images():
    ax = plots.image_rows({"a": torch.zeros(3, 1, 8, 8), "b": torch.zeros(3, 1, 8, 8)})
    vertical, horizontal = (lines.get_segments() for lines in ax.collections)
    assert [line[0][0] for line in vertical] == [-0.5, 7.5, 15.5, 23.5]
    assert [line[0][1] for line in horizontal] == [-0.5, 7.5, 15.5]


def test_image_rows_takes_bytes_colour_beside_grey_and_the_axes_given():
    _, ax = plt.subplots()
    colour = torch.rand(2, 3, 32, 32, requires_grad=True)
    rows = {"colour": colour, 3: torch.full((2, 1, 32, 32), 51, dtype=torch.uint8)}
    assert plots.image_rows(rows, ax=ax) is ax
    drawn = ax.images[0].get_array()
    np.testing.assert_allclose(drawn[:32, :32], colour[0].detach().permute(1, 2, 0), atol=1e-6)
    np.testing.assert_allclose(drawn[32:], 0.2, atol=1e-6)


def test_image_rows_takes_the_images_of_a_single_row():
    images = torch.randint(0, 256, (10, 1, 28, 28), dtype=torch.uint8)
    np.testing.assert_array_equal(
        plots.image_rows(images).images[0].get_array(), plots.image_rows({"": images / 255}).images[0].get_array()
    )


GOOD = torch.rand(4, 1, 28, 28)


@pytest.mark.parametrize(
    "rows, words",
    [
        ({}, "empty"),
        ([GOOD], "list"),
        (GOOD.numpy(), "NumPy"),
        ({"ten": GOOD, "bad": GOOD.numpy()}, "row 'bad'.*NumPy"),
        ({"bad": GOOD - 0.5}, r"row 'bad'.*clamp\(0, 1\)"),
        ({"bad": GOOD * 255}, "row 'bad'.*255"),
        ({"bad": (GOOD * 255).long()}, "row 'bad'.*int64"),
        ({"bad": torch.full((1, 1, 8, 8), torch.nan)}, "row 'bad'.*nan"),
        ({"bad": GOOD[:, 0]}, r"row 'bad'.*\(4, 28, 28\)"),
        ({"bad": GOOD[:0]}, r"row 'bad'.*\(0, 1, 28, 28\)"),
        ({"bad": GOOD.expand(-1, 2, -1, -1)}, "row 'bad'.*colour"),
        ({"ten": GOOD, "bad": GOOD[:3]}, r"'ten'.*\(4, 1, 28, 28\).*'bad'.*\(3, 1, 28, 28\)"),
        ({"ten": GOOD, "bad": GOOD[..., 4:]}, r"'ten'.*\(4, 1, 28, 28\).*'bad'.*\(4, 1, 28, 24\)"),
        ({"bad": torch.tensor(0.5)}, r"row 'bad'.*\(\)"),
    ],
)  # fmt: skip
def test_image_rows_refuses_by_the_name_of_the_row(rows, words):
    with pytest.raises(ValueError, match=words):
        plots.image_rows(rows)
    assert not plt.get_fignums()


def test_training_curves():
    history = {"epoch": [1, 2], "loss": [20.0, 10.0], "val_loss": [30.0, 15.0], "step_loss": [1.0] * 8}
    ax = plots.training_curves({"a": history, "b": {"epoch": [1], "loss": [5.0]}}, unit="nats")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[20, 10], [30, 15], [5]]
    assert ax.get_ylabel() == "loss (nats)" and ax.get_yscale() == "log"
    assert "b, validation" not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_training_curves_of_one_epoch_or_on_request_show_every_step():
    one = {"epoch": [1], "loss": [5.0], "val_loss": [4.0], "step_loss": np.linspace(9, 1, 300).tolist()}
    (line,) = plots.training_curves({"a": one}, unit="nats").lines
    assert line.axes.get_xlabel() == "training step" and line.axes.get_ylabel() == "loss (nats)"
    x, y = line.get_data()
    np.testing.assert_allclose(y, 9 - 8 * (x - (x[0] + 1) / 2) / 299)  # of a straight line, the mean is its middle
    assert x[-1] == 300
    two = one | {"epoch": [1, 2], "loss": [5.0, 4.0], "val_loss": [4.0, 3.0]}
    assert plots.training_curves({"a": two}).get_xlabel() == "epoch"
    assert plots.training_curves({"a": two, "b": two}, steps=True).get_xlabel() == "training step"
    assert plots.training_curves({"a": one}, steps=False).get_xlabel() == "epoch"
    assert plots.training_curves({"a": one | {"kl": [3.0]}}, term="kl").get_xlabel() == "epoch"


@pytest.mark.parametrize("step_loss", [{}, {"step_loss": []}, {"step_loss": [3.0]}, {"step_loss": [3.0, 2.0, 1.0]}])
@pytest.mark.parametrize("steps", [None, True, False])
def test_training_curves_of_a_run_interrupted_in_its_first_epoch(step_loss, steps):
    interrupted = {"epoch": [], "seconds": [], "loss": [], "val_loss": []} | step_loss
    whole = {"epoch": [1, 2], "loss": [2.0, 1.0], "step_loss": [1.0] * 6}
    for histories in ({"a": interrupted}, {"a": interrupted, "b": whole}, {"a": {"epoch": [], "seconds": []}}):
        plots.training_curves(histories, steps=steps).figure.canvas.draw()


def test_training_curves_of_losses_below_zero_are_not_drawn_on_a_logarithmic_scale():
    ax = plots.training_curves({"a": {"epoch": [1, 2], "loss": [2.0, -3.0]}})
    assert ax.get_yscale() == "linear"


def test_latent_scatter_draws_every_point_and_names_classes():
    z, labels = torch.randn(60, 2, requires_grad=True), torch.arange(60) % 3
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    ax = plots.latent_scatter(z, labels, ("x", "y", "z"), title="codes")
    (points,) = ax.collections
    assert torch.equal(torch.get_rng_state(), state[0]) and np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    drawn = {tuple(place): i for i, place in enumerate(np.asarray(points.get_offsets()).tolist())}
    order = [drawn[tuple(place)] for place in z.tolist()]
    assert sorted(order) == list(range(60)) and order != sorted(order), "all, and in another order"
    colours, marks = points.get_facecolors()[order], [points.get_paths()[i] for i in order]
    for i in range(60):
        assert (colours[i] == colours[i % 3]).all() and (marks[i].vertices == marks[i % 3].vertices).all()
    assert len({tuple(colour) for colour in colours}) == 3 == len({len(mark.vertices) for mark in marks[:3]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0 x", "1 y", "2 z"]
    assert ax.get_title() == "codes"
    assert plots.latent_scatter(z, labels, ("0", "1", "2")).get_legend() is None
    ax.figure.canvas.draw()


def test_latent_scatter_refuses_what_is_not_in_the_plane():
    labels = torch.zeros(60, dtype=torch.int64)
    with pytest.raises(ValueError, match="project"):
        plots.latent_scatter(torch.randn(60, 3), labels, ("x", "y", "z"))
    with pytest.raises(ValueError, match="60 indices"):
        plots.latent_scatter(torch.randn(60, 2), labels[:59], ("x", "y", "z"))


def test_latent_grid_lies_on_the_planes_axes():
    """The picture at a point of the plane is what the decoder draws for that point."""

    class Shows(DenseAutoencoder):
        """Draws the first latent dimension in the left half, the second in the right half."""

        def decode(self, z):
            return (
                z[:, :, None, None]
                .repeat_interleave(14, 1)
                .permute(0, 2, 3, 1)
                .expand(-1, 28, 1, 28)
                .permute(0, 2, 1, 3)
            )

    ax = plots.latent_grid(Shows(2), (0.0, 1.0), (0.0, 0.5), steps=3)
    picture, (left, right, bottom, top) = ax.images[0].get_array(), ax.images[0].get_extent()
    assert (left, right, bottom, top) == pytest.approx((-0.25, 1.25, -0.125, 0.625))
    tile = picture[:28, 56:]  # top right: code (1.0, 0.5)
    np.testing.assert_allclose(tile[:, :14], 1.0)
    np.testing.assert_allclose(tile[:, 14:], 0.5)
    tile = picture[56:, :28]  # bottom left: code (0, 0)
    np.testing.assert_allclose(tile, 0.0)


def test_latent_grid_clips_and_frames():
    class Loud(DenseAutoencoder):
        def decode(self, z):
            return (3 * z[:, :1, None, None]).expand(-1, 1, 28, 28)

    ax = plots.latent_grid(Loud(2), (-1.0, 1.0), (0.0, 1.0), steps=3)
    assert np.unique(ax.images[0].get_array()).tolist() == [0, 1]
    vertical, horizontal = (lines.get_segments() for lines in ax.collections)
    np.testing.assert_allclose([line[0][0] for line in vertical], [-1.5, -0.5, 0.5, 1.5])
    np.testing.assert_allclose([line[0][1] for line in horizontal], [-0.25, 0.25, 0.75, 1.25])


def test_show_displays_once_with_its_description_in_the_page(shown):
    ax = plots.image_rows({"a": torch.rand(2, 1, 28, 28)})
    plots.show(ax, 'Two "noisy" squares, x < y & z.')
    (bundle,) = shown
    assert bundle["text/plain"] == 'Two "noisy" squares, x < y & z.'
    assert 'alt="Two &quot;noisy&quot; squares, x &lt; y &amp; z."' in bundle["text/html"]
    assert set(bundle) == {"text/plain", "text/html"}
    assert not plt.get_fignums(), "closed, so that the notebook does not draw it a second time"


@pytest.mark.parametrize("backend, width", [("agg", 4), ("svg", 4.01), ("pdf", 4.02)])
def test_show_is_the_same_under_every_backend(backend, width, shown):
    with plt.rc_context({"backend": plt.get_backend()}):
        plt.switch_backend(backend)
        figure, ax = plt.subplots(figsize=(width, 3))
        ax.plot([1, 2], [3, 4], color=(1, 0, 0))
        plots.show(figure, "A line.")
    picture, on_page = pixels(shown[0]["text/html"])
    assert abs(on_page - 80 * width) < 20 and picture.shape[1] == 2 * on_page
    assert (picture == (255, 0, 0)).all(axis=-1).any()


def test_show_keeps_greys_and_rare_colours(shown):
    """Of few colours, the file is small; what is few in a figure is often what matters."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
    left.imshow(np.linspace(0, 1, 256)[None], cmap="gray", aspect="auto")
    right.imshow(np.random.default_rng(0).random((40, 40, 3)))
    for place, colour in ((0, (1, 0, 0)), (100, (1, 1, 0)), (200, (0, 1, 0))):
        left.plot([place], [0], "o", color=colour, markersize=4)
    plots.show(figure, "A ramp and dots.")
    drawn = pixels(shown[0]["text/html"])[0].astype(int)
    for colour in ((255, 0, 0), (255, 255, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)):
        assert np.abs(drawn - colour).max(axis=-1).min() <= 16
    greys = drawn[(drawn == drawn[..., :1]).all(axis=-1)][:, 0]
    assert len(np.unique(greys)) >= 60


def test_show_takes_the_bytes_of_a_gif(shown):
    file = io.BytesIO()
    Image.new("L", (56, 28)).save(file, format="GIF", save_all=True, append_images=[Image.new("L", (56, 28), 255)])
    plots.show(file.getvalue(), "Black, then white.")
    assert 'alt="Black, then white." width="56" src="data:image/gif;base64,R0lGOD' in shown[0]["text/html"]


@pytest.mark.parametrize("wrong", ["a.png", None, torch.zeros(3), np.array([1])])
def test_show_refuses_what_is_no_figure(wrong):
    with pytest.raises(ValueError, match="figure"):
        plots.show(wrong, "Nothing.")


@pytest.mark.parametrize("ipython", [True, False])
def test_show_in_a_script_says_what_the_figure_shows(ipython, monkeypatch, capsys):
    if not ipython:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    plots.show(plt.figure(figsize=(2, 2)), "An empty figure.")
    assert capsys.readouterr().out == "An empty figure.\n"


VQ_VAE = {
    "$x$": (0, 0),
    "encoder": (1, 0, "two convolutions"),
    "$z_e$": (2, 0),
    "nearest code": (3, 0, "argmin"),
    "codebook": (3, -1, "128 vectors"),
    "$z_q$": (4, 0),
    "decoder": (5, 0),
}
FLOW = [
    ("$x$", "encoder", "1×28×28"),
    ("encoder", "$z_e$", "64×7×7"),
    ("$z_e$", "nearest code", "64×7×7", "stopped"),
    ("codebook", "nearest code", "64 each"),
    ("nearest code", "$z_q$", "", "stopped"),
    ("$z_q$", "decoder"),
    ("decoder", "$z_q$", "", "gradient"),
    ("$z_q$", "$z_e$", "straight-through", "gradient"),
    ("$z_e$", "encoder", "commitment, a label that is longer than its arrow", "gradient"),
]
VAE = {"encoder": (0, 0.5), "$\\mu$": (1, 0), "$\\log\\sigma^2$": (1, 1), "sample": (2, 0.5)}
SPLIT = [(a, b, "20") for a, b in (("encoder", "$\\mu$"), ("encoder", "$\\log\\sigma^2$"), ("$\\mu$", "sample"))]
LOOP = {"prior": (0, 0), "softmax": (1, 0), "a token": (2, 0), "decoder": (7, 0)}
AGAIN = [("a token", "prior", "append"), ("prior", "a token", "skip"), ("prior", "decoder", "past all"), ("prior",) * 2]


@pytest.mark.parametrize("boxes, arrows", [(VQ_VAE, FLOW), (VAE, SPLIT), (LOOP, AGAIN), ({"one": (3, 2)}, [])])
def test_a_diagram_has_all_its_boxes_and_arrows_and_no_text_over_another(boxes, arrows):
    ax = plots.diagram(boxes, arrows)
    ax.figure.canvas.draw()
    drawn = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    heads = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert len(drawn) == len(boxes) and len(heads) == len(arrows)
    written = [text for text in ax.texts if text.get_text()]
    expected = [*boxes, *(more for _, _, *rest in boxes.values() for more in rest), *(a[2] for a in arrows if a[2:])]
    assert sorted(text.get_text() for text in written) == sorted(text for text in expected if text)
    extents = [text.get_window_extent() for text in written]
    for i, extent in enumerate(extents):
        assert not extent.count_overlaps(extents[:i]), written[i]
        assert ax.bbox.x0 <= extent.x0 and extent.x1 <= ax.bbox.x1 and ax.bbox.y0 <= extent.y0
        inside = [box.get_window_extent() for box in drawn if box.get_window_extent().overlaps(extent)]
        labels = [arrow[2] for arrow in arrows if arrow[2:]]
        assert len(inside) == (0 if written[i].get_text() in labels else 1), written[i]


def test_a_diagram_draws_dashed_where_the_gradient_stops_and_its_way_back_below():
    ax = plots.diagram(VQ_VAE, FLOW)
    heads = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    dashed = [head for head in heads if head.get_linestyle() not in ("-", "solid")]
    assert len(dashed) == sum(arrow[3:] == ("stopped",) for arrow in FLOW)
    bottom = min(patch.get_window_extent().y0 for patch in ax.patches if isinstance(patch, FancyBboxPatch))
    below = [head for head in heads if head.get_window_extent().y0 < bottom - 1]
    assert len(below) == sum(arrow[3:] == ("gradient",) for arrow in FLOW)
    assert {head.get_edgecolor() for head in below}.isdisjoint(h.get_edgecolor() for h in heads if h not in below)


@pytest.mark.parametrize(
    "arrow, words",
    [(("$x$", "z"), "'z'.*encoder"), (("y", "encoder"), "'y'"), (("$x$", "encoder", "", "back"), "back")],
)
def test_a_diagram_refuses_arrows_that_it_cannot_draw(arrow, words):
    with pytest.raises(ValueError, match=words):
        plots.diagram(VQ_VAE, [*FLOW, arrow])
    assert not plt.get_fignums()


def test_show_cuts_nothing_off_where_axes_have_an_aspect_of_their_own(shown):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2))
    left.plot([0, 1], [0, 1], "o")
    right.imshow(np.random.default_rng(0).random((20, 20)), extent=(0, 1, 0, 1), aspect="auto")
    for ax in (left, right):
        ax.set(xlabel="a label that is long enough", ylabel="another label that is long enough", aspect="equal")
    plots.show(figure, "Noise.")
    picture, _ = pixels(shown[0]["text/html"])
    edges = picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]
    assert all((edge == 255).all() for edge in edges)
