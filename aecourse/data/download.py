"""Downloads through torchvision, which checks them."""

import socket
import tempfile
from contextlib import nullcontext

import numpy as np
from filelock import FileLock, Timeout

from aecourse.data import files

NETWORK_TIMEOUT = 30  # seconds without a byte before a download counts as failed


def fetch(name, tried):
    """Download a dataset and keep it as NAME.npz; once, however many notebooks ask at the same time.

    Returns and tried: as read.
    """
    folder = files.data_folder()
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
        if found := files.read(name, tried):  # another notebook may have fetched it while this one waited
            return found
        print(f"Downloading {name}; this happens once.", flush=True)
        try:
            arrays = _download(name)
        except Exception as problem:  # a network, proxy, certificate or server; torchvision itself; no room
            tried["the download"] = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
            return None
        files.keep(folder / f"{name}.npz", arrays)
        return "the download", arrays


def _download(name):
    """Fetch through torchvision into a temporary folder and return the arrays."""
    try:
        from torchvision import datasets
    except Exception as problem:  # no _lzma, no DLL, an operator that does not exist
        raise ImportError(f"torchvision cannot be imported ({problem})") from problem

    previous_timeout = socket.getdefaulttimeout()
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
        socket.setdefaulttimeout(previous_timeout)
    images = [np.ascontiguousarray(part, dtype=np.uint8) for part in images]
    labels = [np.asarray(part, dtype=np.uint8) for part in labels]
    return dict(zip(files.ARRAYS, (images[0], labels[0], images[1], labels[1])))
