"""Every picture that lessons share. Each function draws, and returns the axes it drew on.

Grey images always show black for 0 and white for 1; nothing is rescaled figure by figure.
"""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.ticker import LogLocator, NullLocator

from aecourse.training import in_batches


def use_style():
    """The one style of the course: opaque, readable on a laptop, safe for colour-blind eyes."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.dpi": 80,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
        }
    )


def show(drawn, alt):
    """Display a figure with a description for those who cannot see it, once, and close it.

    drawn: a figure, or axes of it. alt: what the figure shows, in a sentence.
    """
    from IPython.display import display

    figure = drawn if isinstance(drawn, plt.Figure) else drawn.figure
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def _canvas(images):
    """(n, channels, height, width) in [0, 1] → list of arrays that imshow takes."""
    pictures = images.detach().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return [picture.squeeze(-1) if picture.shape[-1] == 1 else picture for picture in pictures]


def image_rows(rows, ax=None):
    """Rows of images, each with its name at the left: originals over reconstructions.

    rows: a dictionary, name → (n, channels, height, width) in [0, 1], the same n and size in each.
    """
    heights = [np.concatenate(_canvas(images), axis=1) for images in rows.values()]
    n, size = len(next(iter(rows.values()))), heights[0].shape[0]
    if ax is None:
        _, ax = plt.subplots(figsize=(1 + 0.75 * n, 0.75 * len(rows) + 0.1))
    ax.imshow(np.concatenate(heights), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks(np.arange(len(rows)) * size + size / 2, rows.keys())
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def training_curves(histories, term="loss", unit="", ax=None):
    """A term of the loss over the epochs, training dashed and validation solid, on a logarithmic scale.

    histories: a dictionary, name → what fit returned.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 3.5))
    for colour, (name, history) in zip(sns.color_palette(n_colors=len(histories)), histories.items()):
        for key, part, dashes in ((term, "training", "--"), (f"val_{term}", "validation", "-")):
            if key in history:  # not in one that was interrupted before its first epoch ended
                ax.plot(history["epoch"], history[key], dashes, color=colour, label=f"{name}, {part}")
    ax.set(xlabel="epoch", ylabel=f"{term} ({unit})" if unit else term, yscale="log")
    plain_numbers(ax.yaxis)
    if ax.lines:
        ax.legend()
    return ax


def plain_numbers(axis):
    """Label a logarithmic axis with 1, 2, 5, 10, 20 … instead of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def latent_scatter(z, labels, classes, title="", ax=None):
    """Codes in the plane, each drawn as the number of its class, in the colour of its class.

    z: (n, 2). labels: (n,), indices into classes; a legend names them where they are not digits.
    Raises ValueError if z is not two-dimensional: project it first.
    """
    if z.ndim != 2 or z.shape[1] != 2:
        raise ValueError(f"a scatter plot takes codes of shape (n, 2), not {tuple(z.shape)}: project them first.")
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 5.5))
    for label, colour in enumerate(sns.color_palette(n_colors=len(classes))):
        points = z[labels == label]
        ax.scatter(*points.T, s=26, marker=f"${label}$", color=colour, linewidths=0, label=f"{label} {classes[label]}")
    if list(classes) != [str(label) for label in range(len(classes))]:
        ax.legend(markerscale=2)
    ax.set(xlabel="code 1", ylabel="code 2", title=title)
    return ax


def latent_grid(model, x_range, y_range, steps=18, ax=None):
    """What a model with a 2-D code decodes all over a rectangle of the plane, on the plane's own axes.

    x_range, y_range: (low, high) of the first and the second number of the code.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 5.5))
    xs, ys = torch.linspace(*x_range, steps), torch.linspace(*y_range, steps)
    plane = torch.cartesian_prod(ys.flip(0), xs).flip(1)  # from the top left, row by row
    pictures = _canvas(in_batches(model.decode, plane))
    rows = [np.concatenate(pictures[i * steps : (i + 1) * steps], axis=1) for i in range(steps)]
    half_x, half_y = (xs[1] - xs[0]).item() / 2, (ys[1] - ys[0]).item() / 2
    extent = (x_range[0] - half_x, x_range[1] + half_x, y_range[0] - half_y, y_range[1] + half_y)
    ax.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    ax.set(xlabel="code 1", ylabel="code 2")
    return ax
