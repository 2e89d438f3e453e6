"""fit and its companions: what training changes, what it must not change, and what survives trouble."""

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
    table = pd.DataFrame(history)
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
    for images in (digits.train[:256], digits.train[:256].float() / 255):
        torch.manual_seed(3)
        model = Small()
        quiet(model, images, epochs=1)
        runs.append(weights(model))
    assert torch.equal(*runs)


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
    with pytest.raises(ValueError, match="no checkpoint of this model"):
        quiet(DenseAutoencoder(), digits.train[:256], epochs=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no checkpoint of this model"):
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
    assert "Interrupted in epoch 3 of 5" in printed and "goes on from the checkpoint" in printed
    assert history["epoch"] == [1, 2] and not model.training
    assert weights(model).isfinite().all()


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


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"patience": 0}, {"epochs": -1}])
def test_settings_that_make_no_sense_are_refused(digits, wrong):
    with pytest.raises(ValueError, match="start at 1"):
        quiet(Small(), digits.train, digits.val, **wrong)


def test_pixels_out_of_range_are_refused(digits):
    with pytest.raises(ValueError, match="run from 0 to 255"):
        quiet(Small(), digits.train.float())


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
    assert len(torch.load(path)["history"]["epoch"]) == 1 and [file.name for file in tmp_path.iterdir()] == ["run.pt"]


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


@pytest.mark.parametrize("images", [None, torch.zeros(0, 1, 28, 28), torch.zeros(5, 784), [1, 2]])
def test_what_is_no_tensor_of_images_is_refused(images):
    with pytest.raises(ValueError, match="images should be a tensor"):
        quiet(Small(), images)


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
    assert set(history) == {"epoch", "seconds", "loss", "val_loss"} and history["epoch"] == [1, 2, 3]
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


def test_labels_stay_with_their_images():
    model = Pairs()
    history = quiet(model, pairs(200), pairs(20, first=230), epochs=2, batch_size=50)
    first, second = model.seen[True][:200], model.seen[True][200:]
    assert sorted(first) == sorted(second) == [(i, 3 * i) for i in range(200)] and first != second
    assert model.seen[False] == 2 * [(i, 3 * i) for i in range(230, 250)]
    assert model.types == {torch.float32, torch.int64}
    assert history["val_loss"] == pytest.approx([3 * 239.5] * 2, rel=1e-3)


@pytest.mark.parametrize(
    "labels, given",
    [
        (torch.arange(9), r"10 images and labels of shape \(9,\)"),
        (torch.tensor(3), r"labels of shape \(\)"),
        (list(range(10)), "10 images and a list"),
        (None, "a NoneType"),
    ],
)
def test_labels_that_do_not_belong_to_the_images_are_refused(labels, given):
    images, _ = pairs(10)
    model = Pairs()
    with pytest.raises(ValueError, match=f"^images should be images, or a tuple .*{given}"):
        quiet(model, (images, labels))
    with pytest.raises(ValueError, match=f"^val should be images, or a tuple .*{given}"):
        quiet(model, pairs(10), (images, labels))
    assert not model.seen[True], "before anything is trained"


@pytest.mark.parametrize("images", [torch.zeros(10, 784), None, torch.full((10, 1, 2, 2), 3.0)])
def test_images_of_a_tuple_are_checked_like_others(images):
    with pytest.raises(ValueError, match="images"):
        quiet(Pairs(), (images, torch.arange(10)))


def test_images_and_val_come_alike():
    images, labels = torch.rand(20, 1, 28, 28), torch.arange(20) % 10
    with pytest.raises(ValueError, match="give both alike"):
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
        with pytest.raises(ValueError, match=r"the same length; these have \[20, 10\]"):
            function(Pairs(), (images, labels), batch_size=10)


def test_default_device_is_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training.default_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training.default_device().type == "cpu"
