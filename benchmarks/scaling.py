#!/usr/bin/env python3
"""Hours of a pre-training over GPUs, from measured parts, and where the bottleneck lies.

    python benchmarks/scaling.py --step-ms 250 --load-ms 60 --cores 16     # a step and a sample as measured, see below
    python benchmarks/scaling.py --check                                   # the same model against runs on this CPU

`--step-ms` is `step_ms` of `tools/check_gpu.py` for the config, `--load-ms` a sample of `benchmarks/load_sample.py`.
A step lasts as long as the slower of two: the GPU with the exchange of gradients, which is counted as if it did not
overlap with the backward pass, and the loader's workers. With --check the parts (a sample, a step alone and beside
others, an exchange) are measured on this machine, which should be idle, and runs of one and two processes are
predicted from them and measured; processes wait in every step for the one whose samples take longest.
"""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import argparse
import itertools
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
import peridot.datasets
import peridot.hooks
import peridot.models  # noqa: F401  (registers)
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from peridot.registry import DATASETS, MODELS
from torch.nn.parallel import DistributedDataParallel

NUSCENES = 28_130
GPUS = (1, 2, 4, 8, 16, 32, 64)
STEPS, WARM_UP = 24, 4


@dataclass
class Parts:
    """What a run is made of; seconds and bytes.

    Attributes:
        step: A step with a process's batch, without loading and exchange.
        load: Time of a core to load a sample.
        batch: Samples of a process and step.
        exchange: Time of an exchange of all gradients between two processes.
    """

    step: float
    load: float
    batch: int
    exchange: float = 0.0

    def seconds(self, processes: int, workers: float) -> tuple[float, str]:
        """Time of a step and what it waits for, with so many loading cores for each process."""
        # a ring sends 2 (P - 1) / P times the gradients, between two processes once
        exchange = 2 * (processes - 1) / processes * self.exchange
        computing, loading = self.step + exchange, self.batch * self.load / workers
        if loading > computing:
            return loading, 'loader'
        return computing, 'step' if exchange < self.step else 'exchange'

    def on_cpu(self, processes: int, cores: int, beside: float) -> float:
        """Time of a step if the processes compute on the cores that load, each sample by a worker of its own.

        Args:
            processes: Their number.
            cores: Those of the machine.
            beside: How many times longer a step takes while all other cores are busy.
        """
        own, exchange = self.step, self.seconds(processes, 1)[0] - self.step if processes > 1 else 0.0
        loading = self.batch * self.load
        seconds, slower = own, 1.0
        for _ in range(50):
            others = ((processes - 1) * own + processes * loading) * slower / seconds
            share = min(1.0, others / max(1, cores - 1))
            slower = 1 + (beside - 1) * share
            needed = processes * (own + loading) * slower / cores
            seconds = max(own * slower + exchange, needed)
        return seconds


def table(parts: Parts, samples: int, epochs: int, cores: float) -> None:
    """Print hours over numbers of GPUs."""
    print(f'{epochs} epochs of {samples} samples; batch {parts.batch} and {cores:g} cores for each GPU')
    needed = parts.batch * parts.load / parts.step
    print(f'cores that one GPU keeps busy: {needed:.1f}\n\n| GPUs | samples a second | hours | limited by |')
    print('| --: | --: | --: | --- |')
    for gpus in GPUS:
        seconds, cause = parts.seconds(gpus, cores)
        rate = gpus * parts.batch / seconds
        print(f'| {gpus} | {rate:.1f} | {samples * epochs / rate / 3600:.1f} | {cause} |')


class Trial:
    """Model, optimizer and data of a config in this process."""

    def __init__(self, config: Config, processes: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.config = config
        self.model = MODELS.build(config.model).train()
        if processes > 1:
            self.model = DistributedDataParallel(self.model, find_unused_parameters=False)
        self.optimizer = build_optim_wrapper(self.model, dict(optimizer=config.optim_wrapper.optimizer))

    def step(self, batch: dict) -> None:
        """One step of a training."""
        module = getattr(self.model, 'module', self.model)
        data = module.data_preprocessor(batch, True)
        losses = self.model(**data, mode='loss')
        self.optimizer.update_params(module.parse_losses(losses)[0])

    def batches(self, workers: int = 1) -> Iterator[dict]:
        """Batches of the config's loader, epoch after epoch."""
        settings = dict(self.config.train_dataloader, num_workers=workers, persistent_workers=workers > 0)
        loader = Runner.build_dataloader(settings, seed=0)
        while True:
            yield from loader


def load_seconds(config: Config) -> list[float]:
    """Mean time of a core to load a sample."""
    dataset = DATASETS.build(config.train_dataloader.dataset)
    dataset[0]
    begin = time.process_time()
    for index in range(20):
        dataset[index % len(dataset)]
    return [(time.process_time() - begin) / 20]


def step_seconds(config: Config) -> list[float]:
    """Times of steps without loading, on the samples that a run begins with."""
    trial = Trial(config, 1)
    batches = list(itertools.islice(trial.batches(workers=0), WARM_UP + STEPS))
    return timed(lambda: trial.step(batches.pop(0)))


def slowest(times: list[float], processes: int) -> float:
    """Median of the longest of as many steps as there are processes, drawn from the times of one."""
    return float(np.quantile(times, 0.5 ** (1 / processes)))


def exchange_seconds(config: Config) -> list[float]:
    """Times of an exchange of gradients."""
    count = sum(p.numel() for p in MODELS.build(config.model).parameters() if p.requires_grad)
    gradients = torch.zeros(count)
    return timed(lambda: dist.all_reduce(gradients))


def run_seconds(config: Config) -> list[float]:
    """Times of the steps of a run with a worker for each process."""
    trial = Trial(config, dist.get_world_size())
    batches = trial.batches()
    return timed(lambda: trial.step(next(batches)))


def timed(action: Callable[[], None]) -> list[float]:
    """Times of an action that is repeated, after some repetitions that do not count."""
    times = []
    for _ in range(WARM_UP + STEPS):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return times[WARM_UP:]


def in_processes(measure: Callable, config: Config, count: int, together: bool = True) -> list[float]:
    """Times that several processes measure side by side, as a group or knowing nothing of each other."""
    with tempfile.TemporaryDirectory() as folder:
        start = mp.get_context('fork').Barrier(count)
        mp.start_processes(_measure, (measure, config, count, folder, start, together), count, start_method='fork')
        return [seconds for rank in range(count) for seconds in torch.load(f'{folder}/{rank}.pt')]


def _measure(rank: int, measure: Callable, config: Config, count: int, folder: str, start, together: bool) -> None:
    if together:
        dist.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=count)
    start.wait()
    torch.save(measure(config), f'{folder}/{rank}.pt')
    start.wait()
    # tearing down gloo can hang; everything is saved
    os._exit(0)


def check(config: Config, rounds: int) -> None:
    """Predict and measure runs of one and two processes, in turn, as the speed of a machine may change meanwhile."""
    cores = len(os.sched_getaffinity(0))
    results = []
    for number in range(rounds):
        steps = in_processes(step_seconds, config, 1)
        # not as a group, whose objectives wait for each other
        beside = median(in_processes(step_seconds, config, cores, together=False)) / median(steps)
        exchange = median(in_processes(exchange_seconds, config, 2))
        load = median(in_processes(load_seconds, config, 1))
        predicted, measured = [], []
        for processes in (1, 2):
            parts = Parts(slowest(steps, processes), load, config.train_dataloader.batch_size, exchange)
            predicted.append(parts.on_cpu(processes, cores, beside))
            measured.append(median(in_processes(run_seconds, config, processes)))
        results.append([p / m - 1 for p, m in zip(predicted, measured)])
        print(f'round {number + 1}: sample {1e3 * load:.0f} ms, step {1e3 * median(steps):.0f} ms (the longer of two')
        print(f'  {1e3 * slowest(steps, 2):.0f} ms), beside others {beside:.2f} times as long, ', end='')
        print(f'exchange {1e3 * exchange:.0f} ms')
        for processes, p, m in zip((1, 2), predicted, measured):
            print(f'  {processes} processes: predicted {1e3 * p:.0f} ms, measured {1e3 * m:.0f} ms', flush=True)
    for processes, errors in zip((1, 2), zip(*results)):
        print(f'error with {processes} processes, median of {rounds} rounds: {100 * median(errors):+.0f} %')


def main() -> None:
    """Print hours, or check the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--step-ms', type=float, default=250, help='a step of one GPU without waiting (default: 250)')
    parser.add_argument('--load-ms', type=float, default=60, help='a core loads a sample (default: 60)')
    parser.add_argument('--batch', type=int, default=4, help='samples of a GPU and step (default: 4)')
    parser.add_argument('--cores', type=float, default=8, help='that load for each GPU (default: 8)')
    parser.add_argument('--parameters', type=float, default=38e6, help='trained ones (default: 38e6, MinkUNet34)')
    parser.add_argument('--gigabytes', type=float, default=10, help='a second between machines (default: 10)')
    parser.add_argument('--samples', type=int, default=NUSCENES, help=f'of an epoch (default: nuScenes, {NUSCENES})')
    parser.add_argument('--epochs', type=int, default=50)
    parser.add_argument('--check', action='store_true', help='predict and measure runs on this CPU')
    parser.add_argument('--rounds', type=int, default=3, help='of the check (default: 3)')
    parser.add_argument('--config', default='configs/demo/slidr_demo.py')
    parser.add_argument('--data-root', default='data/demo')
    args = parser.parse_args()
    if args.check:
        # those of the networks that are built
        logging.disable(logging.WARNING)
        config = Config.fromfile(args.config)
        config.train_dataloader.dataset.data_root = args.data_root
        check(config, args.rounds)
        return
    exchange = 4 * args.parameters / (args.gigabytes * 1e9)
    parts = Parts(args.step_ms / 1e3, args.load_ms / 1e3, args.batch, exchange)
    table(parts, args.samples, args.epochs, args.cores)


if __name__ == '__main__':
    main()
