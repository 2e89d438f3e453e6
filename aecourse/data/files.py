"""NAME.npz in the folder that AECOURSE_DATA names or in the data folder: found, checked, kept."""

import os
import tempfile
import zipfile
import zlib
from itertools import count
from pathlib import Path

import numpy as np

from aecourse.data.dataset import CLASSES

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
KERAS_ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # what Keras calls them in its own mnist.npz
SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3), "svhn": (32, 32, 3)}


def data_folder():
    """Where downloaded datasets are kept: data/ of a clone of the course, else a cache in the home folder."""
    root = Path(__file__).resolve().parents[2]
    return root / "data" if (root / "pyproject.toml").is_file() else Path.home() / ".cache" / "aecourse"


def class_folder():
    """The folder that AECOURSE_DATA names; None where it is not set or blank.

    ~ and variables are expanded, quotes dropped. A relative path starts from the working folder or, because
    that is notebooks/ in a notebook, from the course's.
    Raises ValueError if there is no such folder.
    """
    given = os.environ.get("AECOURSE_DATA", "")
    path = os.path.expanduser(os.path.expandvars(given.strip().strip("'\"")))
    if not path:
        return None
    places = list(dict.fromkeys(base / path for base in (Path.cwd(), data_folder().parent)))
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(f"{place} ({'a file' if place.exists() else 'not there'})" for place in places)
    raise ValueError(
        f"AECOURSE_DATA is {given!r}, which is not a folder; looked at {looked}. "
        f"Correct it to the folder that holds the .npz files, or unset it to use {data_folder()}."
    )


def read(name, tried):
    """Read the first sound file of a dataset.

    tried: dict that gets, for each place, why the dataset is not there.
    Returns (where it was, the arrays by name), or None.
    Raises ValueError if the file holds other arrays than the dataset's.
    """
    for place, folder in {"AECOURSE_DATA": class_folder(), "the data folder": data_folder()}.items():
        path, tried[place] = _find(folder, name)
        if path is None:
            continue
        path.open("rb").close()  # a file that may not be read is no damaged one: let that error through
        try:
            with path.open("rb") as opened, np.load(opened) as file:  # NumPy leaves a damaged file of its own open
                return f"{path.name} in {place}", _checked(name, file)
        except Exception as problem:  # a flipped bit can raise almost anything
            if damage := _damage(path):
                tried[place] = f"{path} is damaged ({damage})"
                if place != "AECOURSE_DATA":  # that folder is somebody's, and only read
                    _set_aside(path, damage)
            elif isinstance(problem, ValueError):
                raise ValueError(
                    f"{path} does not hold {name}: {problem}. It needs uint8 arrays: train_images and test_images "
                    f"{_written(SHAPES[name])}, pixels 0 to 255; train_labels and test_labels (n,). "
                    f"The file was left as it is."
                ) from None
            else:
                raise
    return None


def _find(folder, name):
    """The path of NAME.npz, however its name is spelled, and why there is none: one of the two is None."""
    if folder is None:
        return None, "not set" if "AECOURSE_DATA" not in os.environ else "set, but blank"

    def letters(text):  # Fashion-MNIST is fashion_mnist
        return "".join(filter(str.isalnum, text.lower()))

    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name != f"{name}.npz")
    except OSError as problem:
        return None, f"{folder} cannot be read ({problem.strerror})"
    for path in entries:
        if path.suffix.lower() == ".npz" and letters(path.stem) == letters(name) and path.is_file():
            return path, None
    kind = letters(name)[:5]  # so that what may be meant comes first
    entries = sorted(entries, key=lambda path: (kind not in letters(path.name), path.name))
    kinds = ((path.name, "/" if path.is_dir() else "" if path.is_file() else " (a broken link)") for path in entries)
    names = [name + kind for name, kind in kinds if not name.startswith(".")]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return None, f"no {name}.npz in {folder}, which holds {', '.join(names[:6]) + more or 'nothing'}"


def _damage(path):
    """What is wrong with the archive, whatever it holds; None if nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as problem:
        return str(problem) or type(problem).__name__
    return wrong and f"the checksum of {wrong} differs"


def _set_aside(path, damage):
    print(f"{path.name} in the data folder is damaged ({damage}).")
    kept = next(new for n in count(1) if not (new := path.with_name(f"{path.name}.damaged-{n}")).exists())
    try:
        path.rename(kept)
        print(f"It is kept as {kept.name} and fetched again.")
    except OSError:  # a folder that cannot be written, or another notebook was faster
        print("It is passed over.")


def _checked(name, file):
    """The arrays of an open .npz if they are those of the dataset; else ValueError with what is wrong."""

    def require(condition, problem):
        if not condition:
            raise ValueError(problem)

    names = KERAS_ARRAYS if all(key in file for key in KERAS_ARRAYS) else ARRAYS
    for key in names:
        require(key in file, f"it has no array {key}; it holds {', '.join(file.files) or 'nothing'}")
    arrays = {key: file[known] for key, known in zip(ARRAYS, names)}
    for key, array in arrays.items():
        require(array.dtype == np.uint8, f"{key} is {array.dtype}, not uint8")
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        shape = f"{part}_images has the shape {images.shape}, not {_written(SHAPES[name])}"
        require(images.shape[1:] == SHAPES[name], shape)
        shape = f"{part}_labels has the shape {labels.shape}, not ({len(images)},)"
        require(labels.shape == images.shape[:1], shape)
        present, last = np.unique(labels), len(CLASSES[name]) - 1
        require(present.tolist() == list(range(last + 1)), f"{part}_labels are {present}, not 0 to {last}")
    return arrays


def _written(shape):
    return f"(n, {', '.join(map(str, shape))})"


def keep(path, arrays):
    """Write the .npz under its name in one step. If that fails the images are still in memory: say so, go on."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder:
            part = Path(folder) / path.name
            np.savez_compressed(part, **arrays)
            part.replace(path)
    except OSError as problem:
        print(f"No copy could be kept in {path.parent} ({problem.strerror}); next time it is downloaded again.")
