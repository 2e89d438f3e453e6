"""Datasets as tensors in memory: load("mnist")."""

import difflib

from aecourse.data.dataset import CLASSES, Dataset, from_arrays  # noqa: F401
from aecourse.data.download import fetch
from aecourse.data.files import data_folder, read  # noqa: F401
from aecourse.data.pixels import require_images, to_float  # noqa: F401
from aecourse.data.small import STAND_INS, small_set, stand_in
from aecourse.data.sprites import FACTORS, Sprites, draw_sprites, load_sprites  # noqa: F401


def load(name):
    """Load a dataset into memory.

    name: "mnist", "fashion_mnist", "cifar10", "svhn"; one of the small sets that come with scikit-learn: "digits"
        (28×28 grey) and "patches" (32×32 colour); or "sprites" (32×32 grey), which the course draws itself.
    Returns a Dataset; for the sprites one that knows the factors of every image.

    Looks for NAME.npz in the folder that the environment variable AECOURSE_DATA names (which is only
    read), then in the course's data folder; then downloads it there; and where that fails, says why
    and returns the small set of the same kind instead.
    Raises ValueError for an unknown name, for a file that does not hold the images of that name, and
    for an AECOURSE_DATA that is no folder.
    """
    if not isinstance(name, str) or name not in CLASSES:
        near = difflib.get_close_matches(str(name).lower().replace("-", "_"), CLASSES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no dataset {name!r}.{hint} There are: {', '.join(CLASSES)}.")
    if name == "sprites":
        return load_sprites()
    if name in STAND_INS.values():
        return from_arrays(name, "scikit-learn", small_set(name))
    tried = {}  # place → why it did not have the file
    found = read(name, tried)
    if tried["AECOURSE_DATA"] not in (None, "not set"):
        print(f"AECOURSE_DATA: {tried['AECOURSE_DATA']}.")
    found = found or fetch(name, tried)
    return from_arrays(name, *found) if found else stand_in(name, tried)
