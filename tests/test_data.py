"""Datasets: search order, checks, downloads over a local server, damage, locks, stand-ins."""

import gc
import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from aecourse import data
from aecourse.data import files
from aecourse.data.small import STAND_IN_PASSES


def arrays(n=200, size=28, seed=0):
    """A dataset small enough for a test: n training images, n/2 test images, ten classes."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (n + n // 2, size, size), dtype=np.uint8)
    labels = np.tile(np.arange(10, dtype=np.uint8), (n + n // 2) // 10 + 1)[: n + n // 2]
    return dict(zip(files.ARRAYS, (images[:n], labels[:n], images[n:], labels[n:])))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, no AECOURSE_DATA, and no way to the network."""
    monkeypatch.delenv("AECOURSE_DATA", raising=False)
    monkeypatch.setattr(files, "data_folder", lambda: tmp_path / "data")
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
        files.ARRAYS, ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    ):
        array = content[key]
        header = struct.pack(f">{1 + array.ndim}i", 2048 + array.ndim, *array.shape)
        packed = gzip.compress(header + array.tobytes())
        (tmp_path / "web" / f"{stem}-ubyte.gz").write_bytes(packed)
        resources.append((f"{stem}-ubyte.gz", hashlib.md5(packed).hexdigest()))

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


@pytest.fixture
def classes(folder, tmp_path, monkeypatch):
    """A class folder, "our class", beside the data folder, named in AECOURSE_DATA."""
    path = tmp_path / "our class"
    path.mkdir()
    monkeypatch.setenv("AECOURSE_DATA", str(path))
    return path


@pytest.mark.parametrize("start", [".", "notebooks"])
@pytest.mark.parametrize(
    "given",
    ["our class", "./our class/", "data/../our class", "~/our class", "$ROOM/our class", " our class ", "'our class'"],
)
def test_relative_and_home_paths_work_from_the_course_and_from_its_notebooks(
    classes, tmp_path, monkeypatch, given, start
):
    write(classes)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / start)
    for variable in ("HOME", "USERPROFILE", "ROOM"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("AECOURSE_DATA", given)
    assert data.load("mnist").origin == "mnist.npz in AECOURSE_DATA"


def test_a_relative_path_is_looked_for_in_the_working_folder_first(classes, tmp_path, monkeypatch):
    write(classes)
    nearer = tmp_path / "elsewhere" / "our class"
    nearer.mkdir(parents=True)
    write(nearer, **arrays(n=400))
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("AECOURSE_DATA", "our class")
    assert len(data.load("mnist").train) == 360


@pytest.mark.parametrize(
    "given, problem",
    [
        ("no/such/folder", "not there"),
        ("~/typo", "not there"),
        ("$UNDEFINED_HERE/data", "UNDEFINED_HERE"),
        ("{tmp}/data/mnist.npz", "(a file)"),
        ("{tmp}/data:{tmp}", "not there"),
    ],
)
def test_environment_that_is_no_folder_is_an_error(folder, tmp_path, monkeypatch, given, problem):
    write(folder)
    given = given.format(tmp=tmp_path)
    monkeypatch.setenv("AECOURSE_DATA", given)
    with pytest.raises(ValueError, match="AECOURSE_DATA is .* not a folder") as error:
        data.load("mnist")
    assert repr(given) in str(error.value) and problem in str(error.value)


@pytest.mark.parametrize("given", ["", "  ", '""'])
def test_a_blank_environment_counts_as_none_and_is_told(folder, monkeypatch, capsys, given):
    monkeypatch.setenv("AECOURSE_DATA", given)
    data.load("mnist")
    assert "AECOURSE_DATA: set, but blank" in capsys.readouterr().out
    write(folder)
    assert data.load("mnist").name == "mnist"


@pytest.mark.parametrize(
    "name, file",
    [
        ("mnist", "MNIST.npz"),
        ("mnist", "Mnist.NPZ"),
        ("fashion_mnist", "FashionMNIST.npz"),
        ("fashion_mnist", "fashion-mnist.npz"),
    ],
)
def test_the_spelling_of_a_file_does_not_matter(classes, name, file):
    write(classes, "another")
    write(classes, Path(file).stem)
    (classes / Path(file).with_suffix(".npz")).rename(classes / file)
    write(classes, "fashion_mnist-old" if name == "mnist" else "mnist", train_labels=np.zeros(3))
    assert data.load(name).origin == f"{file} in AECOURSE_DATA"


def test_the_exact_name_comes_first(classes):
    write(classes, "mnist", **arrays(n=400))
    if not (classes / "MNIST.npz").exists():  # a file system that tells the two apart
        write(classes, "MNIST")
    assert len(data.load("mnist").train) == 360


def test_the_file_that_keras_makes_is_read(classes):
    content = arrays()
    np.savez(classes / "mnist.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), content.values())))
    np.testing.assert_array_equal(data.load("mnist").test[:, 0].numpy(), content["test_images"])


@pytest.mark.parametrize(
    "content, told",
    [
        ([], "holds nothing"),
        ([".DS_Store"], "holds nothing"),
        (["fashion_mnist.npz"], "fashion_mnist.npz"),
        (["mnist/raw/train-images-idx3-ubyte.gz"], "mnist/"),
        (["MNIST/raw/train-images-idx3-ubyte"], "MNIST/"),
        (["train-images.idx3-ubyte"], "train-images.idx3-ubyte"),
        (["mnist (1).npz", "mnist.zip"], "mnist (1).npz, mnist.zip"),
        (["mnist.npz/train_images.npy"], "mnist.npz/"),
        ([f"{n}.txt" for n in range(50)] + ["zip of MNIST.zip"], "zip of MNIST.zip, 0.txt"),
        ([f"{n}.txt" for n in range(50)], "and 44 more"),
    ],
)
def test_what_a_class_folder_holds_instead_is_told(classes, capsys, content, told):
    for path in content:
        (classes / path).parent.mkdir(parents=True, exist_ok=True)
        (classes / path).write_text("")
    assert data.load("mnist").name == "digits"
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("***   AECOURSE_DATA"))
    assert f"no mnist.npz in {classes}" in line and told in line


def test_a_link_that_leads_nowhere_is_told(classes, tmp_path, capsys):
    try:
        (classes / "mnist.npz").symlink_to(tmp_path / "gone.npz")
    except OSError:
        pytest.skip("this system lets nobody make links")
    data.load("mnist")
    assert "mnist.npz (a broken link)" in capsys.readouterr().out


def test_a_download_in_place_of_the_class_folder_is_told(server, classes, folder, capsys):
    (classes / "mnist.tar").write_text("")
    assert data.load("mnist").origin == "the download" and (folder / "mnist.npz").is_file()
    assert "which holds mnist.tar" in capsys.readouterr().out


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


def test_to_float_takes_pixels_only():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert torch.allclose(data.to_float(pixels), torch.tensor([0.0, 0.2, 1.0]))
    floats = torch.rand(3)
    assert data.to_float(floats) is floats
    for other in (torch.arange(10), pixels.numpy(), floats * 255, torch.tensor([torch.nan]), "mnist"):
        with pytest.raises(ValueError, match="the answer should be a tensor of pixels"):
            data.to_float(other, "the answer")


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"train_images": np.zeros((200, 28, 28))}, "train_images is float64, not uint8"),
        ({"train_images": np.zeros((200, 784), np.uint8)}, r"train_images has the shape \(200, 784\)"),
        ({"train_images": np.zeros((200, 28, 28, 3), np.uint8)}, r"shape \(200, 28, 28, 3\), not \(n, 28, 28\)"),
        ({"test_images": np.zeros((100, 1, 28, 28), np.uint8)}, "test_images has the shape"),
        ({"test_images": np.uint8(0)}, "test_images has the shape"),
        ({"test_labels": np.zeros(7, np.uint8)}, r"test_labels has the shape \(7,\), not \(100,\)"),
        ({"test_labels": np.zeros((100, 1), np.uint8)}, "test_labels has the shape"),
        ({"test_labels": np.full(100, 11, np.uint8)}, "not 0 to 9"),
        ({"test_images": np.zeros((100, 32, 32), np.uint8)}, r"not \(n, 28, 28\)"),
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
    with pytest.raises(ValueError, match="it has no array train_labels; it holds train_images"):
        data.load("mnist")


@pytest.mark.parametrize("name, size", [("mnist", 32), ("fashion_mnist", 64), ("cifar10", 28), ("svhn", 32)])
def test_images_of_another_size_are_refused_by_name(classes, name, size):
    write(classes, name, **arrays(size=size))  # grey
    with pytest.raises(ValueError, match=rf"{name}\.npz does not hold {name}: .*\(200, {size}, {size}\), not"):
        data.load(name)


def test_download_is_kept_and_not_repeated(server, folder):
    content, requests = server
    loaded = data.load("mnist")
    np.testing.assert_array_equal(loaded.test[:, 0].numpy(), content["test_images"])
    assert len(requests) >= 4
    requests.clear()
    again = data.load("mnist")
    assert not requests and torch.equal(again.train, loaded.train)
    assert [path.name for path in folder.iterdir() if path.suffix == ".npz"] == ["mnist.npz"]


def test_download_with_another_checksum_is_refused(server, folder, tmp_path, capsys):
    archive = tmp_path / "web" / "t10k-images-idx3-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    assert data.load("mnist").name == "digits"
    assert "corrupted" in capsys.readouterr().out
    assert not [path for path in folder.iterdir() if "npz" in path.name]


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:3000] + b"\0" * 99 + b[3099:]]
)
def test_damaged_file_is_set_aside_and_fetched_again(server, folder, capsys, damage):
    write(folder)
    path = folder / "mnist.npz"
    path.write_bytes(damage(path.read_bytes()))
    damaged = path.read_bytes()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        loaded = data.load("mnist")
        gc.collect()
    assert not [w for w in raised if w.category is ResourceWarning], "Windows cannot rename a file that is open"
    assert loaded.name == "mnist" and loaded.origin == "the download"
    assert "mnist.npz in the data folder is damaged" in capsys.readouterr().out
    assert (folder / "mnist.npz.damaged-1").read_bytes() == damaged
    assert data.load("mnist").origin.startswith("mnist.npz")


@pytest.mark.parametrize("old, new", [(b"'descr'", b"'dEscr'"), (b"|u1", b"|u'"), (b"train_images", b"trail_images")])
def test_a_flipped_bit_anywhere_is_damage(folder, capsys, old, new):
    np.savez(folder / "mnist.npz", **arrays())  # not compressed: its headers can be seen
    content = (folder / "mnist.npz").read_bytes()
    (folder / "mnist.npz").write_bytes(content.replace(old, new, 1))
    assert data.load("mnist").name == "digits"
    assert "mnist.npz in the data folder is damaged" in capsys.readouterr().out
    assert (folder / "mnist.npz.damaged-1").is_file()


def test_damaged_file_in_a_class_folder_is_passed_over(folder, classes, capsys):
    write(folder)
    (classes / "mnist.npz").write_bytes(b"cut short")
    assert data.load("mnist").origin == "mnist.npz in the data folder"
    printed = capsys.readouterr().out
    assert f"AECOURSE_DATA: {classes / 'mnist.npz'} is damaged" in printed
    assert [path.name for path in classes.iterdir()] == ["mnist.npz"], "that folder is only read"


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
    monkeypatch.setattr(files, "data_folder", lambda: tmp_path / "file" / "data")
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
    assert f"*** NOT {name.upper()}" in printed and "AECOURSE_DATA: not set" in printed
    assert f"no {name}.npz in {folder}" in printed and "the download: " in printed and "refused" in printed.lower()
    printed.encode("cp1252")  # the console of many a Windows
    small = data.load(stand_in)
    assert len(loaded.train) == STAND_IN_PASSES * len(small.train) and torch.equal(
        loaded.train[: len(small.train)], small.train
    )
    assert torch.equal(loaded.test, small.test)


def test_small_sets():
    digits, patches = data.load("digits"), data.load("patches")
    assert digits.train.shape == (1350, 1, 28, 28) and digits.test.shape == (297, 1, 28, 28)
    assert digits.train.max() == 255 and digits.train[:, :, :4].max() == 0
    assert patches.test.shape == (104, 3, 32, 32) and len(patches.train) + len(patches.val) == 416
    assert patches.one_per_class().shape == (2, 3, 32, 32)


@pytest.mark.parametrize("where", [(torchvision.datasets.mnist, "read_label_file"), (np, "savez_compressed")])
def test_interrupted_download_leaves_nothing_behind(server, folder, monkeypatch, where):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            data.load("mnist")
    assert not [path for path in folder.iterdir() if "mnist" in path.name and path.suffix != ".lock"]
    assert data.load("mnist").origin == "the download", "it can be tried again"


BROKEN = {
    "missing": "raise ModuleNotFoundError(\"No module named 'torchvision'\")",
    "lzma": "import _lzma_that_is_not_there",
    "dll": "raise OSError('[WinError 126] The specified module could not be found')",
    "operator": "raise RuntimeError('operator torchvision::nms does not exist')",
    "half": "raise AttributeError(\"partially initialized module 'torchvision' has no attribute 'extension'\")",
    "binary": "raise ValueError('numpy.dtype size changed')",
}


@pytest.fixture
def broken(request, folder, tmp_path, monkeypatch):
    """A torchvision that cannot be imported, for the reason that the test names."""
    for module in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "site" / "torchvision").mkdir(parents=True)
    (tmp_path / "site" / "torchvision" / "__init__.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN, indirect=True)
def test_a_torchvision_that_cannot_be_imported_is_told_where_it_is_needed(broken, folder, capsys):
    assert data.load("mnist").name == "digits"
    assert "torchvision cannot be imported (" in capsys.readouterr().out
    write(folder)
    assert data.load("mnist").name == "mnist", "data at hand needs no torchvision"


@pytest.mark.parametrize("broken", ["raise KeyboardInterrupt"], indirect=True)
def test_an_interrupt_while_torchvision_is_imported_is_one(broken):
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist")


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


# MD5 of the raw IDX image files, header included, of the training and the test images.
PUBLISHED = {
    "mnist": ("6bbc9ace898e44ae57da46a324031adb", "2646ac647ad5339dbf082846283269ea"),
    "fashion_mnist": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "8181f5470baa50b63fa0f6fddb340f0a"),
}


@pytest.mark.skipif("AECOURSE_DATA" not in os.environ, reason="needs the real files")
@pytest.mark.parametrize("name", PUBLISHED)
def test_real_files_have_the_published_checksums(name):
    path = Path(os.environ["AECOURSE_DATA"]) / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} there")
    with np.load(path) as file:
        for key, expected in zip(("train_images", "test_images"), PUBLISHED[name]):
            header = struct.pack(">4i", 2051, *file[key].shape)
            assert hashlib.md5(header + file[key].tobytes()).hexdigest() == expected


def test_importing_the_package_is_light():
    """Whatever is heavy is imported where it is used: not with the package, and not with its ground floor."""
    code = (
        "import sys; from aecourse import data, exercises, losses, metrics, models, training;"
        "heavy = {'sklearn', 'torchvision', 'matplotlib', 'seaborn', 'torchmetrics', 'pandas'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(data.__file__).parents[2])
