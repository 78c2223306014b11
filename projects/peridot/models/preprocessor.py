"""Batching of paired samples on the device."""

import torch
from mmengine.model import BaseDataPreprocessor

from peridot.registry import MODELS
from peridot.structures import Pairs


@MODELS.register_module()
class PairedDataPreprocessor(BaseDataPreprocessor):
    """Moves a collated batch to the device and joins it.

    `points` stays a list of (N_i, C) clouds, `images` becomes uint8 (sum of cameras, 3, H, W), `pairs` one
    `Pairs` over concatenated clouds and stacked images, each map int (sum of cameras, H, W).
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Join the lists that mmengine's `pseudo_collate` made."""
        data = self.cast_data(data)
        inputs = dict(data['inputs'])
        if 'images' in inputs:
            cameras = [len(images) for images in inputs['images']]
            inputs['images'] = torch.cat(list(inputs['images']))
            inputs['pairs'] = Pairs.batch(inputs['pairs'], [len(p) for p in inputs['points']], cameras)
        if 'maps' in inputs:
            inputs['maps'] = {name: torch.cat(list(maps)) for name, maps in inputs['maps'].items()}
        return dict(inputs=inputs, data_samples=data.get('data_samples'))
