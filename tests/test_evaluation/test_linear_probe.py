import resource
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from peridot.evaluation import LinearProbeLoop, fit_linear_probe, linear_probe
from peridot.evaluation.linear_probe import balanced_rows, build_fit_dataloader
from peridot.registry import DATASETS
from peridot.structures import Pairs
from peridot.visualization.colors import pca_colors, similarity_colors
from peridot.visualization.figures import TopView, draw_from_above, draw_on_images, tile
from processes import in_processes


def blobs(seed: int, n: int = 3000, spread: float = 0.3):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.tensor([[2.0, 0, 0, 5], [0, 2, 0, 5], [0, 0, 2, 5]])
    labels = torch.randint(3, (n,), generator=generator)
    # very different scales: only standardization makes one learning rate fit all channels
    scale = torch.tensor([1.0, 100.0, 0.01, 1.0])
    return (centers[labels] + spread * torch.randn(n, 4, generator=generator)) * scale, labels


def test_probe_separates_blobs_and_repeats():
    features, labels = blobs(0)
    first, second = (fit_linear_probe(features, labels, 3) for _ in range(2))
    held_out, truth = blobs(1)
    assert (first(held_out).argmax(1) == truth).float().mean() > 0.96
    assert torch.equal(first(held_out), second(held_out))
    assert not any(p.requires_grad for p in first.parameters())


def test_features_of_many_chunks_are_standardized_and_fitted_as_one(monkeypatch):
    features, labels = blobs(0)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    features, labels = features[shuffled].half(), labels[shuffled]
    std, mean = linear_probe.std_mean(features, 'cpu')
    expected = torch.std_mean(features.double(), dim=0)
    assert torch.allclose(std.double(), expected[0], rtol=1e-6) and torch.allclose(
        mean.double(), expected[1], rtol=1e-6
    )
    whole = fit_linear_probe(features, labels, 3)
    monkeypatch.setattr(linear_probe, 'CHUNK_BYTES', 8 * 700)
    assert linear_probe.chunk_bounds(features) == [(0, 700), (700, 1400), (1400, 2100), (2100, 2800), (2800, 3000)]
    for settings in ({}, dict(balanced=True)):
        probe = fit_linear_probe(features, labels, 3, **settings)
        held_out, truth = blobs(1)
        assert (probe(held_out).argmax(1) == truth).float().mean() > 0.96
        assert (probe(held_out).argmax(1) == whole(held_out).argmax(1)).float().mean() > 0.99


def test_rows_of_scans_are_stacked_in_the_given_order():
    scans = [(dict(a=torch.full((n, 2), float(n)), b=torch.zeros(n, 1)), torch.zeros(n)) for n in (3, 1, 2)]
    rows = linear_probe.stacked(scans, 'a', torch.tensor([5, 0, 2, 1, 4, 3]))
    assert rows[:, 0].tolist() == [3.0, 1.0, 3.0, 2.0, 2.0, 3.0]
    assert [list(features) for features, _ in scans] == [['b']] * 3


def memory_of_a_fit(_: int) -> tuple[float, float]:
    """Peak memory in MB above that at the start, and that of the features."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    loop = SimpleNamespace(num_classes=4, beside=['mlp'], _device=lambda: torch.device('cpu'))
    labels = torch.randint(4, (4096,))
    before = peak()
    scans = [(dict(features=torch.randn(4096, 256).half()), labels) for _ in range(50)]
    LinearProbeLoop._fit(loop, scans)
    return peak() - before, 50 * 4096 * 256 * 2 / 2**20


def test_features_are_in_memory_once(monkeypatch, tmp_path):
    monkeypatch.setattr(linear_probe, 'CHUNK_BYTES', 1 << 24)
    monkeypatch.setattr(linear_probe, 'fit_linear_probe', partial(fit_linear_probe, epochs=1))
    ((peak, features),) = in_processes(memory_of_a_fit, 1, tmp_path)
    # those of the scans, and these; in float32, and with a copy more, they would take 600 MB
    assert features == 100 and peak < 400, peak


def test_numbers_beyond_half_precision_stay_numbers():
    assert linear_probe._half(torch.tensor([1e6, -1e30, 2.0])).tolist() == [65504.0, -65504.0, 2.0]


def test_probe_learns_nothing_from_noise():
    _, labels = blobs(0)
    features = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(5))
    held_out, truth = torch.randn(3000, 4, generator=torch.Generator().manual_seed(6)), blobs(1)[1]
    assert (fit_linear_probe(features, labels, 3)(held_out).argmax(1) == truth).float().mean() < 0.45


def test_probe_survives_a_dead_channel():
    features, labels = blobs(0)
    features[:, 2] = 7.0
    assert fit_linear_probe(features, labels, 3)(features).isfinite().all()


def test_a_hidden_layer_separates_what_no_line_can():
    features = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    labels = (features.prod(1) > 0).long()
    state = torch.get_rng_state()
    line, mlp = (fit_linear_probe(features, labels, 2, epochs=60, hidden=units) for units in (0, 32))
    right = [(probe(features).argmax(1) == labels).float().mean() for probe in (line, mlp)]
    assert right[0] < 0.6 and right[1] > 0.9
    assert torch.equal(torch.get_rng_state(), state)


def test_balanced_sampling_finds_a_rare_class():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(20000, generator=generator) < 0.01).long()
    features = torch.randn(20000, 1, generator=generator) + labels[:, None]
    plain, balanced = (fit_linear_probe(features, labels, 3, balanced=way) for way in (False, True))
    recall = [(probe(features).argmax(1) == 1)[labels == 1].float().mean() for probe in (plain, balanced)]
    assert recall[0] < 0.1 and recall[1] > 0.5
    drawn = labels[balanced_rows(labels, generator)].bincount()
    assert len(drawn) == 2 and abs(drawn[0] / 10000 - 1) < 0.05


def test_pca_colors_separate_groups():
    features, labels = blobs(0, spread=0.01)
    colors = pca_colors(features / torch.tensor([1.0, 100.0, 0.01, 1.0])).astype(float)
    means = np.stack([colors[labels == k].mean(0) for k in range(3)])
    spread = max(colors[labels == k].std() for k in range(3))
    assert colors.shape == (3000, 3) and np.linalg.norm(means[0] - means[1]) > 50 > spread / 10


def test_pca_colors_of_an_overflowing_network():
    features = torch.full((5, 4), 3e38)
    features[0], features[1] = torch.inf, torch.nan
    assert pca_colors(features).shape == (5, 3)


def test_similarity_is_highest_at_the_query():
    features = torch.eye(3).repeat_interleave(2, 0)
    colors = similarity_colors(features, 2).astype(int)
    assert (colors[2] == colors[3]).all() and not (colors[2] == colors[0]).all()


def test_points_are_drawn_where_they_are():
    colors = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    above = draw_from_above(np.array([[0.0, 20.0, 0], [-20.0, 0.0, 0]]), colors, TopView(40, 80))
    assert (above[20, 40] == colors[0]).all()  # 20 m ahead: half way up
    assert (above[40, 20] == colors[1]).all()  # 20 m to the left

    pairs = Pairs(point=torch.tensor([1]), camera=torch.tensor([1]), position=torch.tensor([[3.2, 4.8]]))
    images = draw_on_images(np.zeros((2, 8, 9, 3), np.uint8), pairs, colors, radius=1)
    assert (images[1, 3, 5] == colors[1]).all()
    assert images.astype(int).sum() == 255


def test_tile_keeps_reading_order():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 4, 3), np.uint8)
    grid = tile(images, 2)
    assert grid.shape == (4, 8, 3)
    assert grid[0, 0, 0] == 0 and grid[0, 4, 0] == 1 and grid[2, 0, 0] == 2 and grid[2, 4, 0] == 0


@DATASETS.register_module()
class TenNumbers(BaseDataset):
    def load_data_list(self) -> list[dict]:
        return [dict(number=number) for number in range(10)]


@pytest.mark.parametrize('count, numbers', [(3, [0, 3, 6]), (20, list(range(10)))])
def test_probe_is_fitted_on_so_many_scans(count, numbers):
    sampler = dict(type='DefaultSampler', shuffle=False)
    settings = dict(dataset=dict(type='peridot.TenNumbers'), sampler=sampler, batch_size=1, num_workers=0)
    assert [number for batch in build_fit_dataloader(settings, count) for number in batch['number']] == numbers
