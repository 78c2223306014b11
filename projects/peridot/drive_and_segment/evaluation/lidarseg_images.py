"""Images of a paired dataset with classes of their pixels, to evaluate segmentation networks."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from peridot.datasets.camera_images import IGNORED, CameraImageDataset
from peridot.datasets.projection import lidar_to_image
from peridot.drive_and_segment.proposals.projection import project, visible
from peridot.errors import ConfigError
from peridot.labels.oracle import OracleGenerator
from peridot.maps.images import image_sources
from peridot.registry import DATASETS, TRANSFORMS


@DATASETS.register_module()
class LidarSegImages(CameraImageDataset):
    """The images of a `CameraImageDataset`, with the classes of the points in the metainfo.

    Ignored pixels have the value 255.

    Args:
        **kwargs: Those of `CameraImageDataset`.

    Raises:
        ConfigError: The points of the dataset have no classes.
    """

    def load_data_list(self) -> list[dict]:
        """List the infos of the images, sample by sample."""
        images, meta = super().load_data_list(), self._metainfo
        if 'seg_label_mapping' not in meta:
            raise ConfigError(
                f'the points of {self.ann_file} have no classes: evaluate on nuScenes, or on labeled images '
                '(docs/methods/drive_and_segment.md, Evaluation)'
            )
        mapping, ignored = meta['seg_label_mapping'], len(meta['classes'])
        meta['seg_label_mapping'] = {raw: IGNORED if label == ignored else label for raw, label in mapping.items()}
        return images


@TRANSFORMS.register_module()
class ProjectPointLabels(BaseTransform):
    """Classes of the pixels that labeled lidar points fall on; all others are ignored.

    Points that are hidden by a nearer one are left out, as the lidar sees over things that block the camera; of several
    points on a pixel the nearest counts. Comes after `LoadPoints` and `LoadPointLabels`, and after transforms that
    resize the image: the map has the size of the image file, for which mmsegmentation predicts.

    Args:
        min_depth: Nearest depth in meters.
        reach: Distance within which a nearer point hides a point, along a row and along a column, in degrees. The
            defaults are 8 x 16 pixels of nuScenes' front camera.
    """

    def __init__(self, min_depth: float = 1.0, reach: tuple[float, float] = (0.36, 0.72)) -> None:
        self.min_depth, self.reach = min_depth, np.deg2rad(reach)

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map`, uint8 (H, W), 255 where there is no point."""
        size, cam2img = results['ori_shape'][:2], results['cam2img']
        matrix = lidar_to_image(results['lidar2cam'], cam2img)[0]
        points = project(results['points'].tensor[:, :3].double().numpy(), matrix, size, self.min_depth)
        window = cam2img[0].diagonal()[:2] * np.tan(self.reach)
        seen = points[visible(points, points, size, tuple(window))]
        # of several points on a pixel the last one stays
        seen = seen[np.argsort(-seen.depth, kind='stable')]
        u, v = np.rint(seen.position).astype(np.int64).T
        classes = np.full(size, IGNORED, np.uint8)
        classes[v, u] = results['pts_semantic_mask'][seen.index]
        return _with_truth(results, classes)


@TRANSFORMS.register_module()
class RenderLabels(BaseTransform):
    """Class of every pixel of a synthetic image, rendered again from the dataset's settings (generator `oracle`).

    Comes after transforms that resize the image, see `ProjectPointLabels`.

    Raises:
        ConfigError: The data is not synthetic.
    """

    def __init__(self) -> None:
        self.oracle, self.data_root = OracleGenerator(), None

    def transform(self, results: dict) -> dict:
        """Add `gt_seg_map`, uint8 (H, W), 255 in the sky and where no class fits."""
        if results['data_root'] != self.data_root:
            self.oracle.open_dataset(results['data_root'])
            self.data_root = results['data_root']
        return _with_truth(results, self.oracle.generate(image_sources(results)[0]))


def _with_truth(results: dict, classes: np.ndarray) -> dict:
    results['gt_seg_map'] = classes
    results['seg_fields'].append('gt_seg_map')
    return results
