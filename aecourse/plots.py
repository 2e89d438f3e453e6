"""Every figure that lessons share, and the diagrams of models. Functions that draw return their axes.

Grey images always show black for 0 and white for 1; nothing is rescaled figure by figure.
"""

import base64
import html
import io
import sys

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.markers import MarkerStyle
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox
from PIL import Image

from aecourse.data import to_float
from aecourse.training import in_batches

PAGE_DPI, DPI = 80, 160  # an inch is 80 pixels wide on the page and has 160 in the file: sharp on every display
IMAGE_WIDTH = 120  # of an image in a row, in pixels of the file, about


def use_style():
    """The one style of the course: opaque, readable on a laptop, safe for colour-blind eyes."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rc("figure", facecolor="white", dpi=PAGE_DPI)
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("savefig", facecolor="white", dpi=DPI)
    plt.rc("axes.spines", top=False, right=False)
    plt.rc("legend", frameon=False)


def show(drawn, alt):
    """Display a figure with a description for those who cannot see it, once, and close it.

    drawn: a figure, axes of it, or the bytes of a GIF. alt: what it shows, in a sentence.
    Raises ValueError for anything else. Outside Jupyter it prints the description.
    """
    if isinstance(drawn, bytes) and drawn[:4] == b"GIF8":
        image, kind, width = drawn, "gif", Image.open(io.BytesIO(drawn)).width
    elif isinstance(
        figure := getattr(getattr(drawn, "figure", None), "figure", None), plt.Figure
    ):  # of a subfigure, too
        (image, width), kind = _png(figure), "png"
        plt.close(figure)
    else:
        raise ValueError(f"show takes a figure, axes of one, or the bytes of a GIF; got {type(drawn).__name__}.")
    if not str(alt or "").strip():
        raise ValueError("a figure needs a description, alt: a sentence for those who cannot see it.")
    # HTML, because JupyterLab drops the description in an image/png's metadata and keeps the alt of an <img>.
    source = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    page = f'<img alt="{html.escape(alt)}" width="{width}" src="{source}">'
    ipython = sys.modules.get("IPython")
    if ipython and ipython.get_ipython():
        ipython.display.display({"text/html": page, "text/plain": alt}, raw=True)
    else:
        print(alt)


def _png(figure):
    """A figure as the bytes of a PNG, and its width on the page. The same under every backend of matplotlib."""
    figure.set_dpi(DPI)
    figure.draw_without_rendering()  # lays it out, once: savefig would do so again, and otherwise
    figure.set_layout_engine("none")
    box = figure.get_tightbbox().padded(0.05)
    box = Bbox([np.floor(box.min * PAGE_DPI) / PAGE_DPI, np.ceil(box.max * PAGE_DPI) / PAGE_DPI])  # whole pixels
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, bbox_inches=box)
    return _few_colours(Image.open(file).convert("RGB"))


def _few_colours(image):
    """A PNG of 64 greys and 192 colours, a third as large; greys are at most 2 of 255 off, rare colours are kept."""
    pixels = np.asarray(image)
    coloured = (pixels != pixels[..., :1]).any(axis=-1)
    indices, palette = pixels[..., 0] // 4, np.linspace(0, 255, 64).round().repeat(3).astype(int).tolist()
    if coloured.any():
        colours = Image.fromarray(pixels[coloured][None]).quantize(192, method=Image.Quantize.MAXCOVERAGE)
        indices[coloured] = 64 + np.asarray(colours)[0]
        palette += colours.getpalette()[: 3 * 192]
    image, file = Image.fromarray(indices), io.BytesIO()
    image.putpalette(palette)
    image.save(file, format="png", optimize=True)
    return file.getvalue(), round(image.width * PAGE_DPI / DPI)


def _canvas(images):
    """(n, channels, height, width), floats → (n, height, width, 3), a NumPy array."""
    images = images.detach().cpu().float().clamp(0, 1)
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def _frames(ax, xs, ys):
    """Thin lines between images: where one ends on its neighbour's ground shows, and so does what has moved."""
    style = {"color": "0.35", "linewidth": 0.9}  # unlike black, white, and what an untrained model decodes
    ax.vlines(xs, ys[0], ys[-1], **style)
    ax.hlines(ys, xs[0], xs[-1], **style)


def image_rows(rows, ax=None):
    """Rows of images, each with its name at the left: originals over reconstructions.

    rows: a dictionary, name → (n, channels, height, width), uint8 or floats in [0, 1], the same n and size
        in each, or the images of a single row.
    Raises ValueError for anything else, with the name of the row.
    """
    rows = rows if isinstance(rows, dict) else {"": rows}
    if not rows:
        raise ValueError("image_rows takes a dictionary, name → images; this one is empty.")
    rows = {str(name): to_float(images, f"row {name!r}" if name else "images") for name, images in rows.items()}
    first = next(iter(rows))
    for name, images in rows.items():
        grey_or_colour = images.ndim == 4 and images.shape[1] in (1, 3) and len(images)
        if not grey_or_colour or images[:, :1].shape != rows[first][:, :1].shape:
            raise ValueError(
                f"row {first!r}, {tuple(rows[first].shape)}, and row {name!r}, {tuple(images.shape)}, should be images "
                f"(n, channels, height, width) in grey or colour, with the same n > 0 and size."
            )
    n, _, height, width = rows[first].shape
    if ax is None:  # a pixel of an image becomes a whole number of pixels of the file, unless images are large
        scale = max(round(IMAGE_WIDTH / width), 1) if width <= 2 * IMAGE_WIDTH else IMAGE_WIDTH / width
        w, h = n * width * scale / DPI, len(rows) * height * scale / DPI
        figure = plt.figure(figsize=(w + 1, h), layout="none")
        ax = figure.add_axes((1 / (w + 1), 0, w / (w + 1), 1))
    ax.imshow(np.concatenate([np.concatenate(_canvas(images), axis=1) for images in rows.values()]))
    _frames(ax, np.arange(n + 1) * width - 0.5, np.arange(len(rows) + 1) * height - 0.5)
    ax.set_xticks([])
    ax.set_yticks((np.arange(len(rows)) + 0.5) * height - 0.5, rows)
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def training_curves(histories, term="loss", unit="", ax=None, steps=None):
    """A term of the loss over the epochs, training dashed and validation solid, on a logarithmic scale.

    histories: a dictionary, name → what fit returned.
    steps: draw the training loss of every step, smoothed, instead; by default where no run has two epochs.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 3.5))
    if steps is None:
        steps = term == "loss" and all(len(h["epoch"]) < 2 and h.get("step_loss") for h in histories.values())
    for colour, (name, history) in zip(sns.color_palette(n_colors=len(histories)), histories.items()):
        if steps and (losses := history.get("step_loss")):
            width = len(losses) // 30 + 1
            smooth = np.convolve(losses, np.full(width, 1 / width), mode="valid")
            ax.plot(np.arange(len(smooth)) + width, smooth, color=colour, label=f"{name}, mean of {width} steps")
        for key, part, style in ((term, "training", "--"), (f"val_{term}", "validation", "-")):
            if history.get(key) and not steps:  # empty if the run was interrupted in its first epoch
                ax.plot(history["epoch"], history[key], style, color=colour, label=f"{name}, {part}")
    ax.set(xlabel="training step" if steps else "epoch", ylabel=f"{term} ({unit})" if unit else term)
    if all((line.get_ydata() > 0).all() for line in ax.lines):
        ax.set_yscale("log")
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
    """Latent codes in the plane, each drawn as the number of its class, in the colour of its class.

    z: (n, 2). labels: (n,), indices into classes; a legend names them where they are not digits. The points
        are drawn in random order, so that no class hides another.
    Raises ValueError if z is not two-dimensional: project it first.
    """
    z, labels = (torch.as_tensor(values).detach().cpu() for values in (z, labels))
    if z.ndim != 2 or z.shape[1] != 2 or not z.isfinite().all():
        raise ValueError(f"z should be latent vectors (n, 2), finite; got {tuple(z.shape)}: project them first.")
    if labels.shape != z.shape[:1] or not set(labels.unique().tolist()) <= set(range(len(classes))):
        raise ValueError(f"labels should be {len(z)} indices into the {len(classes)} classes, one for each point.")
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 5.5))
    order = np.random.default_rng(0).permutation(len(z))
    z, labels = z.numpy()[order], labels.numpy()[order]
    colours = np.array(sns.color_palette(n_colors=len(classes)))
    markers = [MarkerStyle(f"${label}$") for label in range(len(classes))]
    points = ax.scatter(*z.T, s=26, color=colours[labels], linewidths=0)
    digits = [marker.get_path().transformed(marker.get_transform()) for marker in markers]
    points.set_paths([digits[label] for label in labels])  # scatter itself takes one marker for all
    if list(classes) != [str(label) for label in range(len(classes))]:
        for label, name in enumerate(classes):
            style = {"marker": markers[label], "markersize": 10, "markeredgewidth": 0, "linestyle": ""}
            ax.plot([], [], color=colours[label], label=f"{label} {name}", **style)
        ax.legend()
    ax.set(xlabel="latent dimension 1", ylabel="latent dimension 2", title=title)
    return ax


def latent_grid(model, x_range, y_range, steps=18, ax=None):
    """What a model with two latent dimensions decodes all over a rectangle of the plane, on the plane's own axes.

    x_range, y_range: (low, high) of the first and the second latent dimension. Values are clipped to [0, 1].
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 5.5))
    xs, ys = torch.linspace(*x_range, steps), torch.linspace(*y_range, steps)
    plane = torch.cartesian_prod(ys.flip(0), xs).flip(1)  # from the top left, row by row
    images = _canvas(to_float(in_batches(model.decode, plane).clamp(0, 1), "the decoded images"))
    rows = [np.concatenate(row, axis=1) for row in images.reshape(steps, steps, *images.shape[1:])]
    halves = [(high - low) / (steps - 1) / 2 for low, high in (x_range, y_range)]
    x_edges = np.linspace(x_range[0] - halves[0], x_range[1] + halves[0], steps + 1)
    y_edges = np.linspace(y_range[0] - halves[1], y_range[1] + halves[1], steps + 1)
    extent = (x_edges[0], x_edges[-1], y_edges[0], y_edges[-1])
    ax.imshow(np.concatenate(rows), extent=extent, aspect="auto")
    _frames(ax, x_edges, y_edges)
    ax.set(xlabel="latent dimension 1", ylabel="latent dimension 2")
    return ax


ARROWS = {"forward": ("0.2", "-"), "stopped": ("0.2", (0, (4, 2))), "gradient": ("#d55e00", "-")}  # colour, line
NAME, SMALL = 12, 9  # font sizes, in points


def diagram(boxes, arrows):
    """A model as boxes and arrows, each column and gap as wide as what stands in it.

    boxes: a dictionary, name → (column, row), or (column, row, more), where more stands below the name in small
        letters: layers, for instance. Rows count downwards and may be fractions. A name that is a formula,
        such as "$z$", is a quantity and drawn round.
    arrows: tuples (from, to), (from, to, label) or (from, to, label, kind); the label is the shape, or what flows.
        kind: "forward"; "stopped", dashed, where no gradient comes back; "gradient", the way back, below the
        boxes. A forward arrow to the left, or past another box of its row, goes around above them.
    Raises ValueError for no boxes, and for an arrow of an unknown box or kind.
    """
    if not boxes:
        raise ValueError("a diagram needs a box.")

    arrows = [(*arrow, *("", "forward")[len(arrow) - 2 :]) for arrow in arrows]
    for start, end, _, kind in arrows:
        if not {start, end} <= boxes.keys() or kind not in ARROWS:
            known = f"the boxes are {', '.join(map(repr, boxes))}, the kinds {', '.join(map(repr, ARROWS))}"
            raise ValueError(f"an arrow leads from {start!r} to {end!r} and is {kind!r}; {known}.")
    figure = plt.figure(layout="none")
    ax = figure.add_axes((0, 0, 1, 1))  # in inches
    ax.axis("off")

    def size_of(text, points=SMALL):
        written = ax.text(0, 0, text, fontsize=points)
        extent = written.get_window_extent()
        written.remove()
        return np.array([extent.width, extent.height]) / figure.dpi

    def write(x, y, text, points=SMALL, **style):
        ax.text(x, y, text, **({"fontsize": points, "color": "0.2", "ha": "center", "va": "center"} | style))

    halves = {}  # half the width and height of each box
    for name, (_, _, *more) in boxes.items():
        (w, h), (w_more, h_more) = size_of(name, NAME), size_of("".join(more))
        h += h_more + 0.2
        halves[name] = np.array([max(w + 0.24, w_more + 0.24, h), h]) / 2
    columns = sorted({column for column, *_ in boxes.values()})
    wide = {c: max(halves[name][0] for name in boxes if boxes[name][0] == c) for c in columns}
    x = {columns[0]: 0}
    for left, right in zip(columns, columns[1:]):
        labels = [label for a, b, label, _ in arrows if {boxes[a][0], boxes[b][0]} == {left, right}]
        x[right] = x[left] + wide[left] + max([0.4, *(size_of(label)[0] + 0.24 for label in labels)]) + wide[right]
    row_height = 2 * max(h for _, h in halves.values()) + 0.4
    positions = {name: np.array([x[column], -row * row_height]) for name, (column, row, *_) in boxes.items()}

    for name, (_, _, *more) in boxes.items():
        (x0, y0), (w, h) = positions[name], halves[name]
        quantity = name.startswith("$")
        shape = f"round,pad=0,rounding_size={min(w, h) if quantity else 0.06}"
        colours = {"facecolor": "white" if quantity else "#dbe7f3", "edgecolor": "0.2"}
        ax.add_patch(FancyBboxPatch((x0 - w, y0 - h), 2 * w, 2 * h, shape, **colours))
        write(x0, y0 + size_of("".join(more))[1] / 2, name, NAME)
        write(x0, y0 - size_of(name, NAME)[1] / 2, "".join(more))

    taken = [(*(positions[name] - halves[name]), *(positions[name] + halves[name])) for name in boxes]  # rectangles
    for start, end, label, kind in sorted(arrows, key=lambda arrow: abs(x[boxes[arrow[0]][0]] - x[boxes[arrow[1]][0]])):
        (xa, ya), (xb, yb), (w, h) = positions[start], positions[end], size_of(label)
        past = any(y0 == ya == yb and min(xa, xb) < x0 < max(xa, xb) for x0, y0 in positions.values())
        if kind == "gradient" or past or start == end or (ya == yb and xb < xa):  # around, clear of all that is there
            side, go = -1 if kind == "gradient" else 1, 1 if xa <= xb else -1
            ya, yb = ya + side * halves[start][1], yb + side * halves[end][1]
            xa, xb = xa + 0.12 * go, xb - 0.06 * go  # in and out apart
            middle, reach = (xa + xb) / 2, max(abs(xa - xb), w) / 2
            near = [box for box in taken if box[0] < middle + reach and middle - reach < box[2]]
            y = side * np.ceil(10 * max(side * edge for box in near for edge in box[1::2]) + 1.5) / 10
            route = {"path": Path([(xa, ya), (xa, y), (xb, y), (xb, yb)])}
            low, high = sorted((y, y + side * (h + 0.06)))
            taken.append((middle - reach, low, middle + reach, high))
            write(middle, y + side * 0.04, label, va="bottom" if side > 0 else "top")
        else:
            towards = np.array([np.sign(xb - xa), 0]) if xa != xb else np.array([0, np.sign(yb - ya)])
            tail, tip = positions[start] + towards * halves[start], positions[end] - towards * halves[end]
            route, (middle_x, middle_y) = {"posA": tail, "posB": tip}, (tail + tip) / 2
            if ya == yb:
                write(middle_x, middle_y + 0.04, label, va="bottom")
            elif xa == xb:
                write(middle_x + 0.06, middle_y, label, ha="left")
            else:
                write(middle_x, middle_y, label, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
        colour, dashes = ARROWS[kind]
        style = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
        ax.add_patch(FancyArrowPatch(**route, color=colour, linestyle=dashes, **style))

    edges = np.array(taken)
    (left, bottom), (right, top) = edges[:, :2].min(axis=0) - 0.1, edges[:, 2:].max(axis=0) + 0.1
    ax.set(xlim=(left, right), ylim=(bottom, top))
    figure.set_size_inches(right - left, top - bottom)
    return ax
