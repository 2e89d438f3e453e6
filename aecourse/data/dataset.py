"""What load returns."""

from dataclasses import dataclass

import torch

from aecourse.data.pixels import to_float

DIGITS = tuple("0123456789")
CLASSES = {
    "mnist": DIGITS,
    "fashion_mnist": tuple("T-shirt,trousers,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")),
    "cifar10": ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "svhn": DIGITS,
    "digits": DIGITS,
    "patches": ("temple", "flower"),
    "sprites": ("square", "ellipse", "heart"),
}


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images in memory, in three parts that do not overlap.

    train, val, test: uint8 tensors (n, channels, height, width), pixels 0 to 255;
        `to_float` turns a batch of them into floats in [0, 1].
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


def from_arrays(name, origin, arrays):
    """Make a Dataset of NumPy arrays. The last tenth of the shuffled training images is for validation.

    arrays: train_images and test_images, uint8 (n, height, width) or (n, height, width, 3), and train_labels and
        test_labels (n,).
    """

    def images(key):
        array = torch.from_numpy(arrays[key])
        return array[:, None] if array.ndim == 3 else array.permute(0, 3, 1, 2).contiguous()

    y, y_test = (torch.from_numpy(arrays[f"{part}_labels"]).long() for part in ("train", "test"))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, val = order.split([len(y) - len(y) // 10, len(y) // 10])
    x, x_test = images("train_images"), images("test_images")
    return Dataset(name, origin, CLASSES[name], x[train], y[train], x[val], y[val], x_test, y_test)
