import numpy as np
import pytest
from streets.surface import wrapped
from streets.vectors import by_column, dot, take_rows, tinted


def test_fast_forms_have_the_bits_of_the_plain_ones():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1000, 3)).astype(np.float32)
    strength, rows = a[:, 0].copy(), rng.integers(1000, size=300)
    assert np.array_equal(dot(a, b), (a * b).sum(1))
    assert np.array_equal(dot(by_column(a), by_column(b)), (a * b).sum(1))
    assert np.array_equal(take_rows(by_column(a), rows), a[rows])
    assert np.array_equal(tinted(strength, b[0]), strength[:, None] * b[0])


@pytest.mark.parametrize('period', [1, 512])
def test_wrapped_is_the_modulus(period):
    x = np.random.default_rng(0).normal(scale=3000, size=1000)
    for values in (x, x.astype(np.float32), np.float32([0, -0.0, 512, -512, 1e-9, -1e-9])):
        assert np.array_equal(wrapped(values, period), np.mod(values, period))
