"""A figure of the features during training."""

import numpy as np
from mmengine.dataset import BaseDataset
from torch import nn

from peridot.hooks.picture import PictureHook
from peridot.registry import HOOKS
from peridot.visualization.figures import Cloud, feature_figure
from peridot.visualization.scenes import front_camera


@HOOKS.register_module()
class FeaturePictureHook(PictureHook):
    """Draws the features of points: first three principal components, or the similarity to a point.

    The front camera looks up in the figure.

    Args:
        index: Sample of the config's `picture_dataset`.
        query: (x, y) in meters, lidar frame: color by similarity to the nearest point.
    """

    subject = 'features'

    def __init__(self, index: int = 0, query: tuple[float, float] | None = None) -> None:
        super().__init__(index)
        self.query = query

    def draw(self, model: nn.Module, inputs: dict, dataset: BaseDataset) -> np.ndarray:
        """See `PictureHook`."""
        points = inputs['points'][0]
        cloud = Cloud.of_inputs({**inputs, 'points': points}, front_camera(dataset.get_data_info(self.index)))
        query = None if self.query is None else cloud.nearest(*self.query)
        return feature_figure(model.embed_points([points])[0], cloud, query)
