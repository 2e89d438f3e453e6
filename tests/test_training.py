"""fit and its companions: what training changes, what it must not change, and what survives trouble."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from aecourse import training
from aecourse.models import DenseAutoencoder, DenseVAE, DigitClassifier, LinearAutoencoder
from aecourse.training import evaluate, fit, in_batches


class Small(LinearAutoencoder):
    """A linear autoencoder whose code is noisy, as a VAE's is: its training draws random numbers."""

    def __init__(self, noise=0.1):
        super().__init__(4)
        self.noise = noise

    def encode(self, x):
        z = super().encode(x)
        return z + self.noise * torch.randn_like(z)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def quiet(model, images, *rest, **keywords):
    return fit(model, images, *rest, device="cpu", progress=False, **keywords)


def test_training_changes_the_weights_and_lowers_the_loss(digits):
    model = DenseAutoencoder(8)
    before, loss = weights(model), evaluate(model, digits.val)["loss"]
    quiet(model, digits.train, epochs=1)
    assert not torch.equal(weights(model), before)
    assert evaluate(model, digits.val)["loss"] < 0.8 * loss


def test_gradients_reach_every_parameter_in_one_step(digits):
    model = DenseAutoencoder(8)
    before = {name: value.clone() for name, value in model.named_parameters()}
    quiet(model, digits.train[:256], epochs=1)
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_evaluation_changes_nothing(digits):
    model = nn.ModuleDict({"a": Small()})["a"].train()
    before, state = weights(model), torch.get_rng_state()
    first = evaluate(model, digits.val)
    assert evaluate(model, digits.val) == first, "the same noise every time"
    assert torch.equal(weights(model), before) and torch.equal(torch.get_rng_state(), state)
    assert model.training and all(p.grad is None for p in model.parameters())


def test_evaluate_weighs_batches_by_their_size(digits):
    model = DenseAutoencoder(8)
    by_7, whole = evaluate(model, digits.val, batch_size=7), evaluate(model, digits.val, batch_size=1000)
    assert math.isclose(by_7["loss"], whole["loss"], rel_tol=1e-5)


def test_history_is_a_table(digits):
    history = quiet(Small(), digits.train[:512], digits.val, epochs=3)
    assert len(history["step_loss"]) == 12 and history["loss"][1] == pytest.approx(np.mean(history["step_loss"][4:8]))
    table = pd.DataFrame({name: history[name] for name in history if name != "step_loss"})
    assert table["epoch"].tolist() == [1, 2, 3]
    assert set(table) == {"epoch", "seconds", "loss", "reconstruction", "val_loss", "val_reconstruction"}
    assert table["seconds"].is_monotonic_increasing and table.notna().all(axis=None)


def test_same_seed_same_weights_and_outside_randomness_untouched(digits):
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(3)
        model = Small()
        state = torch.get_rng_state()
        quiet(model, digits.train[:512], epochs=2, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_validation_does_not_change_training(digits):
    runs = []
    for val in (None, digits.val):
        torch.manual_seed(3)
        model = Small()
        quiet(model, digits.train[:512], val, epochs=2)
        runs.append(weights(model))
    assert torch.equal(*runs)


def test_uint8_and_float_images_train_alike(digits):
    runs = []
    for images in (digits.train[:256], digits.train[:256].float() / 255, digits.train[:256].double() / 255):
        torch.manual_seed(3)
        model = Small()
        quiet(model, images, epochs=1)
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1]) and torch.allclose(runs[0], runs[2], atol=1e-4)


def test_every_image_is_seen_once_an_epoch():
    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.zeros(1)), []

        def loss(self, x):
            self.seen += [round(value * 255) for value in x[:, 0, 0, 0].tolist()]
            return {"loss": self.weight.sum()}

    model = Recorder()
    images = torch.arange(200, dtype=torch.uint8).view(-1, 1, 1, 1)
    quiet(model, images, epochs=2, batch_size=50)
    first, second = model.seen[:200], model.seen[200:]
    assert sorted(first) == sorted(second) == list(range(200)) and first != second


def test_fewer_images_than_a_batch():
    history = quiet(DenseAutoencoder(2), torch.rand(3, 1, 28, 28), epochs=2)
    assert len(history["loss"]) == 2


class Killed(Exception):
    """Stands for whatever ends a process."""


class Fragile(Small):
    """Fails after a number of training steps."""

    steps, error = 10**9, Killed

    def loss(self, x):
        if self.training:
            self.steps -= 1
            if self.steps < 0:
                raise self.error
        return super().loss(x)


@pytest.mark.parametrize("patience", [None, 5])
def test_resumed_run_ends_with_the_same_weights_bit_for_bit(digits, tmp_path, patience):
    def run(model, **keywords):
        return quiet(model, digits.train[:640], digits.val, epochs=5, patience=patience, **keywords)

    torch.manual_seed(3)
    whole = Fragile()
    history = run(whole)

    torch.manual_seed(3)
    killed = Fragile()
    killed.steps = 12  # five steps an epoch: in the middle of the third
    with pytest.raises(Killed):
        run(killed, checkpoint=tmp_path / "run.pt")

    torch.manual_seed(99)
    resumed = Fragile()
    resumed.steps = 15  # the three epochs that are left, and no more
    after = run(resumed, checkpoint=tmp_path / "run.pt")
    assert torch.equal(weights(resumed), weights(whole))
    assert after["val_loss"] == history["val_loss"] and after["epoch"] == [1, 2, 3, 4, 5]
    assert after["step_loss"] == history["step_loss"] and len(after["step_loss"]) == 25
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"], "no half-written file stays behind"

    finished = Fragile()
    finished.steps = 0
    assert run(finished, checkpoint=tmp_path / "run.pt")["val_loss"] == history["val_loss"]
    assert torch.equal(weights(finished), weights(whole))


def test_checkpoint_of_another_run_is_refused(digits, tmp_path):
    path = tmp_path / "run.pt"
    quiet(Small(), digits.train[:256], epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="another run: epochs 1 there, 2 here"):
        quiet(Small(), digits.train[:256], epochs=2, checkpoint=path)
    with pytest.raises(ValueError, match="no checkpoint of this run"):
        quiet(DenseAutoencoder(), digits.train[:256], epochs=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no checkpoint of this run"):
        quiet(Small(), digits.train[:256], epochs=1, checkpoint=path)


def test_early_stopping_restores_the_best_weights(digits):
    class GetsWorse(Small):
        """Its validation loss falls for two epochs and rises from then on."""

        def __init__(self):
            super().__init__(noise=0)
            self.validations, self.at_best = 0, None

        def loss(self, x):
            terms = super().loss(x)
            if not self.training:
                self.validations += 1
                if self.validations == 2:
                    self.at_best = weights(self).clone()
                terms = {"loss": terms["loss"] * 0 + abs(self.validations - 2)}
            return terms

    model = GetsWorse()
    history = quiet(model, digits.train[:256], digits.val, epochs=50, patience=3)
    assert history["val_loss"] == [1, 0, 1, 2, 3]
    assert torch.equal(weights(model), model.at_best)


def test_resume_remembers_the_best_weights(digits, tmp_path):
    class Rises(Small):
        """Its validation loss is that of the number of validations so far, which the model itself remembers."""

        def __init__(self):
            super().__init__(noise=0)
            self.register_buffer("validations", torch.zeros(()))

        def loss(self, x):
            if not self.training:
                self.validations += 1
                return {"loss": self.validations.clone()}
            if self.validations == stop_at:
                raise Killed
            return super().loss(x)

    def run():
        model = Rises()
        quiet(model, digits.train[:256], digits.val, epochs=9, patience=4, checkpoint=tmp_path / "run.pt")
        return model

    stop_at = 3
    with pytest.raises(Killed):
        run()
    stop_at = None
    assert run().validations == 1, "the weights of the first epoch, from before the kill"


def test_interrupt_keeps_the_model_and_says_how_far(digits, capsys, tmp_path):
    model = Fragile()
    model.steps, model.error = 12, KeyboardInterrupt
    history = fit(model, digits.train[:640], epochs=5, device="cpu", checkpoint=tmp_path / "run.pt")
    printed = capsys.readouterr().out
    assert "Interrupted in epoch 3 of 5" in printed and "continues from the checkpoint" in printed
    assert history["epoch"] == [1, 2] and len(history["step_loss"]) == 12 and not model.training
    assert weights(model).isfinite().all()


class InterruptedAt(Small):
    """Interrupts, as Ctrl-C does, at one or several of the calls of its loss."""

    def __init__(self, *calls):
        super().__init__()
        self.calls, self.seen = calls, 0

    def loss(self, x):
        self.seen += 1
        if self.seen - 1 in self.calls:
            raise KeyboardInterrupt
        return super().loss(x)


ALWAYS = range(1000)


@pytest.mark.parametrize(
    "calls, steps, known",
    [
        ([0], 0, True),
        ([1], 1, True),
        ([3], 3, True),
        ([5], 5, True),  # five steps an epoch: the sixth call validates
        ([0, 1], 0, False),
        (ALWAYS, 0, False),
        (range(3, 1000), 3, False),
        (range(5, 1000), 5, False),
    ],
    ids=["first step", "second step", "fourth step", "validation", "twice", "always", "step and after", "validations"],
)
@pytest.mark.parametrize("validated", [True, False])
def test_interrupted_in_the_first_epoch_the_history_has_one_entry_everywhere(digits, calls, steps, known, validated):
    model = InterruptedAt(*calls)
    before = weights(model)
    history = quiet(model, digits.train[:640], digits.val if validated else None, epochs=1)
    if steps == 5 and not validated:
        assert history["epoch"] == [1], "nothing was interrupted"
        return
    assert history["epoch"] == [steps / 5] and len(history["step_loss"]) == steps
    losses = {"loss", "val_loss"} if validated else {"loss"}
    assert losses < set(history) and all(len(history[name]) == 1 for name in history if name != "step_loss")
    if known:
        assert all(math.isfinite(history[name][-1]) for name in losses) and "reconstruction" in history
    elif validated:
        assert math.isnan(history["val_loss"][-1])
    assert not model.training and torch.equal(weights(model), before) == (steps == 0)


@pytest.mark.parametrize("name", ["update", "set_description_str", "set_postfix_str"])
def test_interrupted_in_the_bar_every_list_has_the_same_length(digits, monkeypatch, name):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.tqdm, name, interrupt)
    history = quiet(Small(), digits.train[:640], digits.val, epochs=2)
    assert {len(history[name]) for name in ("epoch", "seconds", "loss", "val_loss", "reconstruction")} == {1}
    assert math.isfinite(history["val_loss"][-1])


def test_an_interrupt_before_the_best_epoch_keeps_what_was_learned(digits, tmp_path):
    model = InterruptedAt(3)
    history = quiet(
        model, digits.train[:640], digits.val, epochs=2, patience=1, checkpoint=tmp_path / "run.pt", before_step=None
    )
    assert history["epoch"] == [0.6] and not list(tmp_path.iterdir())
    assert quiet(Small(), digits.train[:640], digits.val, epochs=2, patience=1, checkpoint=tmp_path / "run.pt")


class Scheduled(Small):
    """Notes the value of its schedule in training and in evaluation."""

    beta = 0.0

    def __init__(self, stop_after=10**9):
        super().__init__()
        self.used, self.stop_after = {True: [], False: []}, stop_after

    def loss(self, x):
        if self.training and len(self.used[True]) == self.stop_after:
            raise Killed
        self.used[self.training].append(self.beta)
        return super().loss(x)


def rise(model, step, total_steps):
    model.beta = step / total_steps


def test_a_schedule_gets_every_step_of_training_and_no_other(digits):
    model = Scheduled()
    quiet(model, digits.train[:640], digits.val, epochs=2, before_step=rise)
    assert model.used[True] == [step / 10 for step in range(1, 11)]
    assert model.used[False] == [0.5, 1], "validation uses the current value"


def test_a_schedule_continues_from_a_checkpoint(digits, tmp_path):
    def run(model):
        quiet(model, digits.train[:640], digits.val, epochs=3, checkpoint=tmp_path / "run.pt", before_step=rise)
        return model

    with pytest.raises(Killed):
        run(Scheduled(stop_after=7))
    assert run(Scheduled()).used[True] == [step / 15 for step in range(6, 16)]
    assert run(Scheduled()).beta == 1, "also when there is nothing left to train"


@pytest.mark.parametrize(
    "images, epochs, steps", [(128, 1, "only 1 step"), (3, 2, "only 2 step"), (256, 4, "only 8 step")]
)
def test_too_few_steps_are_said(digits, capsys, images, epochs, steps):
    quiet(Small(), digits.train[:images], epochs=epochs)
    printed = capsys.readouterr().out
    assert steps in printed and "batch_size" in printed
    quiet(Small(), digits.train[:640], epochs=2)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_before_the_weights_are_touched(digits, value):
    class Breaks(Small):
        calls = 0

        def loss(self, x):
            terms = super().loss(x)
            self.calls += 1
            self.before = weights(self).clone()
            if self.calls == 7:  # the second step of the second epoch
                terms = {
                    "loss": terms["loss"] * value,
                    "reconstruction": terms["reconstruction"],
                    "kl": terms["loss"] * value,
                }
            return terms

    model = Breaks()
    with pytest.raises(FloatingPointError, match=rf"not finite at step 2 of epoch 2: .*kl = {value}"):
        quiet(model, digits.train[:640], epochs=5)
    assert torch.equal(weights(model), model.before) and weights(model).isfinite().all()


@pytest.mark.parametrize(
    "terms", [torch.ones(()), {"reconstruction": torch.ones(())}, {"loss": 1.0}, {"loss": torch.ones(2)}]
)
def test_loss_that_is_no_dictionary_of_scalars_is_refused_at_once(digits, terms):
    class Odd(Small):
        def loss(self, x):
            return terms

    with pytest.raises(ValueError, match="model.loss should return"):
        quiet(Odd(), digits.train)


NOT_WHOLE = [0.5, 3.0, "3", True, np.True_, torch.tensor(True), torch.tensor(3.0), [3], None, -1]


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience", "seed"])
@pytest.mark.parametrize("value", NOT_WHOLE, ids=str)
def test_settings_that_are_no_whole_numbers_are_refused(digits, name, value):
    if (name, value) == ("patience", None):
        return
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        quiet(Small(), digits.train, digits.val, **{name: value})


@pytest.mark.parametrize("name", ["batch_size", "patience"])
def test_nothing_at_all_is_no_batch_and_no_patience(digits, name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1; got 0"):
        quiet(Small(), digits.train, digits.val, **{name: 0})
    for function in (evaluate, in_batches):
        with pytest.raises(ValueError, match="batch_size must be"):
            function(Small(), digits.val, batch_size=0)


@pytest.mark.parametrize("lr", [0, -1e-3, math.nan, math.inf, "0.1", True, None, [1e-3], torch.ones(2), np.ones(2)])
def test_rates_that_make_no_sense_are_refused(digits, lr):
    with pytest.raises(ValueError, match="lr must be a positive number"):
        quiet(Small(), digits.train, lr=lr)


@pytest.mark.parametrize("whole", [np.int64, np.uint8, np.array, torch.tensor])
def test_whole_numbers_of_other_libraries_are_whole_numbers(digits, tmp_path, whole):
    path = tmp_path / "run.pt"
    for kind, lr in ((whole, torch.tensor(1e-3)), (int, float(torch.tensor(1e-3)))):  # the second reads it back
        settings = {"epochs": kind(2), "batch_size": kind(50), "seed": kind(1), "patience": kind(2)}
        history = quiet(Small(), digits.train[:100], digits.val, lr=lr, checkpoint=path, **settings)
        assert history["epoch"] == [1, 2] and len(history["step_loss"]) == 4


def test_pixels_out_of_range_are_refused(digits):
    for function in (quiet, evaluate):
        for images in (digits.train.float(), digits.train.float() / 255 - 0.5, digits.train.int()):
            with pytest.raises(ValueError, match=r"uint8 or floats in \[0, 1\]"):
                function(Small(), images)
    with pytest.raises(ValueError, match="val should be"):
        quiet(Small(), digits.train, digits.val.float())


def test_the_history_holds_means_over_the_epoch_and_lr_counts():
    class Counts(nn.Module):
        """Its loss is 0, 1, 2, … from step to step; its gradient is 1."""

        def __init__(self):
            super().__init__()
            self.weight, self.step = nn.Parameter(torch.zeros(1)), -1

        def loss(self, x):
            self.step += 1
            return {"loss": self.weight.sum() * 1e-9 + self.step, "training": torch.tensor(float(self.training))}

    moved = []
    for lr in (1e-3, 1e-2):
        model = Counts()
        history = quiet(model, torch.zeros(40, 1, 2, 2), torch.zeros(4, 1, 2, 2), epochs=2, batch_size=10, lr=lr)
        assert history["loss"] == pytest.approx([1.5, 6.5]), "steps 0 to 3 and, after a validation, 5 to 8"
        assert history["training"] == [1, 1] and history["val_training"] == [0, 0]
        moved.append(model.weight.item())
    assert abs(moved[1]) > 5 * abs(moved[0]) > 0


def test_checkpoint_folder_is_made_and_numpy_rates_can_be_read_back(digits, tmp_path):
    for _ in range(2):
        quiet(Small(), digits.train[:256], epochs=1, lr=np.float64(1e-3), checkpoint=str(tmp_path / "new" / "run.pt"))


def test_a_failed_save_keeps_the_checkpoint_before(digits, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    saved = []

    def save(state, file, original=torch.save):
        if saved:
            file.write_bytes(b"half")
            raise OSError("no space left")
        saved.append(file)
        original(state, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="no space left"):
        quiet(Small(), digits.train[:256], epochs=3, checkpoint=path)
    assert len(torch.load(path)["done"][0]) == 1 and [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_evaluation_restores_every_mode_even_after_an_error(digits):
    class Fails(Small):
        def __init__(self):
            super().__init__()
            self.frozen = nn.BatchNorm1d(3).eval()
            self.modes = []

        def loss(self, x):
            self.modes.append((self.training, torch.is_grad_enabled()))
            raise Killed

    model = Fails().train()
    model.frozen.eval()
    with pytest.raises(Killed):
        evaluate(model, digits.val)
    assert model.modes == [(False, False)]
    assert model.training and not model.frozen.training


def test_evaluate_draws_other_noise_for_another_seed(digits):
    model = Small()
    assert evaluate(model, digits.val, seed=1) != evaluate(model, digits.val, seed=2)


def test_what_is_no_module_is_refused(digits):
    with pytest.raises(ValueError, match="model should be a module"):
        quiet(Small, digits.train)


NO_IMAGES = [
    None, [1, 2], (), np.zeros((5, 1, 28, 28)), torch.zeros(0, 1, 28, 28), torch.zeros(5, 784), torch.zeros(()),
    torch.zeros(5, 28, 28).byte(), torch.zeros(5), torch.zeros(5).long(), torch.ones(5, 1, 28, 28).bool(),
]  # fmt: skip


@pytest.mark.parametrize("images", NO_IMAGES, ids=lambda images: str(getattr(images, "shape", images)))
def test_what_is_no_tensor_of_images_is_refused(images):
    for function in (quiet, evaluate):
        with pytest.raises(ValueError, match="images should"):
            function(Small(), images)
    if isinstance(images, np.ndarray):
        with pytest.raises(ValueError, match="NumPy"):
            quiet(Small(), images)


@pytest.mark.parametrize("shape", [(12, 49), (12, 7, 7)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_codes_are_trained_on_as_they_are(shape, dtype):
    class Codes(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.types = nn.Embedding(300, 2), set()

        def loss(self, codes):
            self.types.add(codes.dtype)
            return {"loss": self.embedding(codes).square().mean() + codes.float().mean()}

    model, codes = Codes(), (torch.arange(12 * 49) % 300).view(shape).to(dtype)
    history = quiet(model, codes, codes, epochs=1, batch_size=4)
    assert model.types == {torch.int64} and history["val_loss"][0] > 100
    assert evaluate(model, codes)["loss"] == pytest.approx(history["val_loss"][0])
    assert in_batches(model.embedding, codes, batch_size=5).shape == (*shape, 2)


def test_patience_needs_validation(digits):
    with pytest.raises(ValueError, match="give val as well"):
        quiet(Small(), digits.train, patience=3)


def test_progress_shows_the_loss_in_its_unit(digits, capsys):
    fit(DenseAutoencoder(2), digits.train[:256], digits.val, epochs=1, device="cpu")
    printed = capsys.readouterr()
    assert "epoch 1/1" in printed.out and "validation" in printed.out and "squared error per image" in printed.out
    assert not printed.err


def test_in_batches_is_the_function_itself(digits):
    model = DenseAutoencoder(8).train()
    x = digits.val
    z = in_batches(model.encode, x, batch_size=7)
    assert z.shape == (150, 8) and not z.requires_grad and model.training
    assert torch.allclose(z, model.encode(x.float() / 255), atol=1e-5)
    assert torch.allclose(in_batches(model, x, batch_size=40), model(x.float() / 255), atol=1e-5)


def test_in_batches_of_a_function_with_two_results(digits):
    class Two(Small):
        def encode(self, x):
            return super().encode(x), x

    z, x = in_batches(Two().encode, digits.val, batch_size=40)
    assert z.shape == (150, 4) and torch.allclose(x, digits.val.float() / 255)


def test_in_batches_of_an_encoder_with_two_results_is_the_encoder_itself(digits):
    model = DenseVAE(6)
    results = in_batches(model.encode, digits.val, batch_size=40)
    assert isinstance(results, tuple)
    for result, expected in zip(results, model.encode(digits.val.float() / 255), strict=True):
        assert result.shape == (150, 6) and torch.allclose(result, expected, atol=1e-5)


def test_fit_with_labels_trains_a_classifier(digits):
    model = DigitClassifier()
    train, val, test = (getattr(digits, part) for part in ("train", "val", "test"))
    before = evaluate(model, (test, digits.test_labels))["loss"]
    history = quiet(model, (train, digits.train_labels), (val, digits.val_labels), epochs=3)
    assert set(history) == {"epoch", "seconds", "loss", "val_loss", "step_loss"} and history["epoch"] == [1, 2, 3]
    assert history["loss"][2] < 0.2 * history["loss"][0]
    assert history["val_loss"][2] == evaluate(model, (val, digits.val_labels))["loss"]
    after = evaluate(model, (test, digits.test_labels))["loss"]
    right = in_batches(model, test).argmax(dim=1) == digits.test_labels
    assert after < before / 3 and right.float().mean() > 0.8


class Pairs(nn.Module):
    """Notes which image came with which label, and in which mode; its loss is the mean label."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen, self.types = nn.Parameter(torch.zeros(1)), {True: [], False: []}, set()

    def loss(self, x, y):
        self.types |= {x.dtype, y.dtype}
        self.seen[self.training] += list(zip((255 * x[:, 0, 0, 0]).round().int().tolist(), y.tolist(), strict=True))
        return {"loss": self.weight.sum() + y.float().mean()}

    def forward(self, x, y):
        return x[:, 0, 0, 0] * 255 + 1000 * y, y


def pairs(n, first=0):
    """n images of one pixel, and as labels 3 times that pixel."""
    pixels = torch.arange(first, first + n)
    return pixels.byte().view(-1, 1, 1, 1), 3 * pixels


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_labels_stay_with_their_images(dtype):
    model = Pairs()
    (train, y), (val, y_val) = pairs(200), pairs(20, first=230)
    history = quiet(model, (train, y.to(dtype)), (val, y_val.to(dtype)), epochs=2, batch_size=50)
    first, second = model.seen[True][:200], model.seen[True][200:]
    assert sorted(first) == sorted(second) == [(i, 3 * i) for i in range(200)] and first != second
    assert model.seen[False] == 2 * [(i, 3 * i) for i in range(230, 250)]
    assert model.types == {torch.float32, torch.int64}
    assert history["val_loss"] == pytest.approx([3 * 239.5] * 2, rel=1e-3)


def test_labels_are_never_scaled():
    labels = torch.arange(10).byte() * 20  # to 180: as pixels they would be less than 1
    images = torch.zeros(10, 1, 1, 1)
    model = Pairs()
    quiet(model, (images, labels), (images, labels), epochs=1)
    assert model.types == {torch.float32, torch.int64} and {label for _, label in model.seen[True]} == set(
        range(0, 200, 20)
    )
    assert evaluate(model, (images, labels))["loss"] == pytest.approx(90, rel=1e-3)
    assert torch.equal(in_batches(model, (images, labels))[1], labels.long())
    for given in (labels.float(), labels > 0):  # targets of a regression, a mask
        assert in_batches(lambda x, y: y, (images, given)).dtype == given.dtype


@pytest.mark.parametrize(
    "labels", [torch.arange(9), torch.tensor(3), list(range(10)), None, np.arange(10)], ids=lambda x: type(x).__name__
)
def test_labels_that_do_not_belong_to_the_images_are_refused(labels):
    images, _ = pairs(10)
    model = Pairs()
    for arguments, name in ((((images, labels),), "images"), ((pairs(10), (images, labels)), "val")):
        with pytest.raises(ValueError, match=f"^{name} should (be|have) .*got Tensor") as caught:
            quiet(model, *arguments)
        assert torch.is_tensor(labels) or "torch.as_tensor" in str(caught.value)
    assert not model.seen[True], "before anything is trained"
    for function in (evaluate, in_batches):
        with pytest.raises(ValueError, match="should"):
            function(model, (images, labels))


@pytest.mark.parametrize("images", [torch.zeros(10, 784), None, torch.full((10, 1, 2, 2), 3.0)])
def test_images_of_a_tuple_are_checked_like_others(images):
    with pytest.raises(ValueError, match="images"):
        quiet(Pairs(), (images, torch.arange(10)))


def test_images_and_val_come_alike():
    images, labels = torch.rand(20, 1, 28, 28), torch.arange(20) % 10
    with pytest.raises(ValueError, match="both"):
        quiet(Pairs(), (images, labels), images)


def test_a_run_with_labels_goes_on_from_its_checkpoint(digits, tmp_path):
    class Breakable(DigitClassifier):
        steps = 10**9

        def loss(self, x, y):
            self.steps -= self.training
            if self.steps < 0:
                raise Killed
            return super().loss(x, y)

    def run(steps, **keywords):
        torch.manual_seed(3)
        model = Breakable()
        model.steps = steps
        both = (digits.train[:256], digits.train_labels[:256])
        return model, lambda: quiet(model, both, (digits.val, digits.val_labels), epochs=3, **keywords)

    whole, train = run(6)
    history = train()
    with pytest.raises(Killed):
        run(3, checkpoint=tmp_path / "run.pt")[1]()
    resumed, train = run(4, checkpoint=tmp_path / "run.pt")
    assert train()["val_loss"] == history["val_loss"]
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("batch_size", [7, 100])
def test_evaluate_with_labels(batch_size):
    model = Pairs().train()
    terms = evaluate(model, pairs(100), batch_size=batch_size)
    assert terms == {"loss": pytest.approx(3 * 49.5, rel=1e-5)}, "batches weigh as many images as they have"
    assert model.seen == {True: [], False: [(i, 3 * i) for i in range(100)]} and model.training


def test_in_batches_with_a_tuple():
    model = Pairs()
    x, y = pairs(100)
    sums, labels = in_batches(model, (x, y), batch_size=30)
    assert torch.equal(labels, y) and labels.dtype == torch.int64
    assert torch.allclose(sums, x.flatten() + 1000.0 * y)


def test_tuples_of_unequal_lengths_are_refused():
    (images, _), (_, labels) = pairs(20), pairs(10)  # batches of ten: the second has no labels
    for function in (evaluate, in_batches):
        with pytest.raises(ValueError, match=r"the same length; got Tensor \(20, 1, 1, 1\), Tensor \(10,\)"):
            function(Pairs(), (images, labels), batch_size=10)


class NoParameters(nn.Module):
    def forward(self, x):
        return x / 2

    def loss(self, x):
        return {"loss": self(x).sum(dim=(1, 2, 3)).mean(), "training": torch.tensor(float(self.training))}


def test_a_module_without_parameters_is_evaluated_and_applied(digits):
    model, x = NoParameters(), digits.val.float() / 255
    terms = evaluate(model, digits.val)
    assert terms["loss"] == pytest.approx(x.sum().item() / 300, rel=1e-4) and terms["training"] == 0
    assert torch.allclose(in_batches(model, digits.val, batch_size=40), x / 2) and model.training


class Modes(nn.Module):
    """Returns 1 in training and 0 in evaluation, whatever is called."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(784, 3))

    def forward(self, x, scale=1.0):
        return torch.full((len(x),), scale * self.training)

    @torch.no_grad()
    def decorated(self, x):
        return self(x)


@pytest.mark.parametrize(
    "choose",
    [
        lambda model: model,
        lambda model: model.forward,
        lambda model: model.decorated,
        lambda model: functools.partial(model, scale=2.0),
        lambda model: functools.partial(functools.partial(model.forward), scale=3.0),
        lambda model: functools.wraps(model.forward)(lambda x: model(x)),
        lambda model: torch.compile(model, backend="eager"),
        lambda model: torch.compile(model.forward, backend="eager"),
    ],
    ids=["module", "method", "decorated", "partial", "partial twice", "wrapped", "compiled", "compiled method"],
)
def test_in_batches_finds_the_module_and_its_mode(digits, choose):
    model = Modes().train()
    assert not in_batches(choose(model), digits.val[:9], batch_size=4).any()
    assert model.training and model.layers[0].training


def test_in_batches_takes_any_callable(digits):
    model, x = Modes(), digits.val.float() / 255
    part = in_batches(model.layers, digits.val)
    assert part.shape == (150, 3) and torch.equal(part, in_batches(model.layers, digits.val)), "dropout is off"
    assert torch.equal(in_batches(lambda x: 2 * x, digits.val, batch_size=7, device="cpu"), 2 * x)
    assert torch.equal(in_batches(torch.square, digits.val, batch_size=7), x.square())
    assert torch.equal(in_batches(model.layers[1], digits.val), x.flatten(start_dim=1))
    assert torch.allclose(in_batches(functools.partial(torch.mul, other=3), digits.val, device="cpu"), 3 * x)
    assert not in_batches(lambda x: model.layers(x), digits.val).requires_grad


def test_in_batches_passes_latent_vectors_as_they_are():
    z = 5 * torch.randn(20, 4)  # no pixels
    assert torch.equal(in_batches(lambda z: z, z, batch_size=6), z)


@pytest.mark.parametrize(
    "result", [lambda x: x.mean(), lambda x: x[:1], lambda x: None, lambda x: x.numpy(), lambda x: {"x": x}]
)
def test_results_that_are_no_rows_are_refused(result):
    with pytest.raises(ValueError, match="function should return"):
        in_batches(result, torch.rand(5, 2))


@pytest.mark.parametrize("inputs", [torch.rand(0, 3), (), None, [torch.rand(3)], np.ones((3, 2)), torch.tensor(1.0)])
def test_inputs_that_are_no_rows_are_refused(inputs):
    with pytest.raises(ValueError, match="inputs should"):
        in_batches(lambda x: x, inputs)


def test_in_batches_of_a_result_is_refused():
    with pytest.raises(ValueError, match="to call"):
        in_batches(torch.ones(3), torch.rand(3, 2))


@pytest.fixture
def devices(monkeypatch):
    """PyTorch as it is on a machine whose GPU it sees and cannot use; what was found before is forgotten."""
    caches = training._problem_with, training._print_once
    for function in caches:
        function.cache_clear()
    monkeypatch.delenv("AECOURSE_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", failing_on_a_gpu)
    yield monkeypatch
    for function in caches:
        function.cache_clear()


def failing_on_a_gpu(*shape, device=None, original=torch.ones):
    if torch.device(device or "cpu").type == "cuda":
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")
    return original(*shape, device=device)


def test_a_gpu_that_cannot_compute_is_not_used(devices, digits, capsys):
    assert training.default_device().type == "cpu"
    printed = capsys.readouterr().out
    assert "no kernel image" in printed and printed.count("\n") == 1
    fit(Small(), digits.train, epochs=0, progress=False)  # a step of AdamW asks the GPU, which is not even there
    assert evaluate(Small(), digits.val) and not capsys.readouterr().out, "said once"


def test_a_gpu_that_can_compute_is_used(devices):
    devices.setattr(training, "_problem_with", lambda device: None)
    assert training.default_device() == torch.device("cuda")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "CUDA"])
def test_a_device_that_is_asked_for_and_does_not_work_is_refused(devices, digits, wanted):
    devices.setenv("AECOURSE_DEVICE", wanted)
    with pytest.raises(ValueError, match="AECOURSE_DEVICE is .*no kernel image"):
        fit(Small(), digits.train)
    with pytest.raises(ValueError, match="^device is .*no kernel image"):
        fit(Small(), digits.train, device=wanted.lower())
    with pytest.raises(ValueError, match="^device is .*no kernel image"):
        in_batches(Small(), digits.val, device=wanted.lower())


def test_the_environment_chooses_the_device_anew_every_time(devices):
    devices.setattr(training, "_problem_with", lambda device: None)
    for wanted in ("cpu", "cuda:1", "mps", " CPU "):
        devices.setenv("AECOURSE_DEVICE", wanted)
        assert training.default_device() == torch.device(wanted.strip().lower())
    devices.setenv("AECOURSE_DEVICE", "")
    assert training.default_device().type == "cuda"


@pytest.mark.parametrize("wrong", ["gpu", "cuda:x", "cpu,cuda", "meta", "0.5"])
def test_names_that_are_no_device_are_refused(devices, digits, wrong):
    devices.setenv("AECOURSE_DEVICE", wrong)
    with pytest.raises(ValueError, match=f"AECOURSE_DEVICE .*{wrong}"):
        training.default_device()
    for function in (fit, in_batches):
        with pytest.raises(ValueError, match=f"device .*{wrong}"):
            function(Small(), digits.val, device=wrong)
