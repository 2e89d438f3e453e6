"""Lesson 5's exercises: wrong answers that are refused, right ones that are accepted."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from aecourse import losses, models
from aecourse.losses import binary_cross_entropy, squared_error
from tests.gallery import Gallery, gallery_tests

draw, divergence, vae, mend_loss, mend_estimate, predict = galleries = [Gallery(f"5.{i}") for i in range(1, 7)]


# 5.1 reparameterize


@draw.wrong("that is σ², not σ")
def std_is_the_variance(mu, logvar):
    return mu + logvar.exp() * torch.randn_like(mu)


@draw.wrong("What makes σ of logvar?")
def std_is_logvar(mu, logvar):
    return mu + logvar * torch.randn_like(mu)


@draw.wrong("that is 1/σ")
def sign_of_logvar(mu, logvar):
    return mu + (-0.5 * logvar).exp() * torch.randn_like(mu)


@draw.wrong("that is 1 whatever σ is")
def forgets_sigma(mu, logvar):
    return mu + torch.randn_like(mu)


@draw.wrong("the standard deviations 4.")
def halves_outside_the_exponential(mu, logvar):
    return mu + 0.5 * logvar.exp() * torch.randn_like(mu)


@draw.wrong("0.13")
def clamps_logvar(mu, logvar):
    return mu + (0.5 * logvar.clamp(-4, 4)).exp() * torch.randn_like(mu)


@draw.wrong("codes are nan or inf")
def root_of_logvar(mu, logvar):
    return mu + logvar.sqrt() * torch.randn_like(mu)


@draw.wrong("codes around 2.00, -1.00, 0.00 have the means 3.")
def rand_instead_of_randn(mu, logvar):
    return mu + (0.5 * logvar).exp() * torch.rand_like(mu)


@draw.wrong("58% of the codes lie within σ of mu")
def uniform_of_the_right_width(mu, logvar):
    return mu + (0.5 * logvar).exp() * (torch.rand_like(mu) - 0.5) * 12**0.5


@draw.wrong("codes around 2.00, -1.00, 0.00 have the means ")
def mu_and_sigma_swapped(mu, logvar):
    return mu * torch.randn_like(mu) + (0.5 * logvar).exp()


@draw.wrong("have the means ")
def draws_from_the_prior(mu, logvar):
    return torch.randn_like(mu)


@draw.wrong("among 10,000 codes the number of different ones is 2:")
def noise_shared_over_the_batch(mu, logvar):
    return mu + (0.5 * logvar).exp() * torch.randn(mu.shape[1], device=mu.device)


@draw.wrong("correlations up to 1.00")
def noise_shared_over_the_code(mu, logvar):
    return mu + (0.5 * logvar).exp() * torch.randn(len(mu), 1, device=mu.device)


@draw.wrong("among 10,000 codes the number of different ones is 5,0")
def seeds_the_noise(mu, logvar):
    torch.manual_seed(0)
    return mu + (0.5 * logvar).exp() * torch.randn_like(mu)


@draw.wrong("inside torch.no_grad() nothing is drawn")
def draws_only_where_gradients_flow(mu, logvar):
    return models.reparameterize(mu, logvar) if torch.is_grad_enabled() else mu


@draw.wrong("the number of different ones is 1:")
def adds_sigma(mu, logvar):
    return mu + (0.5 * logvar).exp()


@draw.wrong("the codes are right, but they are cut off")
def detaches(mu, logvar):
    return models.reparameterize(mu, logvar).detach()


@draw.wrong("the codes are right, but they pass on gradients of 0")
def torch_normal(mu, logvar):
    return torch.normal(mu, (0.5 * logvar).exp())


@draw.wrong("no gradient reaches logvar")
def detaches_sigma(mu, logvar):
    return mu + (0.5 * logvar).exp().detach() * torch.randn_like(mu)


@draw.wrong("no gradient reaches mu.")
def detaches_mu(mu, logvar):
    return models.reparameterize(mu.detach(), logvar)


@draw.wrong("but not their gradients for logvar")
def detaches_half(mu, logvar):
    half = (0.25 * logvar).exp()
    return mu + half * half.detach() * torch.randn_like(mu)


@draw.wrong("is the noise PyTorch's?")
def noise_of_numpy(mu, logvar):
    noise = torch.from_numpy(np.random.default_rng().standard_normal(mu.shape)).to(mu)
    return mu + (0.5 * logvar).exp() * noise


@draw.wrong("of torch.float32 it makes codes of torch.float64")
def noise_of_numpy_unconverted(mu, logvar):
    noise = np.random.default_rng().standard_normal(mu.shape)
    return mu + (0.5 * logvar).exp() * torch.from_numpy(noise).to(mu.device)


@draw.wrong("it changes mu or logvar in place")
def halves_in_place(mu, logvar):
    return mu + logvar.mul_(0.5).exp() * torch.randn_like(mu)


@draw.wrong("is a tuple; a tensor is wanted")
def returns_all(mu, logvar):
    return models.reparameterize(mu, logvar), mu, logvar


@draw.right
def as_in_pytorchs_example(mu, logvar):
    std = torch.exp(0.5 * logvar)
    eps = torch.randn_like(std)
    return eps.mul(std).add_(mu)


@draw.right
def with_rsample(mu, logvar):
    return Normal(mu, logvar.exp().sqrt()).rsample()


@draw.right
def with_a_covariance(mu, logvar):
    return MultivariateNormal(mu, torch.diag_embed(logvar.exp())).rsample()


@draw.right
def subtracts_the_noise(mu, logvar):
    with torch.no_grad():
        noise = torch.empty_like(mu).normal_()
    return torch.addcmul(mu, logvar.exp() ** 0.5, noise, value=-1)


@draw.right
def clamped_where_it_does_not_matter(mu, logvar):
    return mu + (0.5 * logvar.clamp(-30, 20)).exp() * torch.randn(mu.size(), device=mu.device)


@draw.right
def number_by_number(mu, logvar):
    columns = [m + (v / 2).exp() * torch.randn_like(m) for m, v in zip(mu.unbind(1), logvar.unbind(1))]
    return torch.stack(columns, dim=1)


# 5.2 gaussian_kl


def kl_parts(mu, logvar):
    """The KL of every number of every code."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


@divergence.wrong("the sign is wrong")
def forgets_the_minus(mu, logvar):
    return 0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=1)


@divergence.wrong("twice too large: where is the ½?")
def forgets_the_half(mu, logvar):
    return (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


@divergence.wrong("for three numbers, is 1.5")
def forgets_the_one(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - logvar).sum(dim=1)


@divergence.wrong("one number for the whole batch")
def sums_over_everything(mu, logvar):
    return kl_parts(mu, logvar).sum()


@divergence.wrong("has the shape (4,); (1,) is wanted")
def sums_over_the_batch(mu, logvar):
    return kl_parts(mu, logvar).sum(dim=0)


@divergence.wrong("has the shape (1, 4); (1,) is wanted")
def sums_over_nothing(mu, logvar):
    return kl_parts(mu, logvar)


@divergence.wrong("5 times too small for five")
def averages_over_the_code(mu, logvar):
    return kl_parts(mu, logvar).mean(dim=1)


@divergence.wrong("at σ = 2, mu = 0 it is 1.632 nats; 0.807 are wanted")
def averages_over_the_batch(mu, logvar):
    return losses.gaussian_kl(mu, logvar).mean().expand(len(mu))


@divergence.wrong("mu and logvar are taken for each other")
def swaps_mu_and_logvar(mu, logvar):
    return losses.gaussian_kl(logvar, mu)


@divergence.wrong("the other way round is wanted")
def other_direction(mu, logvar):
    p, q = Normal(torch.zeros_like(mu), torch.ones_like(mu)), Normal(mu, (0.5 * logvar).exp())
    return kl_divergence(p, q).sum(dim=1)


@divergence.wrong("Is logvar read as log σ?")
def reads_logvar_as_log_sigma(mu, logvar):
    return 0.5 * (mu.square() + (2 * logvar).exp() - 1 - 2 * logvar).sum(dim=1)


@divergence.wrong("for three numbers, is -1.5")
def forgets_the_exponential(mu, logvar):
    return 0.5 * (mu.square() + logvar.square() - 1 - logvar).sum(dim=1)


@divergence.wrong("it is -0.193 nats instead of 0.807. Is there a σ for a σ²?")
def sigma_without_the_square(mu, logvar):
    return 0.5 * (mu.square() + (0.5 * logvar).exp() - 1 - logvar).sum(dim=1)


@divergence.wrong("it is 0.153 nats instead of 0.807. Is there a σ for a σ²?")
def halves_logvar_everywhere(mu, logvar):
    return losses.gaussian_kl(mu, 0.5 * logvar)


@divergence.wrong("it is inf: what is divided by 0, or has no logarithm?")
def logarithm_of_the_logarithm(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar.log()).sum(dim=1)


@divergence.wrong("at σ = 1, mu = 1 it is 1.000 nats; 0.500 are wanted")
def half_of_one_part_only(mu, logvar):
    return (mu.square() + 0.5 * (logvar.exp() - 1 - logvar)).sum(dim=1)


@divergence.wrong("at σ = 3, mu = 2 it is")
def forgets_the_square_of_mu(mu, logvar):
    return 0.5 * (mu.abs() + logvar.exp() - 1 - logvar).sum(dim=1)


@divergence.wrong("for three numbers, is 0.3")
def free_bits(mu, logvar):
    return kl_parts(mu, logvar).clamp(min=0.1).sum(dim=1)


@divergence.wrong("wrong for a code of five")
def largest_number_only(mu, logvar):
    return kl_parts(mu, logvar).amax(dim=1)


@divergence.wrong("it changes the global random state")
def from_a_draw(mu, logvar):
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.rsample()
    return (q.log_prob(z) - Normal(0, 1).log_prob(z)).sum(dim=1)


@divergence.wrong("it is cut off from mu and logvar")
def without_gradient(mu, logvar):
    with torch.no_grad():
        return losses.gaussian_kl(mu, logvar)


@divergence.wrong("no gradient reaches logvar")
def detaches_logvar(mu, logvar):
    return losses.gaussian_kl(mu, logvar.detach())


@divergence.wrong("not its gradient for logvar: is a part detached?")
def detaches_the_variance(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp().detach() - 1 - logvar).sum(dim=1)


@divergence.wrong("it changes its input in place")
def exponential_in_place(mu, logvar):
    return -0.5 * (1 + logvar - mu.square() - logvar.exp_()).sum(dim=1)


@divergence.right
def as_usually_written(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=-1)


@divergence.right
def with_distributions(mu, logvar):
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return kl_divergence(Independent(Normal(mu, (0.5 * logvar).exp()), 1), Independent(prior, 1))


@divergence.right
def with_matrices(mu, logvar):
    prior = MultivariateNormal(torch.zeros_like(mu), torch.diag_embed(torch.ones_like(mu)))
    return kl_divergence(MultivariateNormal(mu, torch.diag_embed(logvar.exp())), prior)


@divergence.right
def with_sigma(mu, logvar):
    sigma = (0.5 * logvar).exp()
    return (-sigma.log() + (sigma**2 + mu**2) / 2 - 0.5).sum(1)


@divergence.right
def with_einsum(mu, logvar):
    return 0.5 * (torch.einsum("bd,bd->b", mu, mu) + (logvar.exp() - logvar).sum(dim=1) - mu.shape[1])


@divergence.right
def image_by_image(mu, logvar):
    return torch.stack([sum(kl_parts(m, v)) for m, v in zip(mu, logvar)])


# 5.3 VariationalAutoencoder


def model_with(elbo, **methods):
    """The exercise's class as the lesson gives it, with this elbo."""
    names = ("unit", "beta", "loss", "decode", "reconstruct", "forward")
    given = {name: vars(models.VariationalAutoencoder)[name] for name in names}
    return type("VariationalAutoencoder", (nn.Module,), given | {"elbo": elbo} | methods)


def wrong_elbo(message, **methods):
    return lambda elbo: vae.wrong(message)(model_with(elbo, **methods))


def right_elbo(elbo):
    return vae.right(model_with(elbo))


@wrong_elbo("not yet: nothing is drawn: all codes are mu")
def decodes_the_mean(self, x):
    mu, logvar = self.encode(x)
    return binary_cross_entropy(self.decode_logits(mu), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("in evaluation mode, nothing is drawn: all codes are mu")
def draws_in_training_only(self, x):
    mu, logvar = self.encode(x)
    z = models.reparameterize(mu, logvar) if self.training else mu
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("a sigmoid is applied twice")
def decodes_to_probabilities(self, x):
    mu, logvar = self.encode(x)
    return binary_cross_entropy(self.decode(models.reparameterize(mu, logvar)), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("784 times too small")
def mean_over_pixels(self, x):
    mu, logvar = self.encode(x)
    logits = self.decode_logits(models.reparameterize(mu, logvar))
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(dim=(1, 2, 3))
    return error, losses.gaussian_kl(mu, logvar)


@wrong_elbo("reconstruction is one number for the whole batch")
def averages_over_the_images(self, x):
    return tuple(term.mean() for term in models.VariationalAutoencoder.elbo(self, x))


@wrong_elbo("kl of one image has the shape (3,)")
def sums_kl_over_the_batch(self, x):
    mu, logvar = self.encode(x)
    logits = self.decode_logits(models.reparameterize(mu, logvar))
    return binary_cross_entropy(logits, x), kl_parts(mu, logvar).sum(dim=0)


@wrong_elbo("yours returns one Tensor")
def returns_the_sum(self, x):
    return sum(models.VariationalAutoencoder.elbo(self, x))


@wrong_elbo("yours returns 3")
def returns_image_mu_logvar(self, x):
    mu, logvar = self.encode(x)
    return self.decode(models.reparameterize(mu, logvar)), mu, logvar


@wrong_elbo("elbo returns None")
def forgets_to_return(self, x):
    models.VariationalAutoencoder.elbo(self, x)


@wrong_elbo("reconstruction has the wrong sign")
def log_likelihood(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return -reconstruction, kl


@wrong_elbo("kl has the wrong sign")
def bound_of_two_terms(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return reconstruction, -kl


@wrong_elbo("the two are in the wrong order")
def kl_first(self, x):
    return models.VariationalAutoencoder.elbo(self, x)[::-1]


@wrong_elbo("reconstruction holds the KL as well")
def adds_the_kl_already(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return reconstruction + kl, kl


@wrong_elbo("mu and logvar are taken for each other in kl")
def kl_of_logvar_and_mu(self, x):
    mu, logvar = self.encode(x)
    return models.VariationalAutoencoder.elbo(self, x)[0], losses.gaussian_kl(logvar, mu)


@wrong_elbo("kl changes from call to call")
def kl_of_the_draw(self, x):
    mu, logvar = self.encode(x)
    z = models.reparameterize(mu, logvar)
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(z, logvar)


@wrong_elbo("kl is 3 times too small")
def mean_over_the_code(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return reconstruction, kl / self.encode(x)[0].shape[1]


@wrong_elbo("kl is weighted by beta already")
def weighs_by_beta(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return reconstruction, self.beta * kl


@wrong_elbo("nats for a dark image instead of")
def kl_of_sigma(self, x):
    mu, logvar = self.encode(x)
    return models.VariationalAutoencoder.elbo(self, x)[0], losses.gaussian_kl(mu, 0.5 * logvar)


@wrong_elbo("nats on average over 1,000 draws")
def squared_error_instead(self, x):
    mu, logvar = self.encode(x)
    return squared_error(self.decode(models.reparameterize(mu, logvar)), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("logits and images have changed places")
def arguments_of_cross_entropy_swapped(self, x):
    mu, logvar = self.encode(x)
    return binary_cross_entropy(x, self.decode_logits(models.reparameterize(mu, logvar))), losses.gaussian_kl(
        mu, logvar
    )


@wrong_elbo("not yet: where σ is 3, 0.5, 0.01 the codes")
def logvar_halved_before(self, x):
    mu, logvar = self.encode(x)
    z = models.reparameterize(mu, 0.5 * logvar)
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("that is σ², not σ")
def variance_as_width(self, x):
    mu, logvar = self.encode(x)
    z = mu + torch.randn_like(mu) * logvar.exp()
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("have correlations up to 1.00")
def one_number_of_noise(self, x):
    mu, logvar = self.encode(x)
    z = mu + torch.randn(len(mu), 1, device=mu.device) * (0.5 * logvar).exp()
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("among 2,000 codes the number of different ones is 2:")
def noise_for_the_whole_batch(self, x):
    mu, logvar = self.encode(x)
    z = mu + torch.randn_like(mu[0]) * (0.5 * logvar).exp()
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("Is mu added as it is")
def decodes_the_prior(self, x):
    mu, logvar = self.encode(x)
    return binary_cross_entropy(self.decode_logits(torch.randn_like(mu)), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("no gradient of the reconstruction reaches mu and logvar:")
def detaches_the_code(self, x):
    mu, logvar = self.encode(x)
    z = models.reparameterize(mu, logvar).detach()
    return binary_cross_entropy(self.decode_logits(z), x), losses.gaussian_kl(mu, logvar)


@wrong_elbo("no gradient of the kl reaches mu and logvar")
def detaches_the_kl(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return reconstruction, kl.detach()


@wrong_elbo("no gradient of the reconstruction reaches mu and logvar and the decoder")
def without_any_gradient(self, x):
    with torch.no_grad():
        return models.VariationalAutoencoder.elbo(self, x)


@wrong_elbo("codes that were decoded give")
def best_of_two_draws(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return torch.minimum(reconstruction, models.VariationalAutoencoder.elbo(self, x)[0]), kl


@wrong_elbo("decode_logits is never called")
def compares_the_image_with_itself(self, x):
    return binary_cross_entropy(x, x), losses.gaussian_kl(*self.encode(x))


@wrong_elbo("right for equal images, but in a mixed batch off by")
def averages_and_expands(self, x):
    reconstruction, kl = models.VariationalAutoencoder.elbo(self, x)
    return reconstruction.mean().expand(len(x)), kl


def sum_over_the_batch(self, x):
    reconstruction, kl = (term.sum() for term in self.elbo(x))
    return {"loss": reconstruction + self.beta * kl, "reconstruction": reconstruction, "kl": kl}


def without_beta(self, x):
    reconstruction, kl = (term.mean() for term in self.elbo(x))
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def brighter(self, x):
    return self.decode(self.encode(x)[0]) + 0.1


def flat(self, x):
    return self.decode(self.encode(x)[0]).flatten(start_dim=1)


def decodes_a_draw(self, x):
    return self.decode(models.reparameterize(*self.encode(x)))


for case in (
    wrong_elbo("the reconstruction of loss should be the mean over the batch", loss=sum_over_the_batch),
    wrong_elbo("loss should be reconstruction + beta · kl", loss=without_beta),
    wrong_elbo("loss should return a dictionary", loss=lambda self, x: sum(self.elbo(x)).mean()),
    wrong_elbo("reconstruct should decode the mean", reconstruct=brighter),
    wrong_elbo("forward should decode the mean", forward=decodes_a_draw),
    wrong_elbo("what reconstruct makes of four images has the shape (4, 784)", reconstruct=flat),
):
    case(models.VariationalAutoencoder.elbo)


@vae.wrong("it should be a class, and an nn.Module")
class WithoutModule:
    elbo = models.VariationalAutoencoder.elbo


@right_elbo
def step_by_step(self, x):
    mu, logvar = self.encode(x)
    z = models.reparameterize(mu, logvar)
    logits = self.decode_logits(z)
    reconstruction = binary_cross_entropy(logits, x)
    kl = losses.gaussian_kl(mu, logvar)
    return reconstruction, kl


@vae.right
class WithAMethodForTheDraw(models.VariationalAutoencoder):
    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def elbo(self, x):
        mu, logvar = self.encode(x)
        logits = self.decode_logits(self.reparameterize(mu, logvar))
        return binary_cross_entropy(logits, x), losses.gaussian_kl(mu, logvar)


@right_elbo
def flat_images_of_784(self, x):
    mu, logvar = self.encode(x.view(-1, 784))
    logits = self.decode_logits(Normal(mu, (0.5 * logvar).exp()).rsample()).view(-1, 784)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x.view(-1, 784), reduction="none").sum(1)
    return [reconstruction, -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)]


@right_elbo
def from_probabilities(self, x):
    mu, logvar = self.encode(x)
    x_hat = self.decode(models.reparameterize(mu, logvar))
    return F.binary_cross_entropy(x_hat, x, reduction="none").sum(dim=(1, 2, 3)), losses.gaussian_kl(mu, logvar)


@right_elbo
def image_after_image(self, x):
    mu, logvar = self.encode(x)
    logits = torch.cat([self.decode_logits(models.reparameterize(m[None], v[None])) for m, v in zip(mu, logvar)])
    return binary_cross_entropy(logits, x), losses.gaussian_kl(mu, logvar)


@right_elbo
def average_of_two_draws(self, x):
    mu, logvar = self.encode(x)
    draws = [binary_cross_entropy(self.decode_logits(models.reparameterize(mu, logvar)), x) for _ in range(2)]
    return sum(draws) / 2, losses.gaussian_kl(mu, logvar)


@vae.right
class Subclass(models.VariationalAutoencoder):
    def elbo(self, x):
        kl = losses.gaussian_kl(*self.encode(x))
        return binary_cross_entropy(self.decode_logits(models.reparameterize(*self.encode(x))), x), kl


# 5.4 vae_loss


def with_kl(kl_of, elbo=models.VariationalAutoencoder.elbo):
    """The faulty loss with this KL in place of its own."""

    def vae_loss(model, x):
        mu, logvar = model.encode(x)
        reconstruction, kl = elbo(model, x)[0].mean(), kl_of(kl_parts(mu, logvar))
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    return vae_loss


def right_terms(model, x):
    return (term.mean() for term in model.elbo(x))


mend_loss.wrong("to do, the bug is still there: a batch of 4 images")(with_kl(lambda parts: parts.sum(dim=0).mean()))
mend_loss.wrong("to do, the bug is still there: a batch of 4 images")(with_kl(lambda parts: parts.sum()))
mend_loss.wrong("to do, the bug is still there: a batch of 4 images")(with_kl(lambda parts: parts.sum() / 128))
mend_loss.wrong("0.333 times")(with_kl(lambda parts: parts.sum(dim=0).mean() / len(parts)))
mend_loss.wrong("0.111 times")(with_kl(lambda parts: parts.mean() / parts.shape[1]))
mend_loss.wrong("0.00128 times. Here 4 images have 784 pixels")(with_kl(lambda parts: parts.sum(dim=1).mean() / 784))
mend_loss.wrong("-1 times")(with_kl(lambda parts: -parts.sum(dim=1).mean()))
mend_loss.wrong("the kl of vae_loss has the shape (4,)")(with_kl(lambda parts: parts.sum(dim=1)))
mend_loss.wrong("no gradient of the kl reaches mu and logvar")(with_kl(lambda parts: parts.sum(dim=1).mean().detach()))
mend_loss.wrong("the kl of vae_loss is a float")(with_kl(lambda parts: parts.sum(dim=1).mean().item()))


@mend_loss.wrong(": 4 times. Here 4 images have")
def sums_the_other_term_too(model, x):
    reconstruction, kl = model.elbo(x)
    reconstruction, kl = reconstruction.sum(), kl.mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("reconstruction is 0.8")
def mean_over_pixels_too(model, x):
    mu, logvar = model.encode(x)
    logits = model.decode_logits(models.reparameterize(mu, logvar))
    reconstruction, kl = F.binary_cross_entropy_with_logits(logits, x), losses.gaussian_kl(mu, logvar).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("loss should be reconstruction + kl")
def drops_the_kl(model, x):
    reconstruction, kl = right_terms(model, x)
    return {"loss": reconstruction, "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("something else has changed: nothing is drawn")
def decodes_mu(model, x):
    mu, logvar = model.encode(x)
    reconstruction, kl = binary_cross_entropy(model.decode_logits(mu), x).mean(), losses.gaussian_kl(mu, logvar).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("no gradient of the reconstruction reaches mu and logvar:")
def detaches_the_draw(model, x):
    mu, logvar = model.encode(x)
    logits = model.decode_logits(models.reparameterize(mu, logvar).detach())
    reconstruction, kl = binary_cross_entropy(logits, x).mean(), losses.gaussian_kl(mu, logvar).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("no gradient of the loss reaches")
def detaches_the_loss(model, x):
    reconstruction, kl = right_terms(model, x)
    return {"loss": (reconstruction + kl).detach(), "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("kl is ")
def only_where_sigma_is_small(model, x):
    mu, logvar = model.encode(x)
    reconstruction, _ = right_terms(model, x)
    kl = 0.5 * (mu.square() - 1 - logvar).sum(dim=1).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@mend_loss.wrong("vae_loss should return a dictionary")
def returns_a_number(model, x):
    return sum(right_terms(model, x))


@mend_loss.wrong("vae_loss returns None")
def returns_nothing(model, x):
    sum(right_terms(model, x))


@mend_loss.wrong("RecursionError")
def asks_the_model(model, x):
    return model.loss(x)


mend_loss.right(with_kl(lambda parts: parts.sum(dim=1).mean()))
mend_loss.right(with_kl(lambda parts: parts.mean(dim=0).sum()))
mend_loss.right(with_kl(lambda parts: parts.sum() / len(parts)))
mend_loss.right(with_kl(lambda parts: parts.mean() * parts.shape[-1]))


@mend_loss.right
def by_elbo(model, x):
    reconstruction, kl = right_terms(model, x)
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, "beta": 1.0}


@mend_loss.right
def with_sums_of_784(model, x):
    mu, logvar = model.encode(x.view(-1, 784))
    z = Normal(mu, (0.5 * logvar).exp()).rsample()
    logits = model.decode_logits(z).view(-1, 784)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x.view(-1, 784), reduction="sum") / x.size(0)
    kl = losses.gaussian_kl(mu, logvar).mean()
    return dict(loss=reconstruction + kl, reconstruction=reconstruction, kl=kl)


# 5.5 elbo_estimate


def at(code, reconstruction_sign=-1, kl_sign=-1):
    """The estimate at the code that this function makes of mu and logvar."""

    def elbo_estimate(model, x):
        mu, logvar = model.encode(x)
        reconstruction = binary_cross_entropy(model.decode_logits(code(mu, logvar)), x)
        return reconstruction_sign * reconstruction + kl_sign * losses.gaussian_kl(mu, logvar)

    return elbo_estimate


mend_estimate.wrong("the bug is still there: two calls both give")(at(lambda mu, logvar: mu))
mend_estimate.wrong("codes around")(at(lambda mu, logvar: torch.randn_like(mu)))
mend_estimate.wrong("that is σ², not σ")(at(std_is_the_variance))
mend_estimate.wrong("What makes σ of logvar?")(at(std_is_logvar))
mend_estimate.wrong("that is 1 whatever σ is")(at(forgets_sigma))
mend_estimate.wrong("the bug is still there: two calls both give")(at(adds_sigma))
mend_estimate.wrong("among 2,000 codes the number of different ones is 2:")(at(noise_shared_over_the_batch))
mend_estimate.wrong("have correlations up to 1.00")(at(noise_shared_over_the_code))
mend_estimate.wrong("the sign is wrong: these are losses")(at(models.reparameterize, 1, 1))
mend_estimate.wrong("by twice the KL: which sign has it?")(at(models.reparameterize, -1, 1))
mend_estimate.wrong("by the KL: is it missing?")(at(models.reparameterize, -1, 0))
mend_estimate.wrong("reconstruction has the wrong sign")(at(models.reparameterize, 1, -1))


@mend_estimate.wrong("the bug is still there: in evaluation mode two calls both give")
def draws_while_training(model, x):
    mu, logvar = model.encode(x)
    return at(lambda mu, logvar: models.reparameterize(mu, logvar) if model.training else mu)(model, x)


@mend_estimate.wrong("the bug is still there: two calls both give")
def by_reconstruct(model, x):
    return -binary_cross_entropy(model.reconstruct(x), x) - losses.gaussian_kl(*model.encode(x))


@mend_estimate.wrong("the estimate for one image has the shape (); (1,) is wanted")
def averages_over_images(model, x):
    return -sum(model.elbo(x)).mean()


@mend_estimate.wrong("is None. Is there a return?")
def estimates_for_itself(model, x):
    -sum(model.elbo(x))


@mend_estimate.wrong("a sigmoid is applied twice")
def pixels_before_logits(model, x):
    mu, logvar = model.encode(x)
    return -binary_cross_entropy(model.decode(models.reparameterize(mu, logvar)), x) - losses.gaussian_kl(mu, logvar)


@mend_estimate.wrong("for the codes that were decoded")
def mean_of_images(model, x):
    mu, logvar = model.encode(x)
    logits = sum(model.decode_logits(models.reparameterize(mu, logvar)) for _ in range(8)) / 8
    return -binary_cross_entropy(logits, x) - losses.gaussian_kl(mu, logvar)


@mend_estimate.wrong("for the codes that were decoded")
def importance_weighted(model, x):
    return torch.stack([-sum(model.elbo(x)) for _ in range(4)]).logsumexp(dim=0) - np.log(4)


@mend_estimate.wrong("but in a mixed batch off by")
def average_kl(model, x):
    reconstruction, kl = model.elbo(x)
    return -reconstruction - kl.mean()


@mend_estimate.wrong("two calls both give")
def seeded(model, x):
    torch.manual_seed(0)
    return -sum(model.elbo(x))


@mend_estimate.wrong("784 times too small")
def divides_by_pixels(model, x):
    reconstruction, kl = model.elbo(x)
    return -reconstruction / 784 - kl


mend_estimate.right(at(models.reparameterize))
mend_estimate.right(at(with_rsample))


@mend_estimate.right
def minus_the_terms(model, x):
    reconstruction, kl = model.elbo(x)
    return -(reconstruction + kl)


@mend_estimate.right
@torch.no_grad()
def average_over_ten_draws(model, x):
    return torch.stack([-sum(model.elbo(x)) for _ in range(10)]).mean(dim=0)


@mend_estimate.right
def five_draws_at_once(model, x):
    mu, logvar = model.encode(x)
    z = Normal(mu, (0.5 * logvar).exp()).sample((5,))
    logits = model.decode_logits(z.flatten(0, 1)).view(5, -1, 784)
    images = x.view(-1, 784).expand(5, -1, -1)
    log_p = -F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(-1).mean(0)
    return log_p - losses.gaussian_kl(mu, logvar)


@mend_estimate.right
def kl_from_the_draw(model, x):
    mu, logvar = model.encode(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = q.rsample()
    log_p = -binary_cross_entropy(model.decode_logits(z), x) + Normal(0, 1).log_prob(z).sum(dim=1)
    return log_p - q.log_prob(z).sum(dim=1)


@mend_estimate.right
def one_after_the_other(model, x):
    return torch.cat([-sum(model.elbo(image[None])) for image in x])


# 5.6 prediction


@predict.wrong("a VAE needs no Gaussian fitted afterwards")
def by_the_vae():
    return "vae"


@predict.wrong("but not that strong")
def by_the_autoencoder():
    return "autoencoder"


@predict.wrong('"dense" is none of')
def by_a_model():
    return "dense"


@predict.wrong("you answer None;")
def says_it_only():
    print("alike")


@predict.wrong("you answer True;")
def yes():
    return True


@predict.wrong("you answer ('vae', 'autoencoder');")
def both():
    return "vae", "autoencoder"


@predict.right
def with_a_capital():
    return " Alike"


@predict.right
def by_counting():
    distances = {"vae": 150, "autoencoder": 140}
    near, far = sorted(distances, key=distances.get)
    return near if distances[near] < distances[far] / 2 else "alike"


test_wrong, test_right, test_galleries = gallery_tests(galleries)


def test_solutions_agree_with_pytorch():
    mu, logvar = torch.randn(2, 4, 20)
    q = Normal(mu, (0.5 * logvar).exp())
    torch.testing.assert_close(losses.gaussian_kl(mu, logvar), kl_divergence(q, Normal(0, 1)).sum(dim=1))
    torch.manual_seed(0)
    z = models.reparameterize(mu, logvar)
    torch.manual_seed(0)
    torch.testing.assert_close(z, q.rsample())
