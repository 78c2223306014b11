"""Single camera images of a paired dataset, for networks that read images only."""

from __future__ import annotations

from peridot.datasets.paired_dataset import PairedDataset
from peridot.registry import DATASETS

# mmsegmentation's value of pixels without a class
IGNORED = 255


@DATASETS.register_module()
class CameraImageDataset(PairedDataset):
    """The images of a `PairedDataset`, each a sample of its own, with what mmsegmentation's transforms expect.

    Keys handed to the pipeline, besides those of `PairedDataset` with one camera: `img_path`, `img_token`, `seg_fields`
    (empty) and `reduce_zero_label` (False). Pixels without a label have the value 255 (`ignore_index` of the metainfo).

    Args:
        data_root: See `PairedDataset`.
        ann_file: See `PairedDataset`.
        metainfo: Takes precedence over that of the info file.
        **kwargs: Those of `PairedDataset`; `indices` counts images.
    """

    def __init__(self, data_root: str, ann_file: str, metainfo: dict | None = None, **kwargs) -> None:
        metainfo = {'ignore_index': IGNORED, **(metainfo or {})}
        super().__init__(data_root, ann_file, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Infos of the images, sample by sample."""
        infos = super().load_data_list()
        return [_of_one_camera(info, view) for info in infos for view in range(len(info['cameras']))]


def _of_one_camera(info: dict, view: int) -> dict:
    """The info of a sample with one of its cameras."""
    own = {key: info[key][view : view + 1] for key in ('cameras', 'img_paths', 'img_tokens', 'lidar2cam', 'cam2img')}
    image = {'img_path': own['img_paths'][0], 'img_token': own['img_tokens'][0]}
    return {**info, **own, **image, 'seg_fields': [], 'reduce_zero_label': False}
