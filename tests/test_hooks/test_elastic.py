"""torchrun starts a job again in which a process was killed, and the job ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
KILLS = 10


def start(folder: Path, port: int) -> subprocess.Popen:
    # as tools/dist_train.sh has it
    meeting = f'--rdzv_backend=c10d --rdzv_endpoint=127.0.0.1:{port} --rdzv_id=train --max_restarts={2 * KILLS}'
    path = os.pathsep.join([str(TESTS), os.environ.get('PYTHONPATH', '')])
    return subprocess.Popen(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            *meeting.split(),
            '--nproc_per_node=2',
            str(TESTS / 'elastic_run.py'),
            str(folder),
        ],
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'},
        stdout=open(f'{folder}.log', 'w'),
        stderr=subprocess.STDOUT,
    )


def steps(folder: Path, rank: int) -> list[tuple[int, int]]:
    """(process, iteration) of all steps that a rank began."""
    file = folder / f'rank{rank}.txt'
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.slow
def test_ten_killed_processes_change_nothing(tmp_path, free_port):
    for name in ('whole', 'killed'):
        (tmp_path / name).mkdir()
    assert start(tmp_path / 'whole', free_port).wait(300) == 0
    draw = random.Random(0)
    job, folder, killed = start(tmp_path / 'killed', free_port), tmp_path / 'killed', set()
    kills = 0
    while job.poll() is None and kills < KILLS:
        rank = draw.randrange(2)
        pid = next((pid for pid, _ in reversed(steps(folder, rank))), None)
        if pid is None or pid in killed or not Path(f'/proc/{pid}').exists():
            time.sleep(0.05)
            continue
        time.sleep(draw.uniform(0, 1.5))
        os.kill(pid, signal.SIGKILL)
        kills += 1
        killed |= {pid, *(pid for pid, _ in steps(folder, 1 - rank)[-1:])}
        print(f'killed process {rank} in or after iteration {steps(folder, rank)[-1][1]}')
    assert job.wait(300) == 0 and kills == KILLS
    made = steps(folder, 0)
    print(f'{len({pid for pid, _ in made})} starts, {len(made)} steps for {max(i for _, i in made) + 1} iterations')
    expected, found = (torch.load(tmp_path / name / 'weights.pt') for name in ('whole', 'killed'))
    assert all(a.equal(b) for a, b in zip(expected, found))
