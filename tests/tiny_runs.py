"""Trainings that take a fraction of a second."""

import json
from pathlib import Path

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from peridot.hooks import ResumeHook
from torch import nn
from torch.utils.data import Dataset

SAMPLES = 12
EPOCHS = 6


class Numbers(Dataset):
    metainfo = {}

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict:
        return dict(x=torch.full((2,), index / SAMPLES))


class Net(BaseModel):
    """Begins with the same weights in every run, and counts its steps as the pre-trainer does."""

    def __init__(self, dropout: float = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(2, 1))
        self.register_buffer('iteration', torch.zeros((), dtype=torch.int64))

    def forward(self, x, mode='loss'):
        if mode == 'predict':
            return list(x)
        self.iteration += 1
        return dict(loss=self.layer(x).square().mean())

    def rescale_steps(self, ratio: float) -> None:
        self.iteration.fill_(round(int(self.iteration) * ratio))


def loader(batch: int, dataset: Dataset | None = None, workers: int = 0) -> dict:
    return dict(
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=dataset or Numbers(),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )


def train(folder: Path, schedule, batch: int, epochs: int = EPOCHS, resume=None, hooks=(), **settings) -> Runner:
    """A run on 12 samples; its learning rates are logged after every iteration."""
    optimizer = settings.pop('optimizer', dict(type='SGD', lr=0.1, momentum=0.9))
    config = dict(
        model=Net(),
        work_dir=str(folder),
        train_dataloader=loader(batch),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=optimizer),
        param_scheduler=schedule,
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1)
        ),
        experiment_name=f'{folder}_{batch}_{epochs}'.replace('/', '_'),
        randomness=dict(seed=0),
        resume=resume is not None,
        load_from=str(resume) if resume else None,
    )
    config = {**config, **settings}
    runner = Runner(**config)
    # as from_cfg has it
    runner.cfg = type(runner.cfg)(dict(param_scheduler=schedule))
    runner.register_hook(ResumeHook())
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def logged(folder: Path, name: str = 'lr') -> dict[int, float]:
    """Values by step; a later run overwrites the steps it repeated."""
    rows = [json.loads(line) for log in sorted(folder.glob('*/vis_data/scalars.json')) for line in log.open()]
    return {row['step']: row[name] for row in rows if name in row}
