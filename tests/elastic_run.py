"""A training that torchrun starts again; its argument is a folder."""

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from peridot.errors import PeridotError
from peridot.hooks import InterruptionHook
from peridot.work_dirs import last_checkpoint
from tiny_runs import Net, loader, train


class Pace(Hook):
    """20 iterations a second, each noted with the process that makes it."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        time.sleep(0.05)
        with open(folder / f'rank{dist.get_rank()}.txt', 'a') as file:
            file.write(f'{os.getpid()} {runner.iter}\n')


folder = Path(sys.argv[1])
torch.set_num_threads(1)
try:
    resume = last_checkpoint(folder)
except PeridotError:
    resume = None
runner = train(
    folder,
    [dict(type='ExponentialLR', gamma=0.99, by_epoch=False)],
    batch=1,
    resume=resume,
    model=Net(0.5),
    # every 0.6 s
    hooks=[InterruptionHook(0.01), Pace()],
    # whose worker has to end with the run
    train_dataloader=loader(batch=1, workers=1),
    train_cfg=dict(type='peridot.TrainLoop', max_epochs=80),
    launcher='pytorch',
    cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
)
if dist.get_rank() == 0:
    torch.save([p.detach() for p in runner.model.parameters()], folder / 'weights.pt')
dist.barrier()
dist.destroy_process_group()
