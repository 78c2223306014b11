"""Figures of predicted occupancy on slices through the space around a scan."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from peridot.models.objectives import OccupancyReconstruction
from peridot.models.objectives.occupancy import mean_logits
from peridot.models.students import Supports
from peridot.visualization.colors import heat_colors
from peridot.visualization.figures import DARK, caption

POINT = (255, 60, 60)
# color of positions without a support, whose occupancy is not predicted
UNKNOWN = (40, 40, 40)
# number of positions whose occupancy is predicted together
CHUNK = 1 << 14


@torch.no_grad()
def predict_occupancy(
    objective: OccupancyReconstruction, head: nn.Module, supports: Supports, position: Tensor
) -> Tensor:
    """Probability that a position is occupied: sigmoid of the mean logit of its supports.

    Args:
        objective: The objective, which has the decoder.
        head: Head that gives latent vectors.
        supports: Supports of one forward pass of the student.
        position: Float (M, 3), meters, in the first scan of the batch.

    Returns:
        Float32 (M,), NaN at positions without a support.
    """
    generator = torch.Generator(position.device).manual_seed(0)
    parts = []
    for chunk in position.split(CHUNK):
        scan = torch.zeros(len(chunk), dtype=torch.int64, device=chunk.device)
        row, predicted = objective.predict(supports, chunk, scan, head.embed_student, generator)
        parts.append(mean_logits(row, predicted[:, 0], len(chunk)).sigmoid())
    return torch.cat(parts)


@dataclass(frozen=True)
class Slice:
    """A flat slice through the space around a scan.

    Attributes:
        kind: 'horizontal': x to the right, y up; 'x' or 'y': that axis to the right, z up.
        level: Height of a horizontal slice; for a vertical one its position on the other axis of the ground.
        extent: Half the width of the slice in meters.
        heights: Lowest and highest z of a vertical slice.
        step: Meters between positions.
        zoom: Pixels per position along each axis.
    """

    kind: str = 'horizontal'
    level: float = -1.0
    extent: float = 20.0
    heights: tuple[float, float] = (-3.0, 4.0)
    step: float = 0.2
    zoom: int = 4

    @property
    def axes(self) -> tuple[int, int, int]:
        """Axis that the slice is perpendicular to, axis to the right, axis upward."""
        return {'horizontal': (2, 0, 1), 'x': (1, 0, 2), 'y': (0, 1, 2)}[self.kind]

    def positions(self, device: torch.device | str = 'cpu') -> Tensor:
        """Positions on the slice, float (rows, columns, 3), the first row at the top."""
        step = self.step
        right = torch.arange(-self.extent + step / 2, self.extent, step, device=device)
        low, high = self.heights
        top = right if self.kind == 'horizontal' else torch.arange(low + step / 2, high, step, device=device)
        up, across = torch.meshgrid(top.flip(0), right, indexing='ij')
        parts = dict(zip(self.axes, (torch.full_like(up, self.level), across, up)))
        return torch.stack([parts[axis] for axis in range(3)], -1)


def occupancy_slice(predict: Callable[[Tensor], Tensor], xyz: Tensor, part: Slice) -> np.ndarray:
    """Draw predicted occupancy on a slice, from dark blue (free) to yellow (occupied), with the points near it in red.

    Args:
        predict: Probabilities (M,) of positions (M, 3), see `predict_occupancy`.
        xyz: Float (N, 3), the points of the scan.
        part: The slice.

    Returns:
        Uint8 (rows * zoom, columns * zoom, 3).
    """
    positions, zoom = part.positions(xyz.device), part.zoom
    occupancy = predict(positions.view(-1, 3))
    colors = heat_colors(occupancy.nan_to_num(0.0))
    colors[occupancy.isnan().cpu().numpy()] = UNKNOWN
    figure = colors.reshape(*positions.shape[:2], 3).repeat(zoom, 0).repeat(zoom, 1)
    fixed, right, up = part.axes
    near = xyz[(xyz[:, fixed] - part.level).abs() < part.step].cpu().numpy()
    top, left = (float(positions[0, 0, axis]) for axis in (up, right))
    row = np.floor(((top - near[:, up]) / part.step + 0.5) * zoom).astype(int)
    column = np.floor(((near[:, right] - left) / part.step + 0.5) * zoom).astype(int)
    shown = (row >= 1) & (row < len(figure)) & (column >= 1) & (column < figure.shape[1])
    for back in ((0, 0), (0, 1), (1, 0), (1, 1)):
        figure[row[shown] - back[0], column[shown] - back[1]] = POINT
    return figure


def occupancy_figure(predict: Callable[[Tensor], Tensor], xyz: Tensor, horizontal: Slice = Slice()) -> np.ndarray:
    """Draw a horizontal slice above a vertical one along each axis of the ground: uint8 (H, W, 3).

    Args:
        predict: See `occupancy_slice`.
        xyz: Float (N, 3), the points of the scan.
        horizontal: The horizontal slice; the others have its settings and go through the sensor.
    """
    rows = []
    for part, text in (
        (horizontal, f'z = {horizontal.level:g} m, y up'),
        (replace(horizontal, kind='x', level=0.0), 'y = 0, z up'),
        (replace(horizontal, kind='y', level=0.0), 'x = 0, z up'),
    ):
        figure = occupancy_slice(predict, xyz, part)
        rows += [caption(figure, text), np.full((4, figure.shape[1], 3), DARK, np.uint8)]
    return np.vstack(rows[:-1])
