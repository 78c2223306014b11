"""Several processes: DDP, synchronized batch normalization and gathered negatives, against one process.

NCCL refuses two processes on one GPU: there they exchange by gloo.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from peridot.gpu_check.checks import Checks, Differs, LeftOut, Setup
from peridot.gpu_check.compare import Tensors, check_limits, relative_difference, relative_length
from peridot.gpu_check.objectives import CLASSES, batch_inputs, encoded
from peridot.gpu_check.pretraining import Trial
from peridot.models.heads import ProjectionHead
from peridot.models.objectives import (
    FeatureDistance,
    PointPixelInfoNCE,
    SuperpixelInfoNCE,
    VMFConsistency,
    WeaklySupervisedContrast,
)

CHANNELS = 16
# float32 in another order
LIMITS = dict(loss=1e-4, gradients=1e-3, statistics=1e-4)
# configs whose whole model is trained by DDP: both kinds of networks with batch normalization
CONFIGS = ('olivine_nus', 'scalr_wi48x256_nus')
# until processes that wait for each other are ended
SECONDS = 60


def checks(setup: Setup) -> Checks:
    """One process with NCCL, two where there are two GPUs, two with gloo on one device."""
    backend = 'nccl' if setup.on_gpu else 'gloo'
    groups = {f'{backend}, one process': Group(backend, 1, setup)}
    groups['gloo, two processes on one device'] = Group('gloo', 2, setup)
    if setup.on_gpu:
        groups['nccl, two GPUs'] = Group('nccl', 2, setup)
    for title, group in groups.items():
        for name in OBJECTIVES:
            yield f'{name}, {title}', partial(compare_processes, name, group)
    for name in CONFIGS:
        yield f'{name} in DDP, {backend}', partial(train_whole, name, backend, setup)


class Group:
    """Processes that compute all objectives once, when the first result is asked for.

    Args:
        backend: 'nccl' or 'gloo'.
        count: Number of processes; of NCCL each has a GPU.
        setup: Device and size.
    """

    def __init__(self, backend: str, count: int, setup: Setup) -> None:
        self.backend = backend
        self.count = count
        self.setup = setup
        self._results: list[dict] | Exception | None = None

    def results(self) -> list[dict]:
        """Of every process what `two_steps` gives, by objective.

        Raises:
            LeftOut: There are too few GPUs.
        """
        if self._results is None:
            try:
                self._results = self._run()
            except Exception as error:
                self._results = error
        if isinstance(self._results, Exception):
            raise self._results
        return self._results

    def _run(self) -> list[dict]:
        if self.backend == 'nccl' and torch.cuda.device_count() < self.count:
            raise LeftOut('there is one GPU, which NCCL gives to one process only')
        with spawned(_exchange, (self.backend, self.count, self.setup), self.count, self.setup) as folder:
            return [torch.load(folder / f'{rank}.pt', weights_only=True) for rank in range(self.count)]


def _info_nce() -> nn.Module:
    return PointPixelInfoNCE(head='head', num_pairs=10**6, gather_negatives=True)


def _superpixels() -> nn.Module:
    return SuperpixelInfoNCE(head='head', gather_negatives=True)


def _weak() -> nn.Module:
    return WeaklySupervisedContrast(head='head', num_pairs=10**6, gather_negatives=True)


def _vmf() -> nn.Module:
    return VMFConsistency(CLASSES, head='head', warmup_steps=1, momentum=0.5)


def _distance() -> nn.Module:
    return FeatureDistance(head='head')


OBJECTIVES = dict(infonce=_info_nce, superpixels=_superpixels, weak=_weak, vmf=_vmf, distance=_distance)


class Model(nn.Module):
    """Linear map and normalization as a student, a head and an objective.

    Args:
        name: Of `OBJECTIVES`.
        normalized: With batch normalization, which several processes must synchronize: the CPU cannot.
    """

    def __init__(self, name: str, normalized: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        inputs = batch_inputs(8, 1)
        norm = nn.BatchNorm1d(CHANNELS) if normalized else nn.Tanh()
        self.student = nn.Sequential(nn.Linear(inputs['features'].shape[1], CHANNELS), norm)
        teacher_channels = inputs['teacher_map'].shape[1]
        self.heads = nn.ModuleDict(dict(head=ProjectionHead(CHANNELS, teacher_channels, CHANNELS)))
        self.objective = OBJECTIVES[name]()
        self.objective.connect(CHANNELS)

    def forward(self, inputs: Tensors) -> Tensor:
        """Loss of a batch of `batch_inputs`."""
        batch = encoded({**inputs, 'features': self.student(inputs['features'])}, self.heads)
        # as the pre-trainer does it
        return self.objective(batch)['loss'] + 0.0 * sum(parameter.sum() for parameter in self.parameters())


def compare_processes(name: str, group: Group) -> dict:
    """Two steps in several processes, against one process with the joint batch.

    Returns:
        Largest differences of `loss`, averaged over the processes, of `gradients` and of `statistics`.

    Raises:
        Differs: One exceeds its limit.
    """
    found, setup = [result[name] for result in group.results()], group.setup
    model = Model(name, setup.on_gpu).to(setup.device).train()
    batch = joint([part_of(rank, setup) for rank in range(group.count)])
    loss, gradients, statistics = two_steps(model, batch, setup.device)
    mean = torch.stack([losses for losses, _, _ in found]).mean(0)
    differences = dict(loss=relative_difference(mean, loss))
    differences['gradients'] = _largest(relative_length, gradients, [own for _, own, _ in found])
    differences['statistics'] = _largest(relative_difference, statistics, [own for _, _, own in found])
    check_limits(differences, LIMITS)
    return differences


def _largest(measure: Callable[[Tensor, Tensor], float], reference: Tensors, found: list[Tensors]) -> float:
    """Largest difference of a floating-point tensor of any process; 0 if there is none."""
    names = [name for name, value in reference.items() if value.is_floating_point()]
    return max((measure(own[name], reference[name]) for own in found for name in names), default=0.0)


def part_of(rank: int, setup: Setup) -> Tensors:
    """Batch of a process: a scan with one image; features and labels differ between processes."""
    inputs = batch_inputs(60 if setup.small else 2000, 1)
    generator = torch.Generator().manual_seed(rank)
    features = torch.randn(inputs['features'].shape, generator=generator) + rank
    return {**inputs, 'features': features, 'label': (inputs['label'] + rank).clamp(max=CLASSES - 1)}


def joint(parts: list[Tensors]) -> Tensors:
    """The batch of all processes."""
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    part = torch.arange(len(parts)).repeat_interleave(len(parts[0]['camera']))
    return {**joined, 'camera': part, 'scan': part}


def two_steps(model: nn.Module, batch: Tensors, device: str) -> tuple[Tensor, Tensors, Tensors]:
    """Losses (2,) of two steps without a change of the weights, gradients of the second, buffers; on the CPU."""
    inputs = {name: value.detach().to(device) for name, value in batch.items()}
    losses = []
    for _ in range(2):
        model.zero_grad()
        loss = model(inputs)
        loss.backward()
        losses.append(loss.detach().cpu())
    inner = getattr(model, 'module', model)
    gradients = {name: p.grad.cpu() for name, p in inner.named_parameters()}
    return torch.stack(losses), gradients, {name: value.cpu() for name, value in inner.named_buffers()}


def _exchange(rank: int, folder: Path, backend: str, count: int, setup: Setup) -> None:
    with process_group(rank, folder, backend, count, setup) as device:
        results = {}
        for name in OBJECTIVES:
            model = Model(name, setup.on_gpu).to(device).train()
            if setup.on_gpu:
                model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
            results[name] = two_steps(wrapped, part_of(rank, setup), device)
        torch.save(results, folder / f'{rank}.pt')


def train_whole(name: str, backend: str, setup: Setup) -> dict:
    """Two steps of a config's whole model in mmengine's DDP, in one process.

    Returns:
        `loss` of the second.

    Raises:
        Differs: It is not finite.
    """
    with spawned(_train, (name, backend, setup), 1, setup) as folder:
        loss = torch.load(folder / '0.pt', weights_only=True)
    if not loss.isfinite():
        raise Differs(f'the loss is {float(loss)}', dict(loss=float(loss)))
    return dict(loss=float(loss))


def _train(rank: int, folder: Path, name: str, backend: str, setup: Setup) -> None:
    with process_group(rank, folder, backend, 1, setup):
        init_default_scope('mmdet3d')
        trial = Trial(setup.configs / f'pretrain/{name}.py', setup)
        model = nn.SyncBatchNorm.convert_sync_batchnorm(trial.model) if setup.on_gpu else trial.model
        wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False)
        # a parameter that the first step does not use is an error of the second
        for _ in range(2):
            data = model.data_preprocessor(trial.batch, True)
            loss, _ = model.parse_losses(wrapped(**data, mode='loss'))
            loss.backward()
        torch.save(loss.detach().cpu(), folder / '0.pt')


@contextmanager
def process_group(rank: int, folder: Path, backend: str, count: int, setup: Setup) -> Iterator[str]:
    """Join the group and give the device of the process; afterwards the process ends."""
    torch.set_num_threads(1)
    device = setup.device
    if setup.on_gpu:
        number = rank if backend == 'nccl' and count > 1 else torch.device(device).index or 0
        torch.cuda.set_device(number)
        device = f'cuda:{number}'
    dist.init_process_group(backend, init_method=f'file://{folder}/rendezvous', rank=rank, world_size=count)
    yield device
    dist.barrier()
    # tearing down DDP and its group can hang in the destructors; everything is saved
    os._exit(0)


@contextmanager
def spawned(work: Callable, arguments: tuple, count: int, setup: Setup) -> Iterator[Path]:
    """Run `work(rank, folder, *arguments)` in processes; gives the folder of their results.

    Raises:
        Differs: They do not end.
    """
    folder = Path(tempfile.mkdtemp(dir=setup.folder))
    running = mp.start_processes(work, (folder, *arguments), count, join=False, start_method='spawn')
    deadline = time.monotonic() + SECONDS
    while not running.join(1):
        if time.monotonic() > deadline:
            for process in running.processes:
                process.kill()
            raise Differs(f'the processes did not end within {SECONDS} s', {})
    yield folder
