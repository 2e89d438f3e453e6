"""fit against the loop that tutorials teach, and against a bare loop on the same tensors.

    python3 course.py bench [rounds]

All in one process, in turn, so that a machine that slows down slows all of them down. The tutorial
loop is torchvision's MNIST with ToTensor behind a DataLoader, Adam at 1e-3, `.item()` each step.
Train nothing else at the same time: two busy programs on two cores falsify everything.
"""

import struct
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from aecourse.data import load, to_float
from aecourse.models import DenseAutoencoder
from aecourse.training import evaluate, fit

TUTORIAL_EPOCHS, FIT_EPOCHS, BARE_EPOCHS = 20, 10, 3


def torchvision_mnist(data, folder):
    """The training images as torchvision's own dataset: the raw files where its class looks for them."""
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = data.train[:, 0].numpy(), data.train_labels.byte().numpy()
    for stem in ("train", "t10k"):
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *images.shape) + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(labels)) + labels.tobytes())
    return datasets.MNIST(folder, train=True, transform=transforms.ToTensor())


def tutorial_loop(model, dataset, val):
    """Returns the seconds of each epoch and the final validation error per pixel."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = torch.nn.MSELoss()
    loader = DataLoader(dataset, batch_size=128, shuffle=True)
    seconds = []
    for _ in range(TUTORIAL_EPOCHS):
        started, running = time.perf_counter(), 0.0
        for x, _ in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), x)
            loss.backward()
            optimizer.step()
            running += loss.item()
        error = evaluate(model, val)["loss"] / 784
        seconds.append(time.perf_counter() - started)
    return seconds, error


def bare_loop(model, images, epochs):
    """The same optimiser, schedule and batches as fit, and nothing else. Returns the seconds per epoch."""
    steps = len(images) // 128
    optimizer = AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.99), fused=True)
    schedule = OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * steps, cycle_momentum=False)
    started = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for step in range(steps):
            loss = model.loss(to_float(images[order[step * 128 : (step + 1) * 128]]))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return (time.perf_counter() - started) / epochs


def main(rounds=3):
    """Print a line per round and, at the end, each ratio as minimum, median and maximum."""
    data = load("mnist")
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {data}")
    ratios = {"time to the tutorial's error": [], "time per epoch": [], "fit / bare loop": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = torchvision_mnist(data, folder)
        for number in range(1, rounds + 1):
            torch.manual_seed(number)
            seconds, error = tutorial_loop(DenseAutoencoder(), dataset, data.val)
            history = fit(
                DenseAutoencoder(), data.train, data.val, epochs=FIT_EPOCHS, seed=number, device="cpu", progress=False
            )
            reached = [s for s, loss in zip(history["seconds"], history["val_loss"]) if loss / 784 <= error]
            bare = [bare_loop(DenseAutoencoder(), data.train, BARE_EPOCHS) for _ in range(3)]
            ours = [
                fit(DenseAutoencoder(), data.train, epochs=BARE_EPOCHS, device="cpu")["seconds"][-1] / BARE_EPOCHS
                for _ in range(3)
            ]
            per_epoch = history["seconds"][-1] / FIT_EPOCHS
            ratios["time to the tutorial's error"].append(sum(seconds) / reached[0] if reached else float("nan"))
            ratios["time per epoch"].append(median(seconds) / per_epoch)
            ratios["fit / bare loop"].append(min(ours) / min(bare))
            print(
                f"round {number}: tutorial {sum(seconds):.1f} s, {median(seconds):.2f} s an epoch, error {error:.5f}; "
                f"fit {per_epoch:.2f} s an epoch, error {history['val_loss'][-1] / 784:.5f}, "
                f"the tutorial's error after {reached[0] if reached else float('nan'):.1f} s; "
                f"without validation fit {min(ours):.3f} s, bare loop {min(bare):.3f} s an epoch",
                flush=True,
            )
    print(f"\n{'ratio':30} {'min':>7} {'median':>7} {'max':>7}")
    for name, values in ratios.items():
        print(f"{name:30} {min(values):7.2f} {median(values):7.2f} {max(values):7.2f}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
