"""The contract of every model in the package: shapes, gradients, units, modes and seeds. One test for all of them."""

import copy
import inspect

import numpy as np
import pytest
import torch
from torch import nn

from aecourse import models
from aecourse.training import evaluate, fit, in_batches

# How each model is made, small.
MODELS = {
    "DenseAutoencoder": lambda: models.DenseAutoencoder(latent_dim=5),
    "LinearAutoencoder": lambda: models.LinearAutoencoder(latent_dim=5),
    "SparseAutoencoder": lambda: models.SparseAutoencoder(latent_dim=5, penalty=0.3),
    "ConvolutionalAutoencoder": lambda: models.ConvolutionalAutoencoder(latent_dim=5),
    "DenseVAE": lambda: models.DenseVAE(latent_dim=5, hidden_dim=16, beta=2.0),
    "ConvolutionalVAE": lambda: models.ConvolutionalVAE(latent_dim=5, beta=2.0),
    "ConditionalVAE": lambda: models.ConditionalVAE(latent_dim=5, hidden_dim=16, num_classes=10, beta=2.0),
    "VQVAE": lambda: models.VQVAE(models.EMAQuantizer(num_codes=10, dim=8), beta=0.5),
    "VQVAE, gradients": lambda: models.VQVAE(models.VectorQuantizer(num_codes=10, dim=8), beta=0.5),
    "DigitClassifier": lambda: models.DigitClassifier(num_classes=10, num_features=12),
}
LABELLED = {"ConditionalVAE", "DigitClassifier"}  # their loss takes labels, too
every_model = pytest.mark.parametrize("name", MODELS)
every_autoencoder = pytest.mark.parametrize("name", [name for name in MODELS if name != "DigitClassifier"])


def make(name):
    torch.manual_seed(0)
    return MODELS[name]()


def batch_for(name, n):
    x = torch.rand(n, 1, 28, 28)
    return (x, torch.arange(n) % 10) if name in LABELLED else (x,)


def state(model):
    return copy.deepcopy(model.state_dict())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def started(model, batch):
    """A VQ-VAE whose codebook the batch has initialised; any other model as it is."""
    if isinstance(model, models.VQVAE):
        model.train()(*batch)
    return model


def seeded_loss(model, batch):
    torch.manual_seed(1)
    return model.loss(*batch)


def test_no_model_of_the_package_is_missing():
    abstract = {"Autoencoder", "VariationalAutoencoder"}
    trainable = {n for n, m in vars(models).items() if inspect.isclass(m) and hasattr(m, "loss")} - abstract
    assert trainable == {name.split(",")[0] for name in MODELS}


@every_autoencoder
def test_autoencoders_have_one_base_class_and_one_skeleton(name):
    model = make(name)
    assert isinstance(model, models.Autoencoder) and model.unit
    assert all(isinstance(part, nn.Sequential) for part in (model.encoder, model.decoder))
    settings = inspect.signature(type(model).__init__).parameters
    assert "beta" in settings or not hasattr(model, "beta"), "whatever weighs a term is set in the constructor"


@every_model
@pytest.mark.parametrize("n", [1, 3])
def test_shapes(name, n):
    model, batch = make(name).eval(), batch_for(name, n)
    out = model(*batch[:1] if name == "DigitClassifier" else batch)
    assert out.shape == ((n, 10) if name == "DigitClassifier" else (n, 1, 28, 28))
    terms = model.loss(*batch)
    assert "loss" in terms and all(value.ndim == 0 and value.isfinite() for value in terms.values())


@every_autoencoder
def test_forward_is_reconstruct(name):
    model, batch = make(name).eval(), batch_for(name, 3)
    assert torch.equal(model(*batch), model.reconstruct(*batch))

    class Black(type(model)):
        def reconstruct(self, *batch):
            return torch.zeros_like(batch[0])

    model.__class__ = Black
    assert not model(*batch).any(), "a subclass that overrides reconstruct changes forward"


@every_model
def test_gradients_reach_every_parameter(name):
    batch = batch_for(name, 16)
    model = started(make(name), batch).eval()  # in training mode batch norm cancels the bias before it
    model.loss(*batch)["loss"].backward()
    learning = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.any() for p in learning.values()) and learning


@every_model
@pytest.mark.parametrize("training", [True, False])
def test_the_loss_does_not_change_when_its_batch_is_repeated(name, training):
    batch = batch_for(name, 4)
    model = started(make(name), batch).train(training)
    if hasattr(model, "logvar"):  # posteriors so narrow that every sample is the mean
        nn.init.zeros_(model.logvar.weight)
        nn.init.constant_(model.logvar.bias, -50.0)
    once = copy.deepcopy(model).loss(*batch)
    thrice = model.loss(*(part.repeat(3, *[1] * (part.ndim - 1)) for part in batch))
    for term in once:
        assert thrice[term].item() == pytest.approx(once[term].item(), rel=1e-5)


@every_model
def test_training_changes_the_weights_and_evaluation_does_not(name, digits):
    model = make(name)
    images = (digits.train[:64], digits.train_labels[:64]) if name in LABELLED else digits.train[:64]
    held_out = (digits.test, digits.test_labels) if name in LABELLED else digits.test
    fit(model, images, epochs=1, batch_size=32, device="cpu", progress=False)
    trained = state(model)
    fit(model, images, epochs=1, batch_size=32, device="cpu", progress=False)
    again = state(model)
    assert not any(torch.equal(trained[key], again[key]) for key in trained if not key.endswith("initialized"))
    for mode in (True, False):
        model.train(mode)
        evaluate(model, held_out)
        in_batches(model, digits.test if name == "DigitClassifier" else held_out)
        assert same(again, state(model)) and all(part.training == mode for part in model.modules())


def settings(model):
    """Its plain attributes, such as beta."""
    return {key: value for key, value in vars(model).items() if not key.startswith("_")}


@every_model
def test_a_loss_changes_no_setting_and_in_evaluation_mode_nothing_at_all(name):
    batch = batch_for(name, 3)
    model = started(make(name), batch)
    before = settings(model)
    model.loss(*batch)
    assert settings(model) == before, "schedules are the training loop's part"
    before, model = state(model), model.eval()
    first, second = seeded_loss(model, batch), seeded_loss(model, batch)
    assert same(before, state(model)) and all(torch.equal(first[term], second[term]) for term in first)


@every_model
def test_the_same_seeds_give_the_same_weights(name, digits):
    images = (digits.train[:96], digits.train_labels[:96]) if name in LABELLED else digits.train[:96]
    runs = []
    for init, order in ((3, 0), (3, 0), (3, 1), (4, 0)):
        torch.manual_seed(init)
        model, random = MODELS[name](), torch.get_rng_state()
        fit(model, images, epochs=2, batch_size=32, seed=order, device="cpu", progress=False)
        assert torch.equal(torch.get_rng_state(), random), "fit has random numbers of its own"
        runs.append(state(model))
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2]) and not same(runs[0], runs[3])


@every_model
@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(3, 1, 32, 32),
        torch.rand(3, 3, 28, 28),
        torch.rand(3, 28, 28),
        torch.rand(3, 784),
        torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8),
        255 * torch.rand(3, 1, 28, 28),
        torch.full((3, 1, 28, 28), torch.nan),
        np.zeros((3, 1, 28, 28), dtype=np.float32),
        [0.0],
    ],
    ids=["32×32", "colour", "no channel axis", "flat", "uint8", "0 to 255", "nan", "NumPy", "list"],
)
def test_images_of_another_shape_or_kind_are_refused_by_name(name, wrong):
    model = make(name).eval()
    labels = (torch.zeros(3, dtype=torch.int64),) if name in LABELLED else ()
    calls = [model.loss, model] if name == "DigitClassifier" else [model.loss, model, model.encode, model.reconstruct]
    for call in calls:
        given = labels if call == model.loss or name == "ConditionalVAE" else ()
        with pytest.raises(ValueError, match=rf"{type(model).__name__} takes images \(batch, 1, 28, 28\)") as caught:
            call(wrong, *given)
        assert ("NumPy" in str(caught.value)) == isinstance(wrong, np.ndarray)


@pytest.mark.parametrize("name", ["DenseVAE", "ConvolutionalVAE", "ConditionalVAE", "VQVAE", "VQVAE, gradients"])
def test_beta_weighs_the_last_term(name):
    batch = batch_for(name, 4)
    model = started(make(name), batch).eval()
    if hasattr(model, "mu"):
        nn.init.constant_(model.mu.bias, 2.0)  # far from the prior
    terms = {key: value.item() for key, value in seeded_loss(model, batch).items()}
    *others, weighted = [key for key in terms if key != "loss"]
    assert terms["loss"] == pytest.approx(sum(terms[key] for key in others) + model.beta * terms[weighted], rel=1e-6)
    assert terms[weighted] > 1 and model.beta != 1
