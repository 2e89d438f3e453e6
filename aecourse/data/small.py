"""Small sets that come with scikit-learn. They stand in for a dataset that cannot be had."""

import os
from dataclasses import replace

import numpy as np
import torch

from aecourse.data.dataset import from_arrays
from aecourse.data.files import ARRAYS

STAND_INS = {"mnist": "digits", "fashion_mnist": "digits", "cifar10": "patches", "svhn": "patches"}
STAND_IN_PASSES = int(os.environ.get("AECOURSE_STAND_IN_PASSES", 20))  # tests that need no trained model lower it


def stand_in(name, tried):
    """The small set of the same kind, with a clear message. Its few images are shown several times an epoch.

    tried: dict, place → why the dataset is not there.
    """
    small = STAND_INS[name]
    data = from_arrays(small, f"scikit-learn, standing in for {name}", small_set(small))
    print(f"*** NOT {name.upper()}. Three places were tried:")
    for place, problem in tried.items():
        print(f"***   {place}: {problem}.")
    print(
        f"*** Only a file {name}.npz directly in one of these folders is read. On a computer with a network "
        f"load({name!r}) makes it.\n"
        f"*** The lesson goes on with the {len(data.train):,} training images of {small!r}, each shown "
        f"{STAND_IN_PASSES} times an epoch.\n"
        f"*** Everything works; the numbers in the text are those of {name}."
    )
    labels = data.train_labels.repeat(STAND_IN_PASSES)
    return replace(data, train=data.train.repeat(STAND_IN_PASSES, 1, 1, 1), train_labels=labels)


def small_set(name):
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
