"""Four processes that share a folder, as torchrun starts them on two machines; one of them is killed in the middle."""

import multiprocessing
import os
import re
import signal
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from peridot.cli import run
from peridot.errors import DataError
from peridot.files import atomic_path
from peridot.labels import LabelGenerator, MapJob, distributed, make_maps
from peridot.labels.clustering import ClusterGenerator, fit_kmeans, nearest_center, save_arrays

FORK = multiprocessing.get_context('fork')
COUNT = 4
GONE = r'error: another process of this run has ended or cannot be reached \('
# the second image of process 0, of process 2
SECOND = {0: 'samples/CAM_FRONT/2', 2: 'samples/CAM_FRONT/3'}


def end_process(path: Path) -> None:
    """As if the machine went down while it writes a file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(b'half')
        os.kill(os.getpid(), signal.SIGKILL)


class Bright(LabelGenerator):
    """Pixels brighter than the mean; `event` happens to the process that comes to the image `at`."""

    kind = 'superpixels'
    num_ids = 2
    parameters = {}

    def __init__(self, at: str | None = None, event=end_process) -> None:
        self.at, self.event = at, event

    @classmethod
    def registered_name(cls) -> str:
        return 'bright'

    def open(self, job: MapJob) -> None:
        self.job = job

    def generate(self, source) -> np.ndarray:
        if source.key == self.at:
            self.event(self.job.map_path(source))
        image = source.read().mean(2)
        return (image > image.mean()).astype(np.int64)


class ColorClusters(ClusterGenerator):
    """Clusters of the mean colors of images; the process that fits them may be killed."""

    classes = ('first', 'second')
    parameters = {}

    def __init__(self, is_killed: bool = False) -> None:
        super().__init__()
        self.is_killed = is_killed

    @classmethod
    def registered_name(cls) -> str:
        return 'colors'

    def encode(self, sources, workers) -> list[str]:
        for source in sources:
            save_arrays(self.stored(source), features=source.read().reshape(1, -1, 3).mean(1, dtype=np.float32))
        return []

    def cluster(self, job) -> dict[str, np.ndarray]:
        if self.is_killed:
            end_process(job.work_dir / 'clusters.npz')
        features = np.concatenate([np.load(self.stored(source))['features'] for source in job.images])
        return dict(centers=fit_kmeans(features, 2, 1, 0)[0])

    def generate(self, source) -> np.ndarray:
        (label,) = nearest_center(np.load(self.stored(source))['features'], self._clusters['centers'])
        return np.full(source.size(), label)


def start_and_make(generator: LabelGenerator, job: MapJob) -> None:
    distributed.start_distributed()
    make_maps(generator, job)


def work(generator: LabelGenerator, job: MapJob, rank: int, port: int, errors: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(COUNT), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    # the interpreter writes the message of a SystemExit when everything else has ended
    sys.stderr = open(errors, 'w')  # noqa: SIM115
    run(partial(start_and_make, generator, job))


@pytest.fixture
def together(tmp_path, free_port):
    """`together(generator, job)`: exit status and last line of each of the processes that make maps."""

    def make(generator: LabelGenerator, job: MapJob) -> list[tuple[int, str]]:
        errors = [tmp_path / f'errors_{rank}' for rank in range(COUNT)]
        arguments = [(generator, job, rank, free_port, path) for rank, path in enumerate(errors)]
        processes = [FORK.Process(target=work, args=item, daemon=True) for item in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        lines = [path.read_text().rpartition('\r')[2].splitlines() for path in errors]
        return [(process.exitcode, line[-1] if line else '') for process, line in zip(processes, lines)]

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob('[!.]*.runs')}


@pytest.mark.parametrize('killed', SECOND)
def test_the_others_finish_their_part_and_the_same_command_makes_the_rest(job, together, killed):
    shared = job('shared')
    found = together(Bright(SECOND[killed]), shared)
    for rank, (status, line) in enumerate(found):
        assert status == (-signal.SIGKILL if rank == killed else 1)
        assert rank == killed or re.fullmatch(rf'{GONE}[^()]*Connection [^()]*\): .*makes the rest', line)
    before = times(shared.out)
    assert len(before) == 7 and len(list(shared.out.rglob('.*.part'))) == 1
    assert (shared.out / distributed.LOCK).exists() == (killed == 0)
    assert shared.maps().manifest.hash is None
    assert [status for status, _ in together(Bright(), shared)] == [0] * COUNT
    assert len(times(shared.out)) == 8 and before.items() <= times(shared.out).items()
    make_maps(Bright(), job('alone'))
    assert contents(shared.out) == contents(job('alone').out)
    assert len(contents(shared.out)) == 9


def test_the_process_that_works_for_all_is_killed(job, together):
    shared = job('shared')
    found = together(ColorClusters(is_killed=True), shared)
    assert [status for status, _ in found] == [-signal.SIGKILL, 1, 1, 1]
    assert all(re.match(GONE, line) for _, line in found[1:])
    assert len(list(shared.work_dir.rglob('[!.]*.npz'))) == 8 and not times(shared.out)
    assert [status for status, _ in together(ColorClusters(), shared)] == [0] * COUNT
    make_maps(ColorClusters(), job('alone'))
    assert contents(shared.out) == contents(job('alone').out)


def test_no_process_waits_forever(job, together, monkeypatch):
    """As where a machine lost its power, and nothing tells the others."""
    monkeypatch.setattr(distributed, 'WAIT', timedelta(seconds=0.5))
    found = together(Bright(SECOND[2], lambda path: time.sleep(2)), job('shared'))
    assert all(status == 1 and re.match(GONE, line) for status, line in found)


def test_a_second_run_on_the_same_folder_is_refused(job):
    shared, stops = job('shared'), FORK.Event()

    def stop(path: Path) -> None:
        stops.set()
        time.sleep(60)

    first = FORK.Process(target=make_maps, args=(Bright(SECOND[0], stop), shared), daemon=True)
    first.start()
    assert stops.wait(60)
    before = contents(shared.out)
    with pytest.raises(DataError, match=r'shared is being made by another run: .*torchrun .*docs/label_maps.md$'):
        make_maps(Bright(), shared, overwrite=True)
    assert contents(shared.out) == before
    # the lock of a killed process is gone
    first.kill()
    first.join()
    make_maps(Bright(), shared)
    make_maps(Bright(), job('alone'))
    assert contents(shared.out) == contents(job('alone').out)


def test_a_lock_that_the_ending_run_removed_is_none(job, monkeypatch):
    shared = job('shared')
    lock = shared.out / distributed.LOCK
    for event in (lock.unlink, lambda: (lock.unlink(), lock.touch())):
        monkeypatch.setattr(distributed.fcntl, 'lockf', lambda *_, event=event: event())
        with pytest.raises(DataError, match='by another run'):
            make_maps(Bright(), shared)
    assert not times(shared.out)


def test_a_disk_without_locks_is_mentioned(job, log, monkeypatch):
    def refuse(*_):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr(distributed.fcntl, 'lockf', refuse)
    assert make_maps(Bright(), job('shared')).manifest.hash
    assert 'shared cannot be locked (No locks available): do not start a second run' in log.text


def test_the_result_of_the_first_process_is_handed_over():
    assert distributed.in_first_process(lambda: [1, 2]) == [1, 2]
    with pytest.raises(DataError, match='no'):
        distributed.in_first_process(partial(_raise, DataError('no')))
    # an error of the program itself is not that of another process
    with pytest.raises(RuntimeError, match='wrong shape'):
        distributed.in_first_process(partial(_raise, RuntimeError('wrong shape')))


def _raise(error: Exception) -> None:
    raise error
