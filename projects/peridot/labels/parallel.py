"""Work on many images in worker processes, with a progress bar."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
from mmengine import dist
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from peridot.errors import DataError


def run_parallel(task: Callable, items: Sequence, workers: int) -> Iterator:
    """Yield the results of `task(item)` in the order of `items`, computed in `workers` processes.

    An error of a worker is raised here; leaving the loop early (an error, Ctrl-C) ends the workers. A `DataLoader` is
    the pool, as it bounds how far workers run ahead of the loop, which `multiprocessing` and `concurrent.futures` do
    not.

    Args:
        task: Picklable function.
        items: Its arguments.
        workers: Number of processes; 0 and 1 mean this one.

    Raises:
        DataError: The system killed a worker.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(task, items)
        return
    # batch_size=None hands over each result as it is; numpy arrays travel through pipes, not shared memory
    loader = DataLoader(
        _Tasks(task, items),
        batch_size=None,
        num_workers=min(workers, len(items)),
        collate_fn=_unchanged,
        prefetch_factor=4,
    )
    threads = cv2.getNumThreads()
    # a worker computes in one thread; were OpenCV told in the forked worker, it would wait for the threads of this
    # process, which the worker does not have
    cv2.setNumThreads(1)
    try:
        results = iter(loader)
    finally:
        cv2.setNumThreads(threads)
    try:
        yield from results
    except RuntimeError as error:
        # a worker that the system ended says nothing itself
        if 'DataLoader worker (pid' not in str(error):
            raise
        raise DataError(
            'a worker process was killed, most likely because memory ran out: give fewer --workers; the same command '
            'continues'
        ) from None


def progress(results: Iterable, total: int, what: str, unit: str = 'images') -> Iterator:
    """Show a progress bar with the time left over `results`, in the first process, which stands for all."""
    interval = 0.2 if sys.stderr.isatty() else 15.0
    hidden = not dist.is_main_process()
    return tqdm(results, total=total, desc=what, unit=f' {unit}', disable=hidden, mininterval=interval)


class _Tasks(Dataset):
    """Lets a DataLoader run a function over a list."""

    def __init__(self, task: Callable, items: Sequence) -> None:
        self.task, self.items = task, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.task(self.items[index])


def _unchanged(item):
    return item
