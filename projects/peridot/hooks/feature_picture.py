"""A picture of the features while they are learned."""

import numpy as np
from mmengine.dataset import BaseDataset
from torch import nn

from peridot.hooks.picture import PictureHook
from peridot.registry import HOOKS
from peridot.visualization.pictures import TopView, feature_picture
from peridot.visualization.scenes import front_camera


@HOOKS.register_module()
class FeaturePictureHook(PictureHook):
    """Draws the features of points: first three principal components, or the similarity to a point.

    The front camera's direction is up.

    Args:
        index: Sample of the config's `picture_dataset`.
        query: (x, y) in meters, lidar frame: color by similarity to the nearest point.
    """

    subject = 'features'

    def __init__(self, index: int = 0, query: tuple[float, float] | None = None) -> None:
        super().__init__(index)
        self.query = query

    def picture(self, model: nn.Module, inputs: dict, dataset: BaseDataset) -> np.ndarray:
        """See `PictureHook`."""
        points, query = inputs['points'][0], None
        if self.query is not None:
            query = int((points[:, :2] - points.new_tensor(self.query)).norm(dim=1).argmin())
        view = TopView.fit(points.cpu().numpy(), front_camera(dataset.get_data_info(self.index)))
        features = model.embed_points([points])[0]
        return feature_picture(features, points, inputs.get('images', ()), inputs['pairs'], query, view)
