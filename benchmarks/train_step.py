#!/usr/bin/env python3
"""Seconds of a training step of a demo config on CPU: by threads, with and without kept memory (compat.allocation).

    python benchmarks/train_step.py [--config configs/demo/olivine_demo.py] [--data-root data/demo]

Every row is measured in a process of its own. The data and its maps are those of tools/demo.py.
"""

import argparse
import itertools
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

STEPS = 8


def main() -> None:
    """Measure all settings, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/demo/olivine_demo.py')
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'))
    parser.add_argument('--one', nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(*measure(args.config, args.data_root, *args.one))
        return
    print('threads  memory kept  seconds a step  teacher  student (forward)  ratio')
    first = None
    for threads, kept in itertools.product((2, 1), (0, 1)):
        command = [sys.executable, __file__, '--config', args.config, '--data-root', str(args.data_root)]
        done = subprocess.run([*command, '--one', str(threads), str(kept)], capture_output=True, text=True, check=True)
        step, teacher, student = map(float, done.stdout.splitlines()[-1].split())
        first = first or step
        row = f'{threads:7d}  {"yes" if kept else "no":>11s}  {step:14.3f}  {teacher:7.3f}  {student:17.3f}'
        print(f'{row}  {first / step:5.2f}', flush=True)


def measure(config_file: str, data_root: Path, threads: int, kept: int) -> tuple[float, float, float]:
    """Seconds of a step, of the teacher, and of the student's forward pass."""
    import torch

    if not kept:
        # instead of the repair, which cannot be taken back
        sys.modules['peridot.compat.allocation'] = SimpleNamespace(repair=lambda module: False)
    from mmengine.config import Config
    from mmengine.logging import MessageHub
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner
    from peridot.cli import set_data_root

    torch.set_num_threads(threads)
    config = Config.fromfile(config_file)
    set_data_root(config, str(data_root))
    init_default_scope('mmdet3d')
    loader = Runner.build_dataloader({**config.train_dataloader, 'num_workers': 0, 'persistent_workers': False}, seed=0)
    from peridot.registry import MODELS

    # objectives whose warm-up is a share of the training ask for its length
    MessageHub.get_current_instance().update_info('max_iters', config.train_cfg.max_epochs * len(loader))
    model = MODELS.build(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    batches = [batch for batch, _ in zip(loader, range(STEPS))]

    def step(batch: dict) -> None:
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()

    inputs = model.data_preprocessor(batches[0], True)['inputs']
    teacher = seconds(lambda: model.teacher(inputs['images'])) if model.teacher else 0.0
    student = seconds(lambda: model.student(inputs['points']))
    step(batches[0])
    start = time.perf_counter()
    for batch in batches:
        step(batch)
    return (time.perf_counter() - start) / STEPS, teacher, student


def seconds(action) -> float:
    """Mean time of some calls, after a first one."""
    action()
    start = time.perf_counter()
    for _ in range(STEPS):
        action()
    return (time.perf_counter() - start) / STEPS


if __name__ == '__main__':
    main()
