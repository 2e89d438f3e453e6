"""Training any model of the course: fit(model, images, val, epochs=10)."""

import functools
import inspect
import math
import operator
import os
import sys
import time
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from aecourse.data import require_images

FEW_STEPS = 10  # with fewer, little is learned, and with one the schedule never leaves its low start
_print_once = functools.cache(print)


def default_device():
    """The device that the environment variable AECOURSE_DEVICE names, else a working NVIDIA GPU, else the CPU.

    Apple's GPU is used only if asked for: AECOURSE_DEVICE=mps, or device="mps".
    Raises ValueError if AECOURSE_DEVICE names no device or one that does not work.
    """
    if wanted := os.environ.get("AECOURSE_DEVICE", "").strip(" '\"").lower():
        return _require_device(wanted, "AECOURSE_DEVICE")
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if problem := _problem_with(torch.device("cuda")):
        _print_once(f"PyTorch sees a GPU but cannot compute on it ({problem}). The CPU is used instead.")
        return torch.device("cpu")
    return torch.device("cuda")


def fit(
    model, images, val=None, *, epochs=10, lr=5e-3, batch_size=128, patience=None, seed=0, device=None,
    before_step=None, checkpoint=None, progress=True,
):  # fmt: skip
    """Train a model with AdamW and the one-cycle schedule.

    model: a module whose loss(x) returns a dictionary of scalars, "loss" among them.
    images, val: (n, channels, height, width), uint8 or floats in [0, 1]; or integer codes (n, positions) or
        (n, height, width). All images are moved to the device at once. Each epoch samples full batches in a new order;
        a last, smaller batch is left out. A tuple (images, labels) goes to a model whose loss takes both, loss(x, y);
        labels are never scaled, and integer labels arrive as int64.
    lr: the peak of the schedule.
    patience: stop after this many epochs without a better validation loss, and restore the weights of the best one.
    seed: fixes the order of the images and, except on Apple's GPU, the model's sampling; not the random state outside.
    device: "cpu", "cuda", "mps"; by default default_device(). The model stays there.
    before_step: before_step(model, step, total_steps) is called before every training step, with step from 1
        to total_steps. It is the place for schedules: `model.beta = min(1, step / 1000)`.
    checkpoint: a file to which the state is written after every epoch. If it exists, training continues
        from it, and on a CPU ends with exactly the weights of an uninterrupted run.
    progress: whether to show a progress bar.

    Returns the history, a dictionary of lists with one entry per epoch: "epoch", "seconds" since the start, every term
    of the loss (batch means of the training epoch) and of the validation loss (as "val_loss" and so on). One list is
    longer: "step_loss" has the training loss of every step.
    A table of the epochs: pandas.DataFrame({name: history[name] for name in history if name != "step_loss"}).
    Ctrl-C, or interrupting the kernel, ends training early and returns normally; in the first epoch the history then
    has one entry for what was done of it ("epoch" is a fraction). The model is left in evaluation mode.
    Raises ValueError for anything but images or integer codes, a loss that is no dictionary of scalars, settings that
    make no sense, a device that does not work, and a checkpoint of another run; FloatingPointError, before the
    optimiser's step, when a loss is not finite.

    Source of the schedule: Smith and Topin, "Super-convergence", 2018.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model should be a module, such as DenseAutoencoder(); got {_type_name(model)}.")
    images = _require_inputs(images, "images")
    if val is not None:
        val = _require_inputs(val, "val")
        if len(val) != len(images) or val[0].shape[1:] != images[0].shape[1:]:
            raise ValueError("images and val should have one shape, and both come with labels or both without.")
    elif patience is not None:
        raise ValueError("patience counts epochs without a better validation loss: give val as well.")
    epochs, seed = _whole_number("epochs", epochs, 0), _whole_number("seed", seed, 0)
    patience = None if patience is None else _whole_number("patience", patience, 1)
    batch_size = min(_whole_number("batch_size", batch_size, 1), len(images[0]))
    if isinstance(lr, bool) or not hasattr(lr, "__float__") or getattr(lr, "ndim", 0) or not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive number; got {lr!r}.")
    rate = float(lr)
    device = default_device() if device is None else _require_device(device, "device")
    if checkpoint is not None:
        checkpoint = Path(checkpoint).expanduser()
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    model.to(device)
    tensors = tuple(tensor.to(device) for tensor in images)
    steps = len(tensors[0]) // batch_size
    total_steps = epochs * steps
    if 0 < total_steps < FEW_STEPS:
        print(f"This training has only {total_steps} step(s), too few to learn much: raise epochs or lower batch_size.")
    # Runs here are short: squared gradients are averaged over about 100 steps (0.99), not the usual 1,000.
    optimizer = AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), fused=device.type in ("cpu", "cuda"))
    schedule = OneCycleLR(optimizer, max_lr=rate, total_steps=max(total_steps, 1), cycle_momentum=False)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    run = dict(epochs=epochs, lr=rate, batch_size=batch_size, patience=patience, seed=seed, images=len(tensors[0]))
    rows, step_loss, best = [], [], None  # a row is what the history says of one epoch

    with _seeded(device, seed):
        if checkpoint is not None and checkpoint.exists():
            rows, step_loss, best = _resume(checkpoint, run, state, device)
            print(f"Continuing from {checkpoint.name}: {len(rows)} of {epochs} epochs are done.")
            if before_step is not None and rows:
                before_step(model, len(rows) * steps, total_steps)
        started = time.perf_counter() - (rows[-1]["seconds"] if rows else 0)
        step_terms = []  # the terms of every step of the current epoch
        bar = tqdm(
            total=total_steps, initial=len(rows) * steps, disable=not progress, file=sys.stdout, mininterval=1,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}{postfix}",
        )  # fmt: skip
        try:
            for epoch in range(len(rows) + 1, epochs + 1):
                if patience is not None and _epochs_since_best(rows) >= patience:
                    break
                bar.set_description_str(f"epoch {epoch}/{epochs}")
                model.train()
                step_terms = []
                order = torch.randperm(len(tensors[0])).to(device)
                for step in range(1, steps + 1):
                    batch = order[(step - 1) * batch_size : step * batch_size]
                    if before_step is not None:
                        before_step(model, (epoch - 1) * steps + step, total_steps)
                    terms = _require_terms(model.loss(*(_scaled(tensor[batch]) for tensor in tensors)))
                    loss = _require_finite(terms, step, epoch)
                    optimizer.zero_grad()
                    terms["loss"].backward()
                    optimizer.step()
                    schedule.step()
                    step_terms.append({name: value.detach() for name, value in terms.items()})
                    step_loss.append(loss)
                    bar.update()
                row = _means(step_terms) | _validation_terms(model, val)
                rows.append(row | {"epoch": epoch, "seconds": time.perf_counter() - started})
                if patience is not None and _epochs_since_best(rows) == 0:
                    best = {name: value.clone() for name, value in model.state_dict().items()}
                validation = f", validation {row['val_loss']:.4g}" if val is not None else ""
                bar.set_postfix_str(f"loss {row['loss']:.4g}{validation} {getattr(model, 'unit', '')}".rstrip())
                if checkpoint is not None:
                    _save(checkpoint, run, state, device, (rows, step_loss, best))
        except KeyboardInterrupt:
            kept = "keeps what it has learned so far" if best is None else "has its best weights so far"
            holds = f"{len(rows)} whole epochs" if rows else "what was done of the first epoch"
            saved = " The same call continues from the checkpoint." if checkpoint and checkpoint.exists() else ""
            words = f"Interrupted in epoch {min(len(rows) + 1, epochs)} of {epochs}. The model {kept}; the history "
            words += f"holds {holds}.{saved} Cells that are queued go on; interrupt again to stop them."
            bar.write(words, file=sys.stdout)
            if not rows:
                rows = [_interrupted_row(model, tensors, val, step_terms, steps, time.perf_counter() - started)]
        finally:
            bar.close()
            model.eval()
    if best is not None:
        model.load_state_dict(best)
    names = dict.fromkeys(chain(("epoch", "seconds"), *rows))
    return {name: [row.get(name, math.nan) for row in rows] for name in names} | {"step_loss": step_loss}


def evaluate(model, images, batch_size=1000, seed=0):
    """The mean of every term of the model's loss over images, in evaluation mode.

    images: images or codes, or a tuple (images, labels), as for fit; ValueError for anything else.
    Returns a dictionary of floats. A model that samples uses the same noise every time (seed), and
    the random state outside is left as it was.
    """
    tensors = _require_inputs(images, "images")
    device = _device_of(model) or tensors[0].device
    sums = {}
    with _evaluation_mode(model), _seeded(device, _whole_number("seed", seed, 0)):
        for batch in _batches(tensors, batch_size, device):
            for name, value in _require_terms(model.loss(*batch)).items():
                sums[name] = sums.get(name, 0) + value * len(batch[0])
    return {name: (value / len(tensors[0])).item() for name, value in sums.items()}


def in_batches(function, inputs, batch_size=1000, device=None):
    """Apply a function to many images, latent vectors or codes, batch by batch; the results come back to the CPU.

    function: any callable. A module, a method of one, and a functools.partial or torch.compile of these run
        in evaluation mode and on their own device. Into other functions, such as a lambda, in_batches cannot look:
        call model.eval() before, and give device.
    inputs: (n, ...), or a tuple of tensors, which become the arguments. In first place uint8 means images and is
        scaled to [0, 1]; nothing else is, and other integers (codes, labels) arrive as int64.
    device: where the batches go; by default the module's device, and without a module the inputs' own.
    Returns (n, ...), or a tuple of those where the function returns one. No gradients.
    Raises ValueError for inputs that are empty or differ in length, and for results that are not (n, ...).
    """
    if not callable(function):
        raise ValueError(f"function should be something to call, such as model.encode; got {_type_name(function)}.")
    tensors, module, results = _require_tensors(inputs, "inputs"), _module_of(function), []
    device = _device_of(module) if device is None else _require_device(device, "device")
    with _evaluation_mode(module):
        for batch in _batches(tensors, batch_size, device):
            result = function(*batch)
            parts = result if isinstance(result, (tuple, list)) else (result,)
            if not all(torch.is_tensor(part) and part.shape[:1] == batch[0].shape[:1] for part in parts):
                given = ", ".join(_type_name(part) for part in parts)
                raise ValueError(f"function should return one row per input; for {len(batch[0])} it returned {given}.")
            results.append([part.cpu() for part in parts])
    columns = tuple(torch.cat(column) for column in zip(*results))
    return columns if isinstance(result, (tuple, list)) else columns[0]


def _require_device(device, what):
    """A torch.device that works; ValueError for any other."""
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f'{what} should be "cpu", "cuda", "cuda:1", "mps" or "xpu"; got {device!r}.') from None
    if problem := _problem_with(device):
        raise ValueError(f'{what} is "{device}", and PyTorch cannot compute there ({problem}). "cpu" always works.')
    return device


@functools.cache
def _problem_with(device):
    """Why PyTorch cannot compute on a device, in one line, or None. A GPU can be listed that has no kernels."""
    try:
        x = torch.ones(1, 1, 4, 4, device=device)
        (nn.functional.conv2d(x, x[..., :3, :3]) @ x[..., :2, :2]).sum().item()  # item waits for the result
    except Exception as problem:  # a driver can raise anything
        return " ".join(str(problem).split())[:200] or type(problem).__name__
    return None


def _module_of(function):
    """The module that a function is, or is a method, a partial or a compiled version of; an empty one for others."""
    while isinstance(function, functools.partial):
        function = function.func
    owners = [getattr(f, "__self__", f) for f in (function, inspect.unwrap(function))]
    return next((owner for owner in owners if isinstance(owner, nn.Module)), nn.Module())


def _device_of(module):
    """The device of a module's first parameter or buffer; None if it has neither."""
    return next((tensor.device for tensor in chain(module.parameters(), module.buffers())), None)


@contextmanager
def _seeded(device, seed):
    """Random numbers from this seed; the random state outside is left as it was."""
    generators = _generators(device)
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states):
            generator.set_state(state)


def _generators(device):
    """The random number generators that training on a device uses: the CPU's, and that of an NVIDIA GPU."""
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


@contextmanager
def _evaluation_mode(module):
    """No gradients and evaluation mode; afterwards every part of the module is in the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


def _type_name(value):
    """A value in an error message: "Tensor (10, 2)", "list"."""
    return f"{type(value).__name__} {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__


def _whole_number(name, value, least):
    """An int from anything that is a whole number, NumPy's and PyTorch's too; ValueError for anything else."""
    try:
        number = least - 1 if "bool" in str(getattr(value, "dtype", type(value))) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} must be a whole number, at least {least}; got {value!r}.")
    return number


def _require_tensors(inputs, what):
    """A tensor, or a tuple of tensors of one length, as a tuple. Integers that are not pixels become int64."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    given = ", ".join(_type_name(tensor) for tensor in tensors) or "an empty tuple"
    rows = {len(tensor) if torch.is_tensor(tensor) and tensor.ndim else 0 for tensor in tensors}
    if len(rows) != 1 or 0 in rows:
        raise ValueError(
            f"{what} should be a tensor with at least one row, or a tuple of tensors of the same length; got {given}. "
            f"torch.as_tensor makes a tensor of a list or a NumPy array."
        )
    kept = [tensor.is_floating_point() or tensor.dtype == torch.bool for tensor in tensors]
    kept[0] |= tensors[0].dtype == torch.uint8
    return tuple(tensor if keep else tensor.long() for tensor, keep in zip(tensors, kept))


def _require_inputs(inputs, what):
    """Images or codes, or a tuple of those and labels, as a tuple of tensors."""
    first = inputs[0] if isinstance(inputs, tuple) and inputs else inputs
    integer = torch.is_tensor(first) and not first.is_floating_point() and first.dtype not in (torch.uint8, torch.bool)
    if not (integer and first.ndim in (2, 3)):  # then these are no codes
        require_images(first, what)
        if first.ndim != 4:
            raise ValueError(
                f"{what} should be images (n, channels, height, width), such as data.train, or integer codes "
                f"(n, positions) or (n, height, width); got {first.dtype} of shape {tuple(first.shape)}."
            )
    first, *labels = _require_tensors(inputs, what)
    return (first.float() if first.is_floating_point() else first, *labels)  # NumPy's floats are often float64


def _scaled(tensor):
    """Pixels 0 to 255 as floats in [0, 1]. Nothing else is uint8 after _require_tensors, which also checked them."""
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor


def _batches(tensors, batch_size, device):
    """Tensors in batches on the device (None: their own), images scaled."""
    for batch in zip(*(tensor.split(_whole_number("batch_size", batch_size, 1)) for tensor in tensors)):
        yield [_scaled(tensor.to(device)) for tensor in batch]


def _require_terms(terms):
    """The terms of a loss, if they are a dictionary of scalars with "loss" among them."""
    if not isinstance(terms, dict) or "loss" not in terms:
        raise ValueError(f'model.loss should return a dictionary with an entry "loss"; got a {type(terms).__name__}.')
    for name, value in terms.items():
        if not torch.is_tensor(value) or value.ndim:
            raise ValueError(f"model.loss should return scalar tensors; its entry {name!r} is {value!r:.60}.")
    return terms


def _require_finite(terms, step, epoch):
    """The loss as a float. Reading it makes a GPU wait, once a step; it is what keeps the weights finite."""
    loss = terms["loss"].item()
    if not math.isfinite(loss):
        values = ", ".join(f"{name} = {value.item():.4g}" for name, value in terms.items())
        raise FloatingPointError(
            f"The loss is not finite at step {step} of epoch {epoch}: {values}. The optimiser took no "
            f"step on it. Try a lower lr; if that changes nothing, look for a log or a division of zero."
        )
    return loss


def _means(step_terms):
    """The mean of every term over the steps."""
    return {name: (sum(terms[name] for terms in step_terms) / len(step_terms)).item() for name in step_terms[0]}


def _validation_terms(model, val):
    return {} if val is None else {f"val_{name}": value for name, value in evaluate(model, val).items()}


def _interrupted_row(model, tensors, val, step_terms, steps, seconds):
    """What is known of a first epoch that was interrupted; nan for the rest. Interrupted again: the loss alone."""
    terms = {"loss": math.nan}
    try:
        # Before the first step nothing is known, not even the terms' names: then evaluate some images.
        terms = _means(step_terms) if step_terms else evaluate(model, tuple(tensor[:1000] for tensor in tensors))
        validation = _validation_terms(model, val)
    except KeyboardInterrupt:
        validation = {} if val is None else {f"val_{name}": math.nan for name in terms}
    return {"epoch": len(step_terms) / steps, "seconds": seconds} | terms | validation


def _epochs_since_best(rows):
    losses = [row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf for row in rows]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def _save(path, run, state, device, done):
    """Write everything that the rest of the run depends on, in one step."""
    contents = {name: part.state_dict() for name, part in state.items()}
    contents |= {"run": run, "done": done, "random": [generator.get_state() for generator in _generators(device)]}
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        torch.save(contents, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _resume(path, run, state, device):
    """Restore everything from a checkpoint. Returns what is done: rows, step losses, the best weights."""
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
        other = [
            f"{name} {value} there, {run[name]} here" for name, value in contents["run"].items() if value != run[name]
        ]
        if other:
            raise ValueError("it belongs to another run: " + ", ".join(other))
        for name, part in state.items():
            part.load_state_dict(contents[name])
        for generator, random_state in zip(_generators(device), contents["random"]):
            generator.set_state(random_state)
        return contents["done"]
    except Exception as problem:
        raise ValueError(f"{path} is no checkpoint of this run ({problem}): name another file.") from problem
