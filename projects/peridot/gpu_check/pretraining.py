"""Training steps of all pre-training configs, with random teachers, in float32, bfloat16 and float16."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from peridot.gpu_check.checks import Check, Checks, Setup
from peridot.gpu_check.configs import load_config, pretraining_configs
from peridot.gpu_check.samples import load_batch, write_samples
from peridot.gpu_check.steps import measure_steps
from peridot.registry import MODELS

PRECISIONS = dict(float32=None, bfloat16=torch.bfloat16, float16=torch.float16)
# samples that are loaded for a batch; more would be alike
DRAWS = 3


def checks(setup: Setup) -> Checks:
    """Every config in every precision."""
    for path in pretraining_configs(setup):
        yield from config_checks(path, setup)


def config_checks(path: Path, setup: Setup) -> Iterator[tuple[str, Check]]:
    """One config in every precision; model and data are made once, and freed before the next config."""
    trial = Trial(path, setup)
    # half precision on a CPU: its float16 convolutions take minutes
    for precision in PRECISIONS if setup.on_gpu else ('float32', 'bfloat16'):
        yield f'{path.stem}, {precision}', partial(trial.measure, precision)


class Trial:
    """A config with its model and a batch, made when they are needed.

    Args:
        path: The config.
        setup: Device and size.
    """

    def __init__(self, path: Path, setup: Setup) -> None:
        self.path = path
        self.setup = setup

    @cached_property
    def config(self) -> Config:
        """The config, whose data are written."""
        config = load_config(self.path, self.setup)
        write_samples(config, self.setup.folder, self.setup.small)
        return config

    @cached_property
    def batch(self) -> dict:
        """A batch on the CPU; `data_ms` becomes the time of a sample in one process."""
        batch, self.data_ms = load_batch(self.config, DRAWS)
        return batch

    @cached_property
    def model(self) -> nn.Module:
        """The model on the device, and its initial state."""
        # of the config before, whose memory would count for this one
        gc.collect()
        torch.manual_seed(0)
        model = MODELS.build(self.config.model).to(self.setup.device).train()
        self.initial = [value.detach().clone() for value in _learned(model)]
        return model

    @torch.no_grad()
    def reset(self) -> None:
        """Give the model its initial weights and statistics back."""
        for value, before in zip(_learned(self.model), self.initial):
            value.copy_(before)

    def measure(self, precision: str) -> dict:
        """Make steps in a precision.

        Returns:
            `batch`, `data_ms` of a sample, and what `measure_steps` gives.

        Raises:
            Differs: The loss is not finite, or the scaler skips all steps.
        """
        batch, model = self.batch, self.model
        self.reset()
        found = dict(batch=self.config.train_dataloader.batch_size, data_ms=self.data_ms)
        return found | measure_steps(model, batch, self.config, self.setup.device, PRECISIONS[precision])


def _learned(model: nn.Module) -> list[Tensor]:
    """All that steps change. Not the state dict: layers of spconv permute their weights in it."""
    return [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]
