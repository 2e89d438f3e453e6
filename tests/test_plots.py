"""Every plot draws what it should; images are never rescaled."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from aecourse import plots
from aecourse.models import DenseAutoencoder


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


def test_style_is_opaque():
    assert plt.rcParams["figure.facecolor"] == "white" and plt.rcParams["savefig.facecolor"] == "white"


def test_image_rows_keeps_values_and_places():
    a, b = torch.rand(4, 1, 28, 28), torch.full((4, 1, 28, 28), 0.25)
    ax = plots.image_rows({"first": a, "second": b})
    image = ax.images[0]
    assert image.get_clim() == (0, 1)
    drawn = image.get_array()
    np.testing.assert_allclose(drawn[:28, 28:56], a[1, 0], atol=1e-6)
    np.testing.assert_allclose(drawn[28:], 0.25)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]


def test_image_rows_takes_colour_clips_and_uses_the_axes_given():
    _, ax = plt.subplots()
    assert plots.image_rows({"colour": torch.randn(2, 3, 32, 32, requires_grad=True)}, ax=ax) is ax
    drawn = ax.images[0].get_array()
    assert drawn.shape == (32, 64, 3) and drawn.min() == 0 and drawn.max() == 1


def test_training_curves():
    history = {"epoch": [1, 2], "loss": [20.0, 10.0], "val_loss": [30.0, 15.0]}
    ax = plots.training_curves({"a": history, "b": {"epoch": [1], "loss": [5.0]}}, unit="nats")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[20, 10], [30, 15], [5]]
    assert ax.get_ylabel() == "loss (nats)" and ax.get_yscale() == "log"
    assert "b, validation" not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_training_curves_of_a_run_interrupted_in_its_first_epoch():
    assert not plots.training_curves({"a": {"epoch": [], "seconds": []}}).lines


def test_latent_scatter_draws_every_point_and_names_classes():
    z, labels = torch.randn(60, 2), torch.arange(60) % 3
    ax = plots.latent_scatter(z, labels, ("x", "y", "z"), title="codes")
    points = np.concatenate([collection.get_offsets() for collection in ax.collections])
    np.testing.assert_allclose(sorted(points.tolist()), sorted(z.tolist()))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0 x", "1 y", "2 z"]
    assert ax.get_title() == "codes"
    assert plots.latent_scatter(z, labels, ("0", "1", "2")).get_legend() is None
    with pytest.raises(ValueError, match="project them first"):
        plots.latent_scatter(torch.randn(60, 3), labels, ("x", "y", "z"))


def test_latent_grid_lies_on_the_planes_axes():
    """The picture at a point of the plane is what the decoder draws for that point."""

    class Shows(DenseAutoencoder):
        """Draws the first number of the code in the left half, the second in the right half."""

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
    assert ax.images[0].get_clim() == (0, 1)
    tile = picture[:28, 56:]  # top right: code (1.0, 0.5)
    np.testing.assert_allclose(tile[:, :14], 1.0)
    np.testing.assert_allclose(tile[:, 14:], 0.5)
    tile = picture[56:, :28]  # bottom left: code (0, 0)
    np.testing.assert_allclose(tile, 0.0)


def test_show_displays_once_with_its_description(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda figure, metadata: shown.append((figure, metadata)))
    ax = plots.image_rows({"a": torch.rand(2, 1, 28, 28)})
    plots.show(ax, "Two noisy squares.")
    assert shown == [(ax.figure, {"image/png": {"alt": "Two noisy squares."}})]
    assert not plt.get_fignums(), "closed, so that the notebook does not draw it a second time"
