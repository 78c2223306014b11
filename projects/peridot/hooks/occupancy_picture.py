"""A figure of the predicted occupancy during training."""

from functools import partial

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch import nn

from peridot.hooks.picture import PictureHook
from peridot.registry import HOOKS
from peridot.visualization.occupancy import Slice, occupancy_figure, predict_occupancy


@HOOKS.register_module()
class OccupancyPictureHook(PictureHook):
    """Draws slices through the occupancy that `peridot.OccupancyReconstruction` predicts.

    Args:
        index: Sample of the config's `picture_dataset`.
        objective: Name of the objective in `model.objectives`.
        level: Height of the horizontal slice in the lidar's frame, in meters; by default that of cars.
    """

    subject = 'occupancy'

    def __init__(self, index: int = 0, objective: str = 'occupancy', level: float = -1.0) -> None:
        super().__init__(index)
        self.objective = objective
        self.level = level

    def draw(self, model: nn.Module, inputs: dict, dataset: BaseDataset) -> np.ndarray:
        """See `PictureHook`."""
        points, objective = inputs['points'], model.objectives[self.objective]
        xyz = points[0][:, :3]
        supports = model.student(points).supports(xyz, torch.zeros(len(xyz), dtype=torch.int64, device=xyz.device))
        predict = partial(predict_occupancy, objective, model.heads[objective.head], supports)
        return occupancy_figure(predict, xyz, Slice(level=self.level))
