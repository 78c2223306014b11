import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peridot.models.functional import vmf_concentration, vmf_log_normalizer
from scipy.special import ive

KAPPAS = np.logspace(-2, 4, 200)


def log_bessel(order, kappa):
    """log I_order(kappa), as the normalizer implies it."""
    dim = 2 * order + 2
    log_c = vmf_log_normalizer(kappa.double(), dim)
    return (order * kappa.double().log() - dim / 2 * math.log(2 * math.pi) - log_c).to(kappa.dtype)


def negative_log_likelihood(x, mean, kappa):
    return -vmf_log_normalizer(kappa, x.shape[1]) - kappa * (x * mean).sum(1)


def exact_log_bessel(order, kappa):
    # scipy's I_nu(x) e^-x underflows for tiny arguments: the leading term is exact to 1e-6 there
    scaled = ive(order, kappa)
    leading = order * np.log(kappa / 2) - math.lgamma(order + 1) + kappa**2 / 4 / (order + 1)
    return np.where(scaled > 1e-280, np.log(np.maximum(scaled, 1e-300)) + kappa, leading)


@pytest.mark.parametrize(('dim', 'tolerance'), [(128, 1e-9), (64, 1e-8), (32, 1e-7), (16, 2e-6), (8, 1e-4)])
def test_log_bessel_equals_scipy(dim, tolerance):
    order = dim / 2 - 1
    ours = log_bessel(order, torch.from_numpy(KAPPAS)).numpy()
    np.testing.assert_allclose(ours, exact_log_bessel(order, KAPPAS), rtol=1e-12, atol=tolerance)


def test_log_bessel_known_values():
    # orders are not interchangeable: log I_0 would be 3.30, 17.59, 40.20, 63.98, 136.61
    ours = log_bessel(31, torch.tensor([5.0, 20, 43, 67, 140]))
    torch.testing.assert_close(ours, torch.tensor([-49.49, -3.72, 29.35, 56.88, 133.18]), atol=0.01, rtol=0)


def test_normalizer_equals_scipy():
    ours = vmf_log_normalizer(torch.from_numpy(KAPPAS), 64).numpy()
    exact = 31 * np.log(KAPPAS) - 32 * math.log(2 * math.pi) - exact_log_bessel(31, KAPPAS)
    np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize('dim', [16, 64])
def test_normalizer_at_zero_is_the_uniform_density(dim):
    uniform = math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)
    assert vmf_log_normalizer(torch.zeros(()), dim).item() == pytest.approx(uniform, abs=1e-4)


def test_float32_is_finite_from_zero_to_ten_thousand():
    kappa = torch.cat([torch.zeros(1), torch.logspace(-30, 4, 500)])
    values = vmf_log_normalizer(kappa, 64)
    assert values.dtype is torch.float32
    assert values.isfinite().all()
    assert (values.diff() <= 0).all()  # a sharper density has ever more negative logarithms


def test_float32_has_the_full_precision_of_its_result():
    kappa = torch.logspace(-3, 4, 100)
    exact = vmf_log_normalizer(kappa.double(), 64).float()
    torch.testing.assert_close(vmf_log_normalizer(kappa, 64), exact, rtol=0, atol=0)


def test_density_integrates_to_one():
    # on the sphere of R^6 the cosine w = mu.x has the density C(kappa) e^(kappa w) (1 - w^2)^(3/2) |S^4|
    w = torch.linspace(-1, 1, 200001, dtype=torch.float64)
    area = 2 * math.pi**2.5 / math.gamma(2.5)
    for kappa in (0.0, 3.0, 30.0):
        log_c = vmf_log_normalizer(torch.tensor(kappa, dtype=torch.float64), 6)
        density = torch.exp(log_c + kappa * w) * (1 - w**2) ** 1.5 * area
        assert torch.trapezoid(density, w).item() == pytest.approx(1, abs=2e-3)


def test_few_dimensions_are_refused():
    with pytest.raises(ValueError, match='4 dimensions'):
        vmf_log_normalizer(torch.ones(1), 2)


def test_concentration_known_values():
    resultant = torch.tensor([0.1, 0.3, 0.5, 0.632, 0.8, 0.9])
    expected = torch.tensor([6.46, 21.07, 42.50, 66.93, 140.80, 299.32])
    torch.testing.assert_close(vmf_concentration(resultant, 64), expected, atol=0.01, rtol=0)


def test_concentration_at_the_ends():
    ends = vmf_concentration(torch.tensor([0.0, 1 - 1e-7, 1.0, 1.0 + 1e-6]), 64)
    assert ends[0] == 0
    assert ends.isfinite().all()


def test_concentration_reproduces_the_resultant():
    # A_64(kappa) = I_32 / I_31 is the mean resultant length of the distribution
    for r in (0.1, 0.5, 0.9):
        kappa = vmf_concentration(torch.tensor(r, dtype=torch.float64), 64)
        ratio = (log_bessel(32, kappa) - log_bessel(31, kappa)).exp()
        assert ratio.item() == pytest.approx(r, abs=1e-3)


def test_golden_vmf(golden):
    arrays = golden('vmf')
    x = torch.from_numpy(arrays['x']).requires_grad_()
    resultant = torch.from_numpy(arrays['mean'])  # of a length below one: the concentration comes from it
    kappa = vmf_concentration(resultant.norm(), x.shape[1])
    assert kappa.item() == pytest.approx(float(arrays['kappa']), rel=1e-5)
    loss = negative_log_likelihood(x, F.normalize(resultant, dim=0), kappa).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays['nll_exact']), abs=1e-5)
    torch.testing.assert_close(x.grad, torch.from_numpy(arrays['grad_x']), atol=1e-7, rtol=1e-5)
