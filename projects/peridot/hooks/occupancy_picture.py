"""A picture of the predicted occupancy while it is learned."""

from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from PIL import Image

from peridot.evaluation.occupancy_picture import occupancy_picture
from peridot.files import atomic_path
from peridot.registry import DATASETS, HOOKS


@HOOKS.register_module()
class OccupancyPictureHook(Hook):
    """Draws slices through the occupancy that `peridot.OccupancyReconstruction` predicts, after each validation.

    And at the end of training. The sample is one of the config's `picture_dataset`; pictures go to `pictures/` in the
    work directory and to the visualizer's backends (TensorBoard).

    Args:
        index: Sample of that dataset.
        objective: Name of the objective in `model.objectives`.
        level: Height of the horizontal slice in the lidar's frame, in meters: by default that of cars.
    """

    def __init__(self, index: int = 0, objective: str = 'occupancy', level: float = -1.0) -> None:
        self.index = index
        self.objective = objective
        self.level = level
        # the last validation and the end of training show the same weights
        self._drawn: Path | None = None

    def after_val(self, runner) -> None:
        """Draw after a validation."""
        self._draw(runner)

    def after_train(self, runner) -> None:
        """Draw the final occupancy."""
        self._draw(runner)

    @torch.no_grad()
    def _draw(self, runner) -> None:
        path = Path(runner.work_dir) / 'pictures' / f'occupancy_epoch_{runner.epoch}.png'
        if runner.rank != 0 or self._drawn == path:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        sample = DATASETS.build(runner.cfg.picture_dataset)[self.index]
        points = model.data_preprocessor(pseudo_collate([sample]))['inputs']['points']
        xyz, objective = points[0][:, :3], model.objectives[self.objective]
        supports = model.student(points).supports(xyz, torch.zeros(len(xyz), dtype=torch.int64, device=xyz.device))
        picture = occupancy_picture(objective, model.heads[objective.head], supports, xyz, self.level)
        with atomic_path(path) as temporary:
            Image.fromarray(np.ascontiguousarray(picture)).save(temporary, format='PNG')
        self._drawn = path
        runner.visualizer.add_image('occupancy', picture, step=runner.iter)
        print_log(f'picture of the occupancy: {path}', 'current')
