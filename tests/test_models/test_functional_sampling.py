import math

import numpy as np
import pytest
import torch
from peridot.models.functional import (
    density_category_sampling,
    density_category_weights,
    range_bins,
    range_density,
    sample_uniformly,
    sample_without_replacement,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def scan(size=2000, classes=5, seed=0):
    random = np.random.default_rng(seed)
    bins = np.floor(random.gamma(2, 80, size)).astype(np.int64)
    return torch.from_numpy(bins), torch.from_numpy(random.integers(0, classes, size) ** 2)


def dense_density(bins):
    values = bins.double().numpy()
    h = 1.06 * values.std(ddof=1) * len(values) ** -0.2
    kernel = np.exp(-0.5 * ((values[:, None] - values[None]) / h) ** 2)
    return kernel.sum(1) / (len(values) * h * math.sqrt(2 * math.pi))


def test_density_equals_sum_over_all_elements():
    bins, _ = scan()
    np.testing.assert_allclose(range_density(bins).numpy(), dense_density(bins), rtol=1e-5)


def test_density_of_few_elements_far_apart():
    bins = torch.tensor([3, 3, 900, 901, 5000])
    np.testing.assert_allclose(range_density(bins).numpy(), dense_density(bins), rtol=1e-5)


def test_weights_are_inverse_to_density_and_label_count():
    bins, labels = scan()
    counts = np.bincount(labels.numpy())[labels.numpy()]
    expected = 1 / (dense_density(bins) * counts)
    np.testing.assert_allclose(density_category_weights(bins, labels).numpy(), expected, rtol=1e-5)


def test_equal_ranges_leave_the_label_alone_to_decide():
    labels = torch.tensor([0, 0, 0, 1])
    weights = density_category_weights(torch.full((4,), 7), labels)
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1]))


@pytest.mark.parametrize('size', [0, 1])
def test_hardly_any_element(size):
    index = torch.zeros(size, dtype=torch.int64)
    assert len(density_category_sampling(index, index, 10, generator())) == size


def test_fewer_elements_than_wanted_gives_each_once():
    bins, labels = scan(30)
    assert sorted(density_category_sampling(bins, labels, 100, generator()).tolist()) == list(range(30))


def test_draws_differ_from_each_other_and_repeat_with_the_seed():
    bins, labels = scan()
    drawn = density_category_sampling(bins, labels, 500, generator(1))
    assert len(drawn.unique()) == 500
    assert drawn.tolist() == density_category_sampling(bins, labels, 500, generator(1)).tolist()
    assert drawn.tolist() != density_category_sampling(bins, labels, 500, generator(2)).tolist()


def test_absurd_range_shares_the_last_bin():
    bins = torch.tensor([0, 1, 2, 2**40])
    assert range_density(bins).isfinite().all()


def test_unusable_weights_are_never_drawn():
    weights = torch.tensor([1.0, float('nan'), 2.0, float('inf'), 0.0, -1.0, 3.0])
    assert sorted(sample_without_replacement(weights, 7, generator()).tolist()) == [0, 2, 6]


def test_single_draws_follow_the_weights():
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    g = generator()
    counts = np.zeros(4)
    for _ in range(4000):
        counts[sample_without_replacement(weights, 1, g).item()] += 1
    np.testing.assert_allclose(counts / 4000, [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_pairs_of_draws_follow_successive_drawing():
    # P(first two are {a, b}) without replacement: w_a w_b (1 / (1 - w_a) + 1 / (1 - w_b))
    w = [0.1, 0.2, 0.3, 0.4]
    g = generator(3)
    counts = {}
    for _ in range(5000):
        key = tuple(sorted(sample_without_replacement(torch.tensor(w), 2, g).tolist()))
        counts[key] = counts.get(key, 0) + 1
    for (a, b), count in counts.items():
        assert count / 5000 == pytest.approx(w[a] * w[b] * (1 / (1 - w[a]) + 1 / (1 - w[b])), abs=0.03)


def test_rare_classes_and_far_points_are_drawn_more_often():
    random = np.random.default_rng(0)
    bins = torch.from_numpy(np.concatenate([random.integers(0, 100, 9000), random.integers(100, 700, 1000)]))
    labels = torch.from_numpy((random.random(10000) < 0.05).astype(np.int64))
    # few enough that the rare ones are not exhausted
    drawn = torch.cat([density_category_sampling(bins, labels, 40, generator(i)) for i in range(10)])
    assert 0.35 < labels[drawn].float().mean() < 0.65  # from 5 %
    assert (bins[drawn] >= 100).float().mean() > 0.6  # from 10 %


def test_uniform_draws():
    drawn = sample_uniformly(1000, 300, generator(), torch.device('cpu'))
    assert len(drawn.unique()) == 300
    assert len(sample_uniformly(5, 300, generator(), torch.device('cpu'))) == 5
    assert len(sample_uniformly(0, 300, generator(), torch.device('cpu'))) == 0


def test_range_bins_are_floors_of_the_horizontal_range():
    xyz = torch.tensor([[3.0, 4.0, 100.0], [0.05, 0.0, 0.0], [-0.3, 0.4, 2.0], [1e9, 0.0, 0.0]])
    assert range_bins(xyz, 0.25).tolist() == [20, 0, 2, 65535]


def test_readings_that_are_no_numbers_do_no_harm():
    xyz = torch.tensor([[float('nan'), 1.0, 0.0], [float('inf'), 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert range_bins(xyz, 0.25).tolist() == [0, 65535, 4]


def test_golden_density_category_sampling(golden):
    arrays = golden('density_category_sampling')
    bins, labels = torch.from_numpy(arrays['rho']).long(), torch.from_numpy(arrays['labels'])
    np.testing.assert_allclose(range_density(bins).numpy(), arrays['density'], rtol=1e-5)
    weights = density_category_weights(bins, labels)
    np.testing.assert_allclose((weights / weights.sum()).numpy(), arrays['probability'], rtol=1e-5)
