"""Training any model of the course: fit(model, images, val, epochs=10)."""

import math
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from aecourse.data import to_float


def default_device():
    """The GPU if PyTorch sees one, else the CPU. Apple's GPU ("mps") serves on request only."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    model,
    images,
    val=None,
    *,
    epochs=10,
    lr=5e-3,
    batch_size=128,
    patience=None,
    seed=0,
    device=None,
    checkpoint=None,
    progress=True,
):
    """Train a model with AdamW and the one-cycle schedule.

    model: a module whose loss(x) returns a dictionary of scalars, "loss" among them.
    images, val: (n, channels, height, width), uint8 or in [0, 1], or codes (n, height, width), int64; they
        are moved to the device whole. Each epoch draws full batches in a new order; a last, smaller batch
        is left out.
        A tuple (images, labels), labels int64, goes to a model whose loss takes both, loss(x, y).
    lr: the peak of the schedule.
    patience: stop after this many epochs without a better validation loss, and restore the weights
        of the best one.
    seed: fixes order and sampling. The random state outside is left as it was.
    device: "cpu", "cuda", "mps"; by default what default_device() says. The model stays there.
    checkpoint: a file to which the state is written after every epoch. If it exists, training goes
        on from it, and on a CPU ends with the very weights that an uninterrupted run ends with.
    progress: whether to show a progress bar.

    Returns the history, a dictionary of lists with one entry per epoch: "epoch", "seconds" since the
    start, every term of the loss (batch means of the training epoch) and of the validation loss
    (as "val_loss" and so on). pandas.DataFrame(history) is a table of it.
    Ctrl-C, or interrupting the kernel, ends training early and returns normally. The model is left
    in evaluation mode.
    Raises ValueError for images that are not, for a loss that is no dictionary of scalars, for patience
    without val, and for a checkpoint of another run;
    FloatingPointError, before the weights are touched, when a loss is not finite.

    Source of the schedule: Smith and Topin, "Super-convergence", 2018.
    """
    _require_images("images", images)
    if val is not None:
        _require_images("val", val)
        if isinstance(val, tuple) != isinstance(images, tuple):
            raise ValueError("images come with labels and val without, or the other way round: give both alike.")
    elif patience is not None:
        raise ValueError("patience counts epochs without a better validation loss: give val as well.")
    if batch_size < 1 or epochs < 0 or (patience is not None and patience < 1):
        raise ValueError("batch_size and patience start at 1, epochs at 0.")
    if checkpoint is not None:
        checkpoint = Path(checkpoint).expanduser()
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    lr = float(lr)  # a NumPy number could be saved in a checkpoint but not read back
    device = torch.device(device or default_device())
    model.to(device)
    tensors = [tensor.to(device) for tensor in _tensors(images)]
    batch_size = min(batch_size, len(tensors[0]))
    steps = len(tensors[0]) // batch_size
    # Runs here are short: squared gradients are averaged over about 100 steps (0.99), not the usual 1,000.
    optimizer = AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), fused=device.type in ("cpu", "cuda"))
    schedule = OneCycleLR(optimizer, max_lr=lr, total_steps=max(epochs * steps, 1), cycle_momentum=False)
    history, best = {"epoch": [], "seconds": []}, None
    run = {
        "epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
        "images": len(tensors[0]),
    }

    with _own_randomness(device, seed):
        if checkpoint is not None and checkpoint.exists():
            history, best = _resume(checkpoint, run, model, optimizer, schedule, device)
            print(f"Going on from {checkpoint.name}: {len(history['epoch'])} of {epochs} epochs are done.")
        started = time.perf_counter() - (history["seconds"] or [0])[-1]
        first = len(history["epoch"])
        bar = tqdm(
            total=epochs * steps, initial=first * steps, disable=not progress, file=sys.stdout, mininterval=1,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}{postfix}",
        )  # fmt: skip
        try:
            for epoch in range(first + 1, epochs + 1):
                if patience is not None and _epochs_since_best(history) >= patience:
                    break
                bar.set_description_str(f"epoch {epoch}/{epochs}")
                terms = _train_one_epoch(model, tensors, batch_size, optimizer, schedule, bar, epoch)
                if val is not None:
                    terms |= {f"val_{name}": value for name, value in evaluate(model, val).items()}
                terms |= {"epoch": epoch, "seconds": time.perf_counter() - started}
                for name, value in terms.items():
                    history.setdefault(name, []).append(value)
                if patience is not None and _epochs_since_best(history) == 0:
                    best = {name: value.clone() for name, value in model.state_dict().items()}
                bar.set_postfix_str(_in_words(history, model))
                if checkpoint is not None:
                    _save(checkpoint, run, model, optimizer, schedule, device, history, best)
        except KeyboardInterrupt:
            done = len(history["epoch"])
            kept = "has its best weights so far" if best is not None else "keeps what it has learned so far"
            saved = " The same call goes on from the checkpoint." if checkpoint and checkpoint.exists() else ""
            bar.write(
                f"Interrupted in epoch {done + 1} of {epochs}. The model {kept}; "
                f"the history holds {done} whole epochs.{saved} "
                f"Cells that are queued go on; interrupt again to stop them.",
                file=sys.stdout,
            )
        finally:
            bar.close()
            model.eval()
    if best is not None:
        model.load_state_dict(best)
    return history


@contextmanager
def _own_randomness(device, seed):
    """Random numbers from a seed of their own; the state outside is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _evaluation_mode(model):
    """No gradients and evaluation mode; afterwards every part of the model is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _tensors(images):
    """Images, or a tuple of images and labels, as a tuple."""
    return images if isinstance(images, tuple) else (images,)


def _require_images(name, images):
    images, *labels = _tensors(images)
    are_codes = torch.is_tensor(images) and images.dtype == torch.int64
    if not torch.is_tensor(images) or images.ndim != (3 if are_codes else 4) or not len(images):
        given = tuple(images.shape) if hasattr(images, "shape") else type(images).__name__
        raise ValueError(
            f"{name} should be a tensor (n, channels, height, width) with n > 0, such as data.train, or codes "
            f"(n, height, width) of int64; got {given}."
        )
    if images.is_floating_point() and (images.min() < 0 or images.max() > 1):
        raise ValueError(
            f"the pixels of {name} run from {images.min():.4g} to {images.max():.4g}: give uint8, or floats in [0, 1]."
        )
    for tensor in labels:
        if not torch.is_tensor(tensor) or tensor.shape[:1] != images.shape[:1]:
            given = (
                f"labels of shape {tuple(tensor.shape)}" if torch.is_tensor(tensor) else f"a {type(tensor).__name__}"
            )
            raise ValueError(
                f"{name} should be images, or a tuple (images, labels) of tensors of the same length; there are "
                f"{len(images)} images and {given}."
            )


def _require_terms(terms):
    if not isinstance(terms, dict) or "loss" not in terms:
        raise ValueError(f'model.loss should return a dictionary with an entry "loss"; got a {type(terms).__name__}.')
    for name, value in terms.items():
        if not torch.is_tensor(value) or value.ndim:
            raise ValueError(f"model.loss should return scalar tensors; its entry {name!r} is {value!r:.60}.")


def _train_one_epoch(model, tensors, batch_size, optimizer, schedule, bar, epoch):
    """One pass in random order. Returns the mean of every term of the loss."""
    model.train()
    sums = {}
    steps = len(tensors[0]) // batch_size
    order = torch.randperm(len(tensors[0])).to(tensors[0].device)
    for step in range(steps):
        batch = order[step * batch_size : (step + 1) * batch_size]
        terms = model.loss(*(to_float(tensor[batch]) for tensor in tensors))
        _require_terms(terms)
        # Reading the loss makes a GPU wait, once a step. It is what keeps the weights finite.
        if not math.isfinite(terms["loss"].item()):
            values = ", ".join(f"{name} = {value.item():.4g}" for name, value in terms.items())
            raise FloatingPointError(
                f"The loss is not finite at step {step + 1} of epoch {epoch}: {values}. The weights are those of the "
                f"step before. Try a lower lr; if that changes nothing, look for a log or a division of zero."
            )
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        schedule.step()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach()
        bar.update()
    return {name: (value / steps).item() for name, value in sums.items()}


def _epochs_since_best(history):
    losses = [loss if math.isfinite(loss) else math.inf for loss in history.get("val_loss", [])]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def _in_words(history, model):
    words = f"loss {history['loss'][-1]:.4g}"
    if "val_loss" in history:
        words += f", validation {history['val_loss'][-1]:.4g}"
    return f"{words} {getattr(model, 'unit', '')}".rstrip()


def _save(path, run, model, optimizer, schedule, device, history, best):
    """Write everything that the rest of the run depends on, in one step."""
    state = {
        "run": run,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "history": history,
        "best": best,
    }
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        torch.save(state, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _resume(path, run, model, optimizer, schedule, device):
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        other = {name: value for name, value in state["run"].items() if value != run[name]}
        model.load_state_dict(state["model"])
    except Exception as problem:
        raise ValueError(
            f"{path} is no checkpoint of this model ({problem}). Move it away or name another file."
        ) from problem
    if other:
        differences = ", ".join(f"{name} {value} there, {run[name]} here" for name, value in other.items())
        raise ValueError(
            f"{path} belongs to another run: {differences}. Repeat those settings to go on with it, "
            f"or name another file to begin anew."
        )
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["random"])
    if state["random_cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], device)
    return state["history"], state["best"]


def evaluate(model, images, batch_size=1000, seed=0):
    """The mean of every term of the model's loss over images, in evaluation mode.

    images: images or codes, or a tuple (images, labels), as for fit.
    Returns a dictionary of floats. A model that samples draws the same noise every time (seed), and
    the random state outside is left as it was.
    """
    device = next(model.parameters()).device
    sums = {}
    with _evaluation_mode(model), _own_randomness(device, seed):
        for batch in _batches(images, batch_size, device):
            for name, value in model.loss(*batch).items():
                sums[name] = sums.get(name, 0) + value * len(batch[0])
    return {name: (value / len(_tensors(images)[0])).item() for name, value in sums.items()}


def _batches(inputs, batch_size, device):
    """A tensor, or a tuple of tensors, in batches of floats on the device."""
    lengths = [len(tensor) for tensor in _tensors(inputs)]
    if len(set(lengths)) > 1:  # zip would leave out what the shortest has no partner for
        raise ValueError(f"the tensors of a tuple should have the same length; these have {lengths}.")
    for batch in zip(*(tensor.split(batch_size) for tensor in _tensors(inputs))):
        yield [to_float(tensor.to(device)) for tensor in batch]


def in_batches(function, inputs, batch_size=1000):
    """Apply a model, or one of its methods, to many images or codes; the results come back to the CPU.

    function: model, model.encode, model.decode.
    inputs: (n, ...), uint8 images or floats, or a tuple of tensors, which become its arguments.
    Returns (n, ...), or a tuple of those where the function returns one. No gradients, evaluation mode.
    """
    model = getattr(function, "__self__", function)
    device = next(model.parameters()).device
    with _evaluation_mode(model):
        outputs = [function(*batch) for batch in _batches(inputs, batch_size, device)]
    if isinstance(outputs[0], tuple):
        return tuple(torch.cat(parts).cpu() for parts in zip(*outputs))
    return torch.cat(outputs).cpu()
