"""Batching of paired samples on the device."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from peridot.errors import ConfigError
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs, Queries


@MODELS.register_module()
class PairedDataPreprocessor(BaseDataPreprocessor):
    """Moves a collated batch to the device and joins it; the scans of all frames of all samples are concatenated.

    `points` becomes a list of S clouds (N_i, C), `frames` one `Frames` of S rows, `images` uint8 (V, 3, H, W) of all
    cameras, `pairs` one `Pairs` over concatenated clouds and stacked images, each map int (V, H, W). `teacher_maps`,
    which may stand in for the images, become float32 (V, C, h, w) in channels-last memory. `queries` become one
    `Queries`, `segments` int64 (N,) of the concatenated clouds.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Join the lists that mmengine's `pseudo_collate` made."""
        # read before they are on the device
        samples = data['inputs']['frames']
        num_images = [int(frames.num_images.sum()) for frames in samples]
        num_points = [number for frames in samples for number in frames.num_points.tolist()]
        data = self.cast_data(data)
        inputs = dict(data['inputs'])
        inputs['frames'] = Frames.batch(inputs['frames'])
        if 'pairs' in inputs:
            inputs['pairs'] = Pairs.batch(inputs['pairs'], [len(p) for p in inputs['points']], num_images)
        inputs['points'] = list(torch.cat(list(inputs['points'])).split(num_points))
        if 'segments' in inputs:
            inputs['segments'] = torch.cat(list(inputs['segments']))
        if 'queries' in inputs:
            inputs['queries'] = Queries.batch(inputs['queries'], [len(frames.frame) for frames in samples])
        if 'images' in inputs:
            _check_sizes(inputs['images'], data.get('data_samples'))
            inputs['images'] = torch.cat(list(inputs['images']))
        if 'teacher_maps' in inputs:
            maps = torch.cat(list(inputs['teacher_maps'])).float()
            inputs['teacher_maps'] = maps.contiguous(memory_format=torch.channels_last)
        if 'maps' in inputs:
            inputs['maps'] = {name: torch.cat(list(maps)) for name, maps in inputs['maps'].items()}
        return dict(inputs=inputs, data_samples=data.get('data_samples'))


def _check_sizes(images: list[Tensor], data_samples: list | None) -> None:
    sizes = [tuple(views.shape[-2:]) for views in images]
    if len(set(sizes)) > 1:
        names = [sample.metainfo.get('dataset') for sample in data_samples] if data_samples else [None] * len(sizes)
        found = ', '.join(sorted({f'{h}x{w} ({name})' for (h, w), name in zip(sizes, names)}))
        raise ConfigError(
            f'images of different sizes in a batch, {found}: give all datasets of the mix the same size in '
            'peridot.ResizeViews or peridot.RandomResizedCropViews'
        )
