"""Datasets: search order, checks, downloads over a local server, damage, locks, stand-ins."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from aecourse import data


def arrays(n=200, size=28, seed=0):
    """A dataset small enough for a test: n training images, n/2 test images, ten classes."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n + n // 2, size, size), dtype=np.uint8)
    labels = np.tile(np.arange(10, dtype=np.uint8), (n + n // 2) // 10 + 1)[: n + n // 2]
    return dict(zip(data.ARRAYS, (images[:n], labels[:n], images[n:], labels[n:])))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, no AECOURSE_DATA, and no way to the network."""
    monkeypatch.delenv("AECOURSE_DATA", raising=False)
    monkeypatch.setattr(data, "data_folder", lambda: tmp_path / "data")
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def server(folder, tmp_path, monkeypatch):
    """Serves a tiny MNIST in the original format to torchvision. Yields the arrays and the list of requests."""
    content, requests = arrays(), []
    (tmp_path / "web").mkdir()
    resources = []
    for key, stem in zip(
        data.ARRAYS, ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    ):
        array = content[key]
        header = struct.pack(f">{1 + array.ndim}i", 2048 + array.ndim, *array.shape)
        packed = gzip.compress(header + array.tobytes())
        (tmp_path / "web" / f"{stem}-ubyte.gz").write_bytes(packed)
        resources.append((f"{stem}-ubyte.gz", hashlib.md5(packed).hexdigest()))
        if "images" in key:
            requests.append(hashlib.md5(header + array.tobytes()).hexdigest())
    monkeypatch.setitem(data.IDX_MD5, "mnist", tuple(requests))
    requests.clear()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            requests.append(self.path)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "web"))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{httpd.server_port}/"])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    yield content, requests
    httpd.shutdown()
    httpd.server_close()


def write(folder, name="mnist", **changes):
    np.savez_compressed(folder / f"{name}.npz", **(arrays() | changes))


def test_reads_a_cached_file(folder):
    write(folder)
    loaded = data.load("mnist")
    assert loaded.train.shape == (180, 1, 28, 28) and loaded.train.dtype == torch.uint8
    assert loaded.val.shape == (20, 1, 28, 28) and loaded.test.shape == (100, 1, 28, 28)
    assert loaded.train_labels.dtype == torch.int64
    assert "180 training, 20 validation, 100 test images of 1×28×28, 10 classes, from mnist.npz" in repr(loaded)


def test_environment_comes_before_the_data_folder(folder, tmp_path, monkeypatch):
    write(folder)
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", **arrays(n=400))
    monkeypatch.setenv("AECOURSE_DATA", str(tmp_path / "mine"))
    assert len(data.load("mnist").train) == 360
    (tmp_path / "mine" / "mnist.npz").unlink()
    assert len(data.load("mnist").train) == 180


def test_environment_that_is_no_folder_is_an_error(folder, monkeypatch):
    monkeypatch.setenv("AECOURSE_DATA", "no/such/folder")
    with pytest.raises(ValueError, match="AECOURSE_DATA is 'no/such/folder', which is not a folder"):
        data.load("mnist")


@pytest.mark.parametrize("name, near", [("MNIST", "mnist"), ("fashion-mnist", "fashion_mnist"), ("cifar", "cifar10")])
def test_unknown_name_gets_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"there is no dataset '{name}'. Did you mean '{near}'?"):
        data.load(name)


def test_split_is_a_partition_and_repeatable(folder):
    content = arrays()
    write(folder)
    loaded, again = data.load("mnist"), data.load("mnist")
    assert torch.equal(loaded.train, again.train) and torch.equal(loaded.val_labels, again.val_labels)
    pairs = {(x.numpy().tobytes(), int(y)) for x, y in zip(loaded.train, loaded.train_labels)}
    held_out = {(x.numpy().tobytes(), int(y)) for x, y in zip(loaded.val, loaded.val_labels)}
    assert not pairs & held_out
    original = {(x.tobytes(), int(y)) for x, y in zip(content["train_images"], content["train_labels"])}
    assert pairs | held_out == original
    np.testing.assert_array_equal(loaded.test[:, 0].numpy(), content["test_images"])


def test_colour_images_keep_their_channels(folder):
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (200, 100))
    write(folder, "cifar10", train_images=train, test_images=test)
    loaded = data.load("cifar10")
    assert loaded.test.shape == (100, 3, 32, 32)
    np.testing.assert_array_equal(loaded.test[5, 2].numpy(), test[5, :, :, 2])


def test_one_per_class_is_the_first_of_each(folder):
    write(folder)
    loaded = data.load("mnist")
    ten = loaded.one_per_class()
    assert ten.shape == (10, 1, 28, 28) and ten.dtype == torch.float32 and ten.min() >= 0 and ten.max() <= 1
    for label, image in enumerate(ten):
        first = loaded.test_labels.tolist().index(label)
        assert torch.equal(image, loaded.test[first].float() / 255)


def test_to_float():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert torch.allclose(data.to_float(pixels), torch.tensor([0.0, 0.2, 1.0]))
    for other in (torch.rand(3), torch.arange(10)):
        assert data.to_float(other) is other, "floats, and the labels that come with images"


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"train_images": np.zeros((200, 28, 28))}, "train_images is float64, not uint8"),
        ({"train_images": np.zeros((200, 784), np.uint8)}, r"train_images has the shape \(200, 784\)"),
        ({"test_images": np.zeros((100, 28, 28, 2), np.uint8)}, "test_images has the shape"),
        ({"test_labels": np.zeros(7, np.uint8)}, r"test_labels has the shape \(7,\) for 100 images"),
        ({"test_labels": np.full(100, 11, np.uint8)}, "not 0 to 9"),
        ({"test_images": np.zeros((100, 32, 32), np.uint8)}, "differ in size"),
        ({"train_images": np.array([None] * 200)}, "pickle"),
    ],
)
def test_a_file_with_wrong_arrays_is_an_error_and_stays(folder, changes, problem):
    write(folder, **changes)
    with pytest.raises(ValueError, match=problem) as error:
        data.load("mnist")
    assert "mnist.npz" in str(error.value) and "left as it is" in str(error.value)
    assert (folder / "mnist.npz").is_file()


def test_a_missing_array_is_named(folder):
    np.savez(folder / "mnist.npz", train_images=arrays()["train_images"])
    with pytest.raises(ValueError, match="it has no array train_labels"):
        data.load("mnist")


def test_download_is_kept_and_not_repeated(server, folder):
    content, requests = server
    loaded = data.load("mnist")
    np.testing.assert_array_equal(loaded.test[:, 0].numpy(), content["test_images"])
    assert len(requests) >= 4
    requests.clear()
    again = data.load("mnist")
    assert not requests and torch.equal(again.train, loaded.train)
    assert [path.name for path in folder.iterdir() if path.suffix == ".npz"] == ["mnist.npz"]


def test_download_with_another_checksum_is_refused(server, folder, monkeypatch, capsys):
    monkeypatch.setitem(data.IDX_MD5, "mnist", ("0" * 32, "0" * 32))
    loaded = data.load("mnist")
    assert loaded.name == "digits"
    assert "not the published ones" in capsys.readouterr().out
    assert not (folder / "mnist.npz").exists()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:3000] + b"\0" * 99 + b[3099:]]
)
def test_damaged_file_is_set_aside_and_fetched_again(server, folder, capsys, damage):
    write(folder)
    path = folder / "mnist.npz"
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    loaded = data.load("mnist")
    assert loaded.name == "mnist" and loaded.origin == "the download"
    assert "mnist.npz in the data folder is damaged" in capsys.readouterr().out
    assert (folder / "mnist.npz.damaged-1").read_bytes() == damaged
    assert data.load("mnist").origin.startswith("mnist.npz")


def test_damaged_file_in_a_prepared_folder_is_passed_over(folder, tmp_path, monkeypatch, capsys):
    write(folder)
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "mnist.npz").write_bytes(b"cut short")
    monkeypatch.setenv("AECOURSE_DATA", str(tmp_path / "prepared"))
    assert data.load("mnist").origin == "mnist.npz in the data folder"
    assert "mnist.npz in AECOURSE_DATA is damaged" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["mnist.npz"], "that folder is only read"


def test_no_room_or_no_permission_loses_nothing(server, folder, monkeypatch, capsys):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    loaded = data.load("mnist")
    assert loaded.name == "mnist" and len(loaded.train) == 180
    assert "No copy could be kept" in capsys.readouterr().out
    assert not [path for path in folder.iterdir() if "npz" in path.name]


def test_data_folder_that_cannot_be_made(server, folder, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(data, "data_folder", lambda: tmp_path / "file" / "data")
    assert data.load("mnist").name == "mnist"
    assert "No copy could be kept" in capsys.readouterr().out


def test_two_notebooks_at_once_download_once(server, folder, capsys):
    results = []
    threads = [threading.Thread(target=lambda: results.append(data.load("mnist"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and torch.equal(results[0].train, results[1].train)
    assert capsys.readouterr().out.count("Downloading mnist") == 1


@pytest.mark.parametrize(
    "name, stand_in", [("mnist", "digits"), ("fashion_mnist", "digits"), ("svhn", "patches"), ("cifar10", "patches")]
)
def test_without_network_a_stand_in_says_so(folder, capsys, name, stand_in):
    loaded = data.load(name)
    printed = capsys.readouterr().out
    assert loaded.name == stand_in and f"standing in for {name}" in loaded.origin
    assert f"*** NOT {name.upper()}" in printed and "refused" in printed.lower()
    small = data.load(stand_in)
    assert len(loaded.train) == data.STAND_IN_PASSES * len(small.train) and torch.equal(
        loaded.train[: len(small.train)], small.train
    )
    assert torch.equal(loaded.test, small.test)


def test_small_sets():
    digits, patches = data.load("digits"), data.load("patches")
    assert digits.train.shape == (1350, 1, 28, 28) and digits.test.shape == (297, 1, 28, 28)
    assert digits.train.max() == 255 and digits.train[:, :, :4].max() == 0
    assert patches.test.shape == (104, 3, 32, 32) and len(patches.train) + len(patches.val) == 416
    assert patches.one_per_class().shape == (2, 3, 32, 32)


def test_interrupted_download_leaves_nothing_behind(server, folder, monkeypatch):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets, "MNIST", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist")
    assert not [path for path in folder.iterdir() if "npz" in path.name]
    monkeypatch.undo()


def test_svhn_and_cifar_come_through_torchvision(folder, monkeypatch):
    """The real classes need the real archives; stubs of them show that their layouts are understood."""
    random = np.random.default_rng(0)

    class Cifar:
        def __init__(self, root, train, download):
            n = 200 if train else 100
            self.data = random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
            self.targets = [i % 10 for i in range(n)]

    class Svhn:
        def __init__(self, root, split, download):
            n = 200 if split == "train" else 100
            self.data = random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
            self.labels = np.arange(n) % 10
            parts[split] = self.data

    parts = {}
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Cifar)
    monkeypatch.setattr(torchvision.datasets, "SVHN", Svhn)
    assert data.load("cifar10").train.shape == (180, 3, 32, 32)
    loaded = data.load("svhn")
    np.testing.assert_array_equal(loaded.test.numpy(), parts["test"])
    assert (folder / "svhn.npz").is_file() and (folder / "cifar10.npz").is_file()


@pytest.mark.skipif("AECOURSE_DATA" not in os.environ, reason="needs the real files")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_files_have_the_published_checksums(name):
    path = Path(os.environ["AECOURSE_DATA"]) / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} there")
    with np.load(path) as file:
        for key, expected in zip(("train_images", "test_images"), data.IDX_MD5[name]):
            header = struct.pack(">4i", 2051, *file[key].shape)
            assert hashlib.md5(header + file[key].tobytes()).hexdigest() == expected


def test_importing_the_package_is_light():
    """Whatever is heavy is imported where it is used: not with the package, and not with its ground floor."""
    code = (
        "import sys; from aecourse import data, exercises, losses, metrics, models, training;"
        "heavy = {'sklearn', 'torchvision', 'matplotlib', 'seaborn', 'torchmetrics', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(data.__file__).parents[1])
