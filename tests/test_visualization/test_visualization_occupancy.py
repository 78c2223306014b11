"""Slices of predicted occupancy: a decoder that is known, places that are known."""

from functools import partial

import numpy as np
import pytest
import torch
from peridot.models.heads import LatentHead
from peridot.models.objectives import OccupancyReconstruction
from peridot.models.students import VoxelFeatures
from peridot.visualization.colors import heat_colors
from peridot.visualization.occupancy import (
    POINT,
    UNKNOWN,
    Slice,
    occupancy_figure,
    occupancy_slice,
    predict_occupancy,
)
from tiny import connected

FREE, OCCUPIED = heat_colors(torch.tensor([0.0, 1.0]))


@pytest.fixture
def wall():
    """A decoder that says occupied at x > 0 of each support, and supports along the line y = 2 at x = 5."""
    objective, head = connected(OccupancyReconstruction(), 4), LatentHead(2, channels=4)
    for parameter in (*objective.parameters(), *head.parameters()):
        torch.nn.init.zeros_(parameter)
    decoder = objective.decoder
    with torch.no_grad():
        # ReLU(dx) - ReLU(-dx), both carried through the layers
        decoder.fc_in.weight[:2, 4] = torch.tensor([1.0, -1.0])
        for layer in decoder.mlp_layers:
            layer.weight.copy_(torch.eye(4))
        decoder.fc_out.weight[0, :2] = torch.tensor([100.0, -100.0])
    xyz = torch.stack([torch.full((40,), 5.0), torch.linspace(-4, 4, 40), torch.zeros(40)], 1)
    features = VoxelFeatures(torch.zeros(40, 2), torch.arange(40))
    supports = features.supports(xyz, torch.zeros(40, dtype=torch.int64))
    return partial(predict_occupancy, objective, head, supports), xyz


def test_probability_is_that_of_the_mean_logit(wall):
    predict, _ = wall
    places = torch.tensor([[5.5, 0, 0], [4.5, 0, 0], [5.0, 0, 0], [9.0, 0, 0], [5.01, 1, 0]])
    occupancy = predict(places)
    assert occupancy[:2].tolist() == [1.0, 0.0] or torch.allclose(occupancy[:2], torch.tensor([1.0, 0]), atol=1e-6)
    assert occupancy[2].item() == pytest.approx(0.5)
    assert occupancy[3].isnan()
    assert occupancy[4].item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=1e-3)


def test_places_of_slices():
    horizontal = Slice('horizontal', -1.0, 10.0, step=0.5).positions()
    assert horizontal.shape == (40, 40, 3)
    torch.testing.assert_close(horizontal[0, 0], torch.tensor([-9.75, 9.75, -1]))
    along_x, along_y = (Slice(kind, 2.0, 10.0, (-3, 4), 0.5).positions() for kind in 'xy')
    assert along_x.shape == along_y.shape == (14, 40, 3)
    torch.testing.assert_close(along_x[0, -1], torch.tensor([9.75, 2, 3.75]))
    torch.testing.assert_close(along_y[-1, 0], torch.tensor([2.0, -9.75, -2.75]))


def test_wall_on_a_slice(wall):
    figure = occupancy_slice(*wall, Slice(level=0.0, extent=10.0, step=0.5))
    assert figure.shape == (160, 160, 3) and figure.dtype == np.uint8
    at = lambda x, y: figure[int((10 - y) / 0.5 * 4), int((x + 10) / 0.5 * 4)].tolist()  # noqa: E731
    assert at(5.6, 0.2) == OCCUPIED.tolist()
    assert at(4.4, 0.2) == FREE.tolist()
    assert at(-5, 0.2) == list(UNKNOWN)
    # the points themselves
    red = np.argwhere((figure == POINT).all(2))
    assert len(red) > 20 and set(red[:, 1]) <= {119, 120, 121}
    assert red[:, 0].min() >= 47 and red[:, 0].max() <= 113


def test_three_slices_in_a_figure(wall):
    figure = occupancy_figure(*wall, Slice(level=0.0, extent=10.0, step=0.5, heights=(-3.0, 3.0), zoom=2))
    assert figure.shape == (80 + 24 + 24 + 2 * 4, 80, 3)
