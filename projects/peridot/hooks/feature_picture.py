"""A picture of the features while they are learned."""

from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from PIL import Image

from peridot.evaluation.pictures import TopView, feature_picture
from peridot.files import atomic_path
from peridot.registry import DATASETS, HOOKS


@HOOKS.register_module()
class FeaturePictureHook(Hook):
    """Draws the point features of one sample after each validation and at the end of training.

    The sample is one of the config's `picture_dataset`, a paired dataset with images and without random
    transforms. Colors are the first three principal components, or the similarity to a point; the front camera's
    direction is up. Pictures go to `pictures/` in the work directory and to the visualizer's backends (TensorBoard).

    Args:
        index: Sample of that dataset.
        query: (x, y) in meters, lidar frame: color by similarity to the nearest point.
    """

    def __init__(self, index: int = 0, query: tuple[float, float] | None = None) -> None:
        self.index = index
        self.query = query
        # the last validation and the end of training show the same features
        self._drawn: Path | None = None

    def after_val(self, runner) -> None:
        """Draw after a validation."""
        self._draw(runner)

    def after_train(self, runner) -> None:
        """Draw the final features."""
        self._draw(runner)

    @torch.no_grad()
    def _draw(self, runner) -> None:
        path = Path(runner.work_dir) / 'pictures' / f'features_epoch_{runner.epoch}.png'
        if runner.rank != 0 or self._drawn == path:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        dataset = DATASETS.build(runner.cfg.picture_dataset)
        sample = dataset[self.index]
        inputs = model.data_preprocessor(pseudo_collate([sample]))['inputs']
        points = inputs['points'][0]
        query = None
        if self.query is not None:
            query = int((points[:, :2] - points.new_tensor(self.query)).norm(dim=1).argmin())
        info = dataset.get_data_info(self.index)
        ahead = front_camera(info) if len(info['cameras']) else None
        view = TopView.fit(points.cpu().numpy(), ahead)
        features = model.extract_features([points])[0]
        picture = feature_picture(features, points, inputs.get('images', ()), inputs['pairs'], query, view)
        with atomic_path(path) as temporary:
            Image.fromarray(np.ascontiguousarray(picture)).save(temporary, format='PNG')
        self._drawn = path
        runner.visualizer.add_image('features', picture, step=runner.iter)
        print_log(f'picture of the features: {path}', 'current')


def front_camera(info: dict) -> np.ndarray:
    """`lidar2cam` (4, 4) of the camera that looks ahead: nuScenes' front camera, otherwise the first one.

    Args:
        info: What `PairedDataset.get_data_info` gives, with at least one camera.
    """
    names = list(info['cameras'])
    return info['lidar2cam'][names.index('CAM_FRONT') if 'CAM_FRONT' in names else 0]
