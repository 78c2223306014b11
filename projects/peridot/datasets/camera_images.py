"""Single camera images of a paired dataset, for networks that see images alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mmengine.logging import print_log

from peridot.datasets.paired_dataset import PairedDataset
from peridot.errors import ConfigError
from peridot.maps.folder import MapFolder
from peridot.registry import DATASETS

# mmsegmentation's value of pixels without class
IGNORED = 255


@DATASETS.register_module()
class CameraImageDataset(PairedDataset):
    """The images of a `PairedDataset`, each a sample of its own, with what mmsegmentation's transforms expect.

    Keys handed to the pipeline, beside those of `PairedDataset` with one camera: `img_path`, `img_token`, `maps`,
    `seg_fields` (empty) and `reduce_zero_label` (False). Pixels without label have the value 255 (`ignore_index` of the
    metainfo).

    Args:
        data_root: See `PairedDataset`.
        ann_file: See `PairedDataset`.
        maps: Folders of maps of the images, by the names that transforms read them by (`labels`, ...); relative to the
            data root unless absolute.
        metainfo: Goes before what the info file says.
        **kwargs: Those of `PairedDataset`; `indices` counts images.

    Raises:
        ConfigError: A transform reads maps that `maps` does not name, or none reads some that it names.
        DataError: See `PairedDataset`.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        maps: Mapping[str, str] | None = None,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        self.maps = dict(maps or {})
        metainfo = {'ignore_index': IGNORED, **(metainfo or {})}
        super().__init__(data_root, ann_file, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Infos of the images, sample by sample."""
        infos = super().load_data_list()
        return [_of_one_camera(info, view) for info in infos for view in range(len(info['cameras']))]

    def get_data_info(self, idx: int) -> dict:
        """The parsed info of one image, with what all images share."""
        return {**super().get_data_info(idx), 'maps': self.maps}

    def check_maps(self) -> None:
        """Refuse maps that lack images, before the first sample; no map is opened.

        Transforms that read maps have a method `map_folders(data_root, maps)`, which opens their folders by name.
        """
        steps = self.pipeline.transforms
        folders: dict[str, MapFolder] = {}
        for step in steps:
            if hasattr(step, 'map_folders'):
                folders |= step.map_folders(self.data_root, self.maps)
        if steps and (unread := [name for name in self.maps if name not in folders]):
            raise ConfigError(
                f'no transform of the dataset reads maps.{unread[0]} (they read {", ".join(folders) or "no maps"}): '
                'remove it, or name it in a transform'
            )
        infos = [self.get_data_info(index) for index in range(len(self))] if folders else []
        for folder in folders.values():
            folder.check_exist([(info['img_path'], info['img_token']) for info in infos])
            print_log(folder.describe(), 'current', logging.INFO if folder.is_finished else logging.WARNING)


def _of_one_camera(info: dict, view: int) -> dict:
    """The info of a sample with one of its cameras."""
    own = {key: info[key][view : view + 1] for key in ('cameras', 'img_paths', 'img_tokens', 'lidar2cam', 'cam2img')}
    image = {'img_path': own['img_paths'][0], 'img_token': own['img_tokens'][0]}
    return {**info, **own, **image, 'seg_fields': [], 'reduce_zero_label': False}
