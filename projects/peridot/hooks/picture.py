"""Figures of what a network learns, during training."""

from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from peridot.datasets.complete_infos import without_labels
from peridot.registry import DATASETS
from peridot.visualization.figures import save_figure
from peridot.weights import averaged_weights, unwrap


class PictureHook(Hook):
    """Base of the hooks that draw one sample after each validation and at the end of training.

    The sample is one of the config's `picture_dataset`, a paired dataset without random transforms. Figures go to
    `pictures/` in the work directory and to the visualizer's backends (TensorBoard).

    Args:
        index: Sample of that dataset.
    """

    # subject of the figures, in their file names
    subject = ''

    def __init__(self, index: int = 0) -> None:
        self.index = index
        # the last validation and the end of training show the same weights
        self._drawn: Path | None = None

    def draw(self, model: nn.Module, inputs: dict, dataset: BaseDataset) -> np.ndarray:
        """Draw the sample.

        Args:
            model: The `Pretrainer`, in evaluation mode.
            inputs: The sample as the preprocessor returns it.
            dataset: Its dataset.

        Returns:
            Uint8 (H, W, 3).
        """
        raise NotImplementedError

    def after_val(self, runner) -> None:
        """Draw after a validation."""
        self._draw(runner)

    def after_train(self, runner) -> None:
        """Draw at the end of training."""
        self._draw(runner)

    @torch.no_grad()
    def _draw(self, runner) -> None:
        path = Path(runner.work_dir) / 'pictures' / f'{self.subject}_epoch_{runner.epoch}.png'
        if runner.rank != 0 or self._drawn == path:
            return
        model = unwrap(runner.model).eval()
        dataset = DATASETS.build(without_labels(runner.cfg.picture_dataset))
        inputs = model.data_preprocessor(pseudo_collate([dataset[self.index]]))['inputs']
        with averaged_weights(runner):
            figure = self.draw(model, inputs, dataset)
        save_figure(path, figure)
        self._drawn = path
        runner.visualizer.add_image(self.subject, figure, step=runner.iter)
        print_log(f'figure of the {self.subject}: {path}', 'current')
