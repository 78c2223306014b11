"""Training steps with any model of mmengine, and what they cost."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from peridot.gpu_check.checks import Differs
from peridot.gpu_check.measure import Stopwatch, peak_memory, synchronizations

# steps that a loss scaler may skip before it has found its scale
MAX_SKIPPED = 12


def measure_steps(model: nn.Module, batch: dict, config: Config, device: str, dtype: torch.dtype | None = None) -> dict:
    """Make three steps: one to warm up, one to be timed, one to count synchronizations.

    Args:
        model: On the device, in training.
        batch: As the loader gives it.
        config: For the optimizer.
        device: Of the model.
        dtype: Of autocast; None for float32.

    Returns:
        `loss`, milliseconds of the stages (`stages`), `peak_gib`, `syncs`, `syncs_at`, and `skipped`, steps that the
        loss scaler skipped.

    Raises:
        Differs: The loss is not finite, or the scaler skips all steps.
    """
    steps, found = Steps(model, config, device, dtype), {}
    with peak_memory(device, found):
        # the first step also chooses algorithms and compiles kernels
        steps.until_applied(batch)
        watch = Stopwatch(device)
        loss = steps.step(batch, watch)
    found |= {f'{name}_ms': value for name, value in stages(watch.milliseconds).items()}
    with synchronizations(device, found):
        steps.step(batch)
    found |= dict(loss=float(loss), skipped=steps.skipped)
    if not loss.isfinite():
        raise Differs(f'the loss is {float(loss)}', found)
    return found


def stages(milliseconds: dict[str, float]) -> dict[str, float]:
    """Times of stages without overlap, and of the step."""
    own = dict(milliseconds)
    if 'student' in own:
        own['objectives'] = own.pop('forward') - own.get('teacher', 0.0) - own['student']
    return {**own, 'step': sum(own.values())}


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
