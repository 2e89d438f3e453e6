"""Datasets as tensors in memory: load("mnist")."""

import difflib
import hashlib
import os
import socket
import struct
import tempfile
import zipfile
import zlib
from contextlib import nullcontext
from dataclasses import dataclass, replace
from http.client import HTTPException
from itertools import count
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from aecourse.data.pixels import require_images, to_float  # noqa: F401

DIGITS = tuple("0123456789")
CLASSES = {
    "mnist": DIGITS,
    "fashion_mnist": (
        "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "cifar10": ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "svhn": DIGITS,
    "digits": DIGITS,
    "patches": ("temple", "flower"),
    "sprites": ("square", "ellipse", "heart"),
}  # fmt: skip
STAND_INS = {"mnist": "digits", "fashion_mnist": "digits", "cifar10": "patches", "svhn": "patches"}

# MD5 of the raw IDX image files (header included): what torchvision unpacked is what was published.
IDX_MD5 = {
    "mnist": ("6bbc9ace898e44ae57da46a324031adb", "2646ac647ad5339dbf082846283269ea"),
    "fashion_mnist": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "8181f5470baa50b63fa0f6fddb340f0a"),
}
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
STAND_IN_PASSES = 20
NETWORK_TIMEOUT = 30  # seconds without a byte before a download counts as failed


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images in memory, in three parts that do not overlap.

    train, val, test: uint8 tensors (n, channels, height, width), pixels 0 to 255;
        `to_float` turns a batch of them into numbers in [0, 1].
    train_labels, val_labels, test_labels: int64 tensors (n,), indices into `classes`.
    name: what the images are. origin: where they came from, in words.
    """

    name: str
    origin: str
    classes: tuple
    train: torch.Tensor
    train_labels: torch.Tensor
    val: torch.Tensor
    val_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor

    def __repr__(self):
        shape = "×".join(str(size) for size in self.train.shape[1:])
        parts = f"{len(self.train):,} training, {len(self.val):,} validation, {len(self.test):,} test images"
        return f"{self.name}: {parts} of {shape}, {len(self.classes)} classes, from {self.origin}"

    def one_per_class(self):
        """The first test image of every class, as floats (classes, channels, height, width) in [0, 1]."""
        first = [(self.test_labels == label).nonzero()[0, 0] for label in range(len(self.classes))]
        return to_float(self.test[torch.stack(first)])


def load(name):
    """Load a dataset into memory.

    name: "mnist", "fashion_mnist", "cifar10", "svhn"; one of the small sets that come with
        scikit-learn: "digits" (28×28 grey) and "patches" (32×32 colour); or "sprites" (32×32 grey), which
        the course draws itself, see aecourse.sprites.
    Returns a Dataset; for the sprites one that knows the factors of every image.

    Looks for NAME.npz in the folder that the environment variable AECOURSE_DATA names (which is only
    read), then in the course's data folder; then downloads it there; and where there is no network,
    says so and returns the small set of the same kind instead.
    Raises ValueError for an unknown name, for a file that does not hold the arrays it should, and
    for an AECOURSE_DATA that is no folder.
    """
    if name not in CLASSES:
        near = difflib.get_close_matches(str(name).lower().replace("-", "_"), CLASSES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no dataset {name!r}.{hint} There are: {', '.join(CLASSES)}.")
    if name == "sprites":
        from aecourse.sprites import load_sprites  # which needs this file

        return load_sprites()
    if name in STAND_INS.values():
        return _split(name, "scikit-learn", _small_set(name))
    arrays, origin = _read(name)
    if arrays is None:
        try:
            arrays, origin = _fetch(name)
        except (OSError, HTTPException, RuntimeError, EOFError, zipfile.BadZipFile) as problem:
            return _stand_in(name, " ".join(str(problem).split()))
    return _split(name, origin, arrays)


def data_folder():
    """Where downloaded datasets are kept: data/ of a clone of the course, else a cache in the home folder."""
    root = Path(__file__).resolve().parents[2]
    return root / "data" if (root / "pyproject.toml").is_file() else Path.home() / ".cache" / "aecourse"


def _read(name):
    """The arrays of the first sound NAME.npz and where it was, or (None, None)."""
    folders = {"the data folder": data_folder()}
    if prepared := os.environ.get("AECOURSE_DATA"):
        if not Path(prepared).is_dir():
            raise ValueError(
                f"AECOURSE_DATA is {prepared!r}, which is not a folder. Correct it, or unset it to use {data_folder()}."
            )
        folders = {"AECOURSE_DATA": Path(prepared)} | folders
    for place, folder in folders.items():
        path = folder / f"{name}.npz"
        if not path.is_file():
            continue
        path.open("rb").close()  # a file that may not be read is no damaged one: let that error through
        try:
            if not zipfile.is_zipfile(path):
                raise zipfile.BadZipFile("the file is cut short or is no .npz")
            with np.load(path) as file:
                arrays = {key: file[key] for key in ARRAYS if key in file}
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as problem:
            print(f"{path.name} in {place} is damaged ({problem}).")
            if place != "AECOURSE_DATA":  # that folder is somebody's, and only read
                _set_aside(path)
            continue
        except ValueError as problem:  # pickled objects, which NumPy rightly refuses to load
            raise ValueError(f"{path} is no dataset of the course: {problem} The file was left as it is.") from None
        return _check(path, arrays, len(CLASSES[name])), f"{path.name} in {place}"
    return None, None


def _set_aside(path):
    kept = next(new for n in count(1) if not (new := path.with_name(f"{path.name}.damaged-{n}")).exists())
    try:
        path.rename(kept)
        print(f"It is kept as {kept.name} and fetched again.")
    except OSError:  # a folder that cannot be written, or another notebook was faster
        print("It is passed over.")


def _check(path, arrays, classes):
    """Return the arrays if they are a dataset; raise ValueError with what is wrong if not."""

    def require(condition, problem):
        if not condition:
            raise ValueError(
                f"{path} is no dataset of the course: {problem}. It needs uint8 arrays train_images and "
                f"test_images (n, height, width) or (n, height, width, 3), pixels 0 to 255, and "
                f"train_labels and test_labels (n,). The file was left as it is."
            )

    for key in ARRAYS:
        require(key in arrays, f"it has no array {key}")
        require(arrays[key].dtype == np.uint8, f"{key} is {arrays[key].dtype}, not uint8")
    shapes = {key: arrays[key].shape for key in ARRAYS}
    for part in ("train", "test"):
        images, labels = shapes[f"{part}_images"], shapes[f"{part}_labels"]
        require(len(images) == 3 or (len(images) == 4 and images[3] == 3), f"{part}_images has the shape {images}")
        require(labels == images[:1], f"{part}_labels has the shape {labels} for {images[0]} images")
        present = np.unique(arrays[f"{part}_labels"])
        require(present.tolist() == list(range(classes)), f"{part}_labels are {present}, not 0 to {classes - 1}")
    require(shapes["train_images"][1:] == shapes["test_images"][1:], "train and test images differ in size")
    return arrays


def _split(name, origin, arrays):
    """Arrays of a dataset → Dataset. The last tenth of the shuffled training images is for validation."""

    def images(key):
        array = torch.from_numpy(arrays[key])
        return array[:, None] if array.ndim == 3 else array.permute(0, 3, 1, 2).contiguous()

    def labels(key):
        return torch.from_numpy(arrays[key]).long()

    total = len(arrays["train_labels"])
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    train, val = order[: total - total // 10], order[total - total // 10 :]
    x, y = images("train_images"), labels("train_labels")
    return Dataset(
        name, origin, CLASSES[name], x[train], y[train], x[val], y[val], images("test_images"), labels("test_labels")
    )


def _fetch(name):
    """Download a dataset and keep it as NAME.npz; once, however many notebooks ask at the same time."""
    folder = data_folder()
    lock = FileLock(folder / f".{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(timeout=1)
    except Timeout:
        print(f"Another notebook is fetching {name}; this one waits for it.", flush=True)
        held = lock.acquire()
    except (OSError, NotImplementedError):  # the folder cannot be written or locked: nothing to share
        held = nullcontext()
    with held:
        arrays, origin = _read(name)  # another notebook may have fetched it while this one waited
        if arrays is None:
            arrays, origin = _download(name), "the download"
            _keep(folder / f"{name}.npz", arrays)
    return arrays, origin


def _download(name):
    """Fetch through torchvision into a temporary folder and return the checked arrays."""
    from torchvision import datasets

    print(f"Downloading {name}; this happens once.", flush=True)
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        with tempfile.TemporaryDirectory() as folder:
            if name == "svhn":
                parts = [datasets.SVHN(folder, split=part, download=True) for part in ("train", "test")]
                images = [part.data.transpose(0, 2, 3, 1) for part in parts]
                labels = [part.labels for part in parts]
            else:
                dataset = {
                    "mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10
                }[name]  # fmt: skip
                parts = [dataset(folder, train=train, download=True) for train in (True, False)]
                images, labels = [part.data for part in parts], [part.targets for part in parts]
    finally:
        socket.setdefaulttimeout(patience)
    images = [np.ascontiguousarray(part, dtype=np.uint8) for part in images]
    for part, expected in zip(images, IDX_MD5.get(name, ())):
        header = struct.pack(">4i", 2051, *part.shape)
        if hashlib.md5(header + part.tobytes()).hexdigest() != expected:
            raise RuntimeError("the downloaded images are not the published ones (their checksum differs)")
    labels = [np.asarray(part, dtype=np.uint8) for part in labels]
    return dict(zip(ARRAYS, (images[0], labels[0], images[1], labels[1])))


def _keep(path, arrays):
    """Write the .npz under its name in one step. If that fails the images are still in memory: say so, go on."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(part, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(part, path)
    except OSError as problem:
        print(f"No copy could be kept in {path.parent} ({problem.strerror}); next time it is downloaded again.")
    finally:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass


def _stand_in(name, problem):
    """The small set of the same kind, with a loud line. Its few images are shown several times an epoch."""
    small = STAND_INS[name]
    data = _split(small, f"scikit-learn, standing in for {name}", _small_set(small))
    print(
        f"*** NOT {name.upper()}: it is not on this computer and could not be downloaded\n"
        f"*** ({problem}).\n"
        f"*** The lesson goes on with the {len(data.train):,} training images of {small!r}, each shown "
        f"{STAND_IN_PASSES} times an epoch.\n"
        f"*** Everything works; the numbers in the text are those of {name}."
    )
    return replace(
        data,
        train=data.train.repeat(STAND_IN_PASSES, 1, 1, 1),
        train_labels=data.train_labels.repeat(STAND_IN_PASSES),
    )


def _small_set(name):
    """The arrays of a set that comes with scikit-learn.

    digits: 1,797 scans by 13 people, 8×8 with 17 grey levels, enlarged to 28×28; the last 297 are for testing.
    patches: two photographs cut into 520 squares of 32×32; the right fifth of each is for testing.
    """
    from sklearn import datasets

    if name == "digits":
        scans = datasets.load_digits()
        small = torch.from_numpy(scans.images).float()[:, None] / 16
        # 8×8 becomes 20×20 with a margin of 4: the proportions of MNIST.
        large = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear")
        images = torch.nn.functional.pad(large, (4, 4, 4, 4)).mul(255).round().byte().squeeze(1).numpy()
        labels = scans.target.astype(np.uint8)
        return dict(zip(ARRAYS, (images[:1500], labels[:1500], images[1500:], labels[1500:])))
    train, test = [], []
    for photograph in datasets.load_sample_images().images:
        rows, columns = photograph.shape[0] // 32, photograph.shape[1] // 32
        squares = photograph[: rows * 32, : columns * 32].reshape(rows, 32, columns, 32, 3).swapaxes(1, 2)
        cut = columns * 4 // 5
        train.append(squares[:, :cut].reshape(-1, 32, 32, 3))
        test.append(squares[:, cut:].reshape(-1, 32, 32, 3))
    labels = [np.repeat(np.arange(2, dtype=np.uint8), [len(part) for part in parts]) for parts in (train, test)]
    return dict(zip(ARRAYS, (np.concatenate(train), labels[0], np.concatenate(test), labels[1])))
