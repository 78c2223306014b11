"""Samples a second from files on disk, and hours of the published schedules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from peridot.gpu_check.checks import Checks, Setup
from peridot.gpu_check.configs import load_config
from peridot.gpu_check.samples import IMAGE, parts_of, write_maps, write_samples
from peridot.gpu_check.steps import Steps
from peridot.registry import DATASETS, MODELS
from peridot.walk import innermost

CONFIGS = ('olivine_nus', 'slidr_nus', 'scalr_wi48x768_nus-kitti-pandaset', 'also_nus')
# training samples of the real datasets; an epoch of the made-up ones is as long
SAMPLES = dict(nuscenes=28_130, semantickitti=19_130, pandar64=3920, pandargt=3920)
# formats of the synthetic streets and their image sizes; None is the format's own
STREETS = dict(nuscenes=IMAGE, semantickitti=None, pandaset=None)
SECONDS, MIN_STEPS = 6.0, 3


def checks(setup: Setup) -> Checks:
    """Make the streets once, then train with each config for some seconds."""
    streets = setup.folder / 'streets'
    if not setup.small:
        yield 'synthetic streets', partial(make_streets, streets)
    for name in CONFIGS:
        yield name, partial(throughput, name, setup, streets)


def make_streets(root: Path) -> dict:
    """Render ten streets with one keyframe in the layouts that the configs read."""
    from streets import make_dataset

    for format, size in STREETS.items():
        sweeps = 0 if format == 'nuscenes' else None
        make_dataset(root / format, 1, sweeps=sweeps, image_size=size, progress=False, format=format)
    return {}


def throughput(name: str, setup: Setup, streets: Path) -> dict:
    """Train with a config from files.

    Returns:
        `samples_a_second`, `batch`, `workers`, `waiting`, the part of the time in which no batch was ready,
        `samples` and `epochs` of the published schedule, and `hours`, what it takes on this machine with one GPU.
    """
    config = load_config(setup.configs / f'pretrain/{name}.py', setup)
    use_files(config, setup, streets)
    loader = build_loader(config, workers=not setup.small)
    model = MODELS.build(config.model).to(setup.device).train()
    steps = Steps(model, config, setup.device, None)
    batches = endless(loader)
    steps.until_applied(next(batches))
    rate, waiting = measure(steps, batches, loader.batch_size, setup)
    samples, epochs = len(loader.dataset), config.train_cfg.max_epochs
    found = dict(samples_a_second=rate, batch=loader.batch_size, workers=loader.num_workers, waiting=waiting)
    return found | dict(samples=samples, epochs=epochs, hours=samples * epochs / rate / 3600)


def measure(steps: Steps, batches: Iterator[dict], size: int, setup: Setup) -> tuple[float, float]:
    """Samples a second, and the part of the time spent waiting for a batch."""
    limit, done, waited = 0.0 if setup.small else SECONDS, 0, 0.0
    begin = time.perf_counter()
    while done < MIN_STEPS or time.perf_counter() - begin < limit:
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        steps.step(batch)
        done += 1
        if setup.on_gpu:
            # or the CPU would run ahead of the steps that it counts
            torch.cuda.synchronize(setup.device)
    took = time.perf_counter() - begin
    return done * size / took, waited / took


def use_files(config: Config, setup: Setup, streets: Path) -> None:
    """Let a config read the streets with made-up maps, or, if small, the samples of the pre-training steps."""
    if setup.small:
        write_samples(config, setup.folder, small=True)
        return
    for part in parts_of(config):
        root = streets / Path(part.data_root).name
        part.data_root = str(root)
        images = [path.relative_to(root) for path in sorted(root.glob('samples/CAM_*/*.jpg'))]
        for name, folder in part.get('maps', {}).items():
            write_maps(root, folder, name, images, IMAGE)


def build_loader(config: Config, workers: bool) -> DataLoader:
    """The training loader of a config, with datasets as long as the real ones.

    Args:
        config: With its data.
        workers: As many processes as the config says; otherwise none.
    """
    dataset = DATASETS.build(config.train_dataloader.dataset)
    for part in innermost(dataset):
        part.full_init()
        part.get_subset_([i % len(part) for i in range(SAMPLES[part.metainfo['dataset']])])
    settings = {**config.train_dataloader, 'dataset': dataset}
    if not workers:
        settings |= dict(num_workers=0, persistent_workers=False)
    return Runner.build_dataloader(settings, seed=0)


def endless(loader: DataLoader) -> Iterator[dict]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader
