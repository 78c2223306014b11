"""Training steps of all pre-training configs, with random teachers, in float32, bfloat16 and float16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from peridot.gpu_check.checks import Check, Checks, Differs, Setup
from peridot.gpu_check.configs import load_config, pretraining_configs
from peridot.gpu_check.measure import Stopwatch, peak_memory, synchronizations
from peridot.gpu_check.samples import load_batch, write_samples
from peridot.registry import MODELS

PRECISIONS = dict(float32=None, bfloat16=torch.bfloat16, float16=torch.float16)
# samples that are loaded for a batch; more would be alike
DRAWS = 3
# steps that a loss scaler may skip before it has found its scale
MAX_SKIPPED = 12


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
            `loss`, `batch`, milliseconds of data (a sample), teacher, student, objectives, backward and optimizer,
            `peak_gib`, `syncs`, `syncs_at`, and `skipped`, steps that the loss scaler skipped.

        Raises:
            Differs: The loss is not finite, or the scaler skips all steps.
        """
        batch, model = self.batch, self.model
        self.reset()
        steps = Steps(model, self.config, self.setup.device, PRECISIONS[precision])
        found = dict(batch=self.config.train_dataloader.batch_size, data_ms=self.data_ms)
        with peak_memory(self.setup.device, found):
            # the first step also chooses algorithms and compiles kernels
            steps.until_applied(batch)
            watch = Stopwatch(self.setup.device)
            loss = steps.step(batch, watch)
        found |= {f'{name}_ms': value for name, value in stages(watch.milliseconds).items()}
        with synchronizations(self.setup.device, found):
            steps.step(batch)
        found |= dict(loss=float(loss), skipped=steps.skipped)
        if not loss.isfinite():
            raise Differs(f'the loss is {float(loss)}', found)
        return found


def _learned(model: nn.Module) -> list[Tensor]:
    """All that steps change. Not the state dict: layers of spconv permute their weights in it."""
    return [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]


def stages(milliseconds: dict[str, float]) -> dict[str, float]:
    """Times of stages without overlap, and of the step."""
    objectives = milliseconds['forward'] - milliseconds.get('teacher', 0.0) - milliseconds['student']
    own = {name: value for name, value in milliseconds.items() if name != 'forward'}
    return {**own, 'objectives': objectives, 'step': sum(own.values()) + objectives}


class Steps:
    """Training steps as mmengine's `AmpOptimWrapper` makes them, on any device.

    Args:
        model: On the device.
        config: For the optimizer.
        device: Of the model.
        dtype: Of autocast; None for float32. float16 gets a loss scaler.
    """

    def __init__(self, model: nn.Module, config: Config, device: str, dtype: torch.dtype | None) -> None:
        self.model = model
        self.device = torch.device(device).type
        self.dtype = dtype
        settings = {
            name: config.optim_wrapper[name] for name in ('optimizer', 'paramwise_cfg') if name in config.optim_wrapper
        }
        self.optimizer = build_optim_wrapper(model, dict(type='OptimWrapper', **settings)).optimizer
        self.scaler = torch.amp.GradScaler(self.device, enabled=dtype is torch.float16)
        # as SkipOverflowHook does
        model.skips_overflow = self.scaler.is_enabled()
        self.skipped = 0

    def until_applied(self, batch: dict) -> None:
        """Make steps until one is not skipped.

        Raises:
            Differs: `MAX_SKIPPED` of them were.
        """
        while self._is_skipped(batch):
            self.skipped += 1
            if self.skipped == MAX_SKIPPED:
                raise Differs(f'{MAX_SKIPPED} steps without finite gradients', dict(skipped=self.skipped))

    def step(self, batch: dict, watch: Stopwatch | None = None) -> Tensor:
        """Make one step; returns its loss."""
        stage = watch.stage if watch else lambda name: nullcontext()
        parts = dict(teacher=getattr(self.model, 'teacher', None), student=getattr(self.model, 'student', None))
        with watch.modules(**parts) if watch else nullcontext():
            with stage('batching'):
                data = self.model.data_preprocessor(batch, True)
            with stage('forward'), torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
                losses = self.model(**data, mode='loss')
                loss, _ = self.model.parse_losses(losses)
        with stage('backward'):
            self.scaler.scale(loss).backward()
        with stage('optimizer'):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
        return loss.detach()

    def _is_skipped(self, batch: dict) -> bool:
        scale = self.scaler.get_scale()
        self.step(batch)
        return self.scaler.get_scale() < scale
