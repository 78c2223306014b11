"""Pictures of predicted occupancy on slices through the space around a scan."""

import numpy as np
import torch
from torch import Tensor, nn

from peridot.models.objectives import OccupancyReconstruction
from peridot.models.objectives.occupancy import mean_logits
from peridot.models.students import Supports
from peridot.visualization.pictures import DARK, caption, heat_colors

POINT = (255, 60, 60)
# colored by occupancy are places with a support, the others stay dark
UNKNOWN = (40, 40, 40)
# places whose occupancy is predicted together
CHUNK = 1 << 14


@torch.no_grad()
def predict_occupancy(
    objective: OccupancyReconstruction, head: nn.Module, supports: Supports, position: Tensor, scan: int = 0
) -> Tensor:
    """Probability that matter is at a place: sigmoid of the mean logit of its supports.

    Args:
        objective: With the decoder.
        head: The head that gives latent vectors.
        supports: Of one forward pass of the student.
        position: Float (M, 3) in meters.
        scan: Sample of the batch.

    Returns:
        Float32 (M,), NaN at places without a support.
    """
    generator = torch.Generator(position.device).manual_seed(0)
    parts = []
    for places in position.split(CHUNK):
        own = torch.full((len(places),), scan, device=places.device)
        place, predicted = objective.predict(supports, places, own, head.embed_student, generator)
        parts.append(mean_logits(place, predicted[:, 0], len(places)).sigmoid())
    return torch.cat(parts)


def slice_places(
    kind: str, level: float, extent: float, heights: tuple[float, float], step: float, device='cpu'
) -> Tensor:
    """Places on a slice.

    Args:
        kind: 'horizontal': x to the right, y up; 'x' or 'y': that axis to the right, z up.
        level: Height of a horizontal slice; of a vertical one its place on the other axis of the ground.
        extent: Half the width of the slice in meters.
        heights: Lowest and highest z of a vertical slice.
        step: Meters between places.

    Returns:
        Float (rows, columns, 3), the first row at the upper end.
    """
    right = torch.arange(-extent + step / 2, extent, step, device=device)
    top = right if kind == 'horizontal' else torch.arange(heights[0] + step / 2, heights[1], step, device=device)
    up, across = torch.meshgrid(top.flip(0), right, indexing='ij')
    fixed = torch.full_like(up, level)
    order = {'horizontal': (across, up, fixed), 'x': (across, fixed, up), 'y': (fixed, across, up)}[kind]
    return torch.stack(order, -1)


def occupancy_slice(
    objective: OccupancyReconstruction,
    head: nn.Module,
    supports: Supports,
    xyz: Tensor,
    kind: str = 'horizontal',
    level: float = -1.0,
    extent: float = 20.0,
    heights: tuple[float, float] = (-3.0, 4.0),
    step: float = 0.2,
    zoom: int = 4,
) -> np.ndarray:
    """Predicted occupancy on a slice, from dark blue (empty) to yellow (matter), with the points near it in red.

    Args:
        objective: See `predict_occupancy`.
        head: Ditto.
        supports: Ditto.
        xyz: Float (N, 3) points of the scan.
        kind: See `slice_places`.
        level: Ditto.
        extent: Ditto.
        heights: Ditto.
        step: Ditto.
        zoom: Pixels of a place along each axis.

    Returns:
        uint8 (rows * zoom, columns * zoom, 3).
    """
    places = slice_places(kind, level, extent, heights, step, xyz.device)
    occupancy = predict_occupancy(objective, head, supports, places.view(-1, 3))
    colors = heat_colors(occupancy.nan_to_num(0.0))
    colors[occupancy.isnan().cpu().numpy()] = UNKNOWN
    picture = colors.reshape(*places.shape[:2], 3).repeat(zoom, 0).repeat(zoom, 1)
    fixed, right, up = {'horizontal': (2, 0, 1), 'x': (1, 0, 2), 'y': (0, 1, 2)}[kind]
    near = xyz[(xyz[:, fixed] - level).abs() < step].cpu().numpy()
    top, left = (float(places[0, 0, axis]) for axis in (up, right))
    row = np.floor(((top - near[:, up]) / step + 0.5) * zoom).astype(int)
    column = np.floor(((near[:, right] - left) / step + 0.5) * zoom).astype(int)
    shown = (row >= 1) & (row < len(picture)) & (column >= 1) & (column < picture.shape[1])
    for back in ((0, 0), (0, 1), (1, 0), (1, 1)):
        picture[row[shown] - back[0], column[shown] - back[1]] = POINT
    return picture


def occupancy_picture(
    objective: OccupancyReconstruction, head: nn.Module, supports: Supports, xyz: Tensor, level: float = -1.0, **slices
) -> np.ndarray:
    """A horizontal slice above a vertical one along each axis of the ground: uint8 (H, W, 3).

    Args:
        objective: See `predict_occupancy`.
        head: Ditto.
        supports: Ditto.
        xyz: Float (N, 3) points of the scan.
        level: Height of the horizontal slice in meters, in the lidar's frame.
        **slices: Settings of `occupancy_slice`.
    """
    rows = []
    for kind, where, text in (
        ('horizontal', level, f'z = {level:g} m, y up'),
        ('x', 0.0, 'y = 0, z up'),
        ('y', 0.0, 'x = 0, z up'),
    ):
        part = occupancy_slice(objective, head, supports, xyz, kind, where, **slices)
        rows += [caption(part, text), np.full((4, part.shape[1], 3), DARK, np.uint8)]
    return np.vstack(rows[:-1])
