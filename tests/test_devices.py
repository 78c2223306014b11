"""Errors of GPUs, memory and the network end in one line; GPUs and their libraries are made up here."""

import datetime
import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch
from peridot.cli import run
from peridot.devices import device_line
from peridot.errors import ConfigError, PeridotError
from peridot.gpus import check_own_gpu, memory_of_training
from peridot.labels.distributed import start_distributed
from torch import distributed

REPO = Path(__file__).resolve().parents[1]
GIB = 2**30
CUDA_NOTE = '\nCUDA kernel errors might be asynchronously reported at some other API call.\n'
NCCL = (
    'NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:268, {}, NCCL version 2.21.5\n'
    'ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. '
    '\nLast error:\n'
)


@pytest.fixture
def two_gpus(monkeypatch):
    """torch says that there are two GPUs of 80 GiB, of which tensors took 78."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 78 * GIB)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (GIB, 80 * GIB))


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        (
            'CUDA error: no kernel image is available for execution on the device' + CUDA_NOTE,
            r'^CUDA error: no kernel image is available for execution on the device: torch, mmcv or spconv was not',
        ),
        (
            'conv.cu(96)\nCUDA driver version is insufficient for CUDA runtime version\n',
            r'^CUDA driver version is insufficient for CUDA runtime version: update the NVIDIA driver',
        ),
        (
            'ops.cc(12)\nnot implemented for CPU ONLY build.',
            r'^not implemented for CPU ONLY build: .*spconv-cu',
        ),
        ('CUDA error: invalid device ordinal' + CUDA_NOTE, r'ordinal: each process needs its own GPU: start no more'),
        (
            'CUDA error: CUDA-capable device(s) is/are busy or unavailable' + CUDA_NOTE,
            r'unavailable: another process has this GPU to itself',
        ),
        (
            NCCL.format('unhandled system error (run with NCCL_DEBUG=INFO for details)'),
            r'^NCCL error in: .*SOCKET_IFNAME',
        ),
        (
            NCCL.format('invalid usage') + 'Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000',
            r'^Duplicate GPU detected : .*: each process needs its own GPU',
        ),
        (
            'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...',
            r'^DataLoader worker .*num_workers',
        ),
        (
            'CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...',
            r'^memory ran out \(CUDA out of memory\): set',
        ),
    ],
)
def test_what_the_libraries_of_a_gpu_say_is_one_line(text, line):
    with pytest.raises(SystemExit, match=line.replace('^', '^error: ')) as stop:
        run(lambda: fail(RuntimeError(text)))
    assert '\n' not in str(stop.value)


def test_the_loader_says_with_the_cause_what_became_of_a_worker():
    error = RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly')
    error.__cause__ = RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
    assert 'is killed by signal: Killed: the memory of this machine ran out' in device_line(error)
    error.__cause__ = None
    assert device_line(error) is None


def test_one_that_another_process_left_alone_does_not_blame_the_network():
    text = NCCL.format('remote process exited or there was a network error, NCCL version 2.21.5')
    assert device_line(RuntimeError(text)).endswith('another process ended first: see its message')


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    'error', [RuntimeError('shape'), RuntimeError(), ValueError('NCCL error'), KeyError('EADDRINUSE')]
)
def test_other_errors_are_no_line(error):
    assert device_line(error) is None


@pytest.mark.parametrize(
    ('master', 'world', 'line'),
    [
        (True, 1, 'address already in use: the port is in use'),
        (False, 2, r'127\.0\.0\.1, \d+\): not all processes have'),
    ],
)
def test_ports_that_are_in_use_or_unreachable(master, world, line, free_port):
    """With torch's own errors."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', free_port))
        if master:
            server.listen()
        second = datetime.timedelta(seconds=1)
        with pytest.raises(SystemExit, match=f'^error: .*{line}'):
            run(lambda: distributed.TCPStore('127.0.0.1', free_port, world, master, second))


def test_processes_that_do_not_come(free_port):
    second = datetime.timedelta(seconds=1)
    with pytest.raises(SystemExit, match=r'^error: .*1/2 clients joined: not all processes have come: .*NODE_RANK'):
        run(lambda: distributed.TCPStore('127.0.0.1', free_port, 2, True, second))


def test_the_script_for_several_gpus_says_that_its_port_is_in_use():
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(
            ['bash', 'tools/dist_train.sh', 'none.py', '2'],
            **dict(cwd=REPO, env={**os.environ, 'PORT': str(port)}, capture_output=True, text=True, timeout=60),
        )
    assert done.returncode == 1
    assert done.stderr == (
        f'error: port {port} is in use, perhaps by another training: set another one, such as PORT={port + 1}\n'
    )


@pytest.mark.parametrize(
    ('launcher', 'variable'),
    [('pytorch', 'LOCAL_RANK'), ('slurm', 'SLURM_LOCALID'), ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK')],
)
def test_more_processes_than_gpus(launcher, variable, two_gpus, monkeypatch):
    monkeypatch.setenv(variable, '1')
    check_own_gpu(launcher)
    monkeypatch.setenv(variable, '2')
    check_own_gpu('none')
    with pytest.raises(ConfigError, match=rf'^process 3 of this machine finds 2 GPUs \(launcher {launcher}\): start'):
        check_own_gpu(launcher)
    # on the CPU there may be any number
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    check_own_gpu(launcher)


def test_more_processes_than_gpus_that_make_maps(two_gpus, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '3')
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(ConfigError, match=r'^process 3 of this machine finds 2 GPUs \(launcher pytorch\)'):
        start_distributed()


MODEL = dict(teacher=dict(type='peridot.TimmTeacher'))
FULL = dict(model=MODEL, optim_wrapper=dict(type='OptimWrapper'), train_dataloader=dict(batch_size=16))
LEAST = dict(train_dataloader=dict(batch_size=1), optim_wrapper=dict(type='AmpOptimWrapper'))


def test_a_step_that_needs_too_much_memory_names_what_it_took_and_the_ways_out(two_gpus):
    error = torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nMore')
    with pytest.raises(PeridotError) as line, memory_of_training(FULL):
        raise error
    assert str(line.value) == (
        'memory ran out with batches of 16 samples a process, tensors took up to 78.0 of 80.0 GiB: set '
        'train_dataloader.batch_size=8 (--cfg-options), or --amp, or fewer points (max_points, num_points) or pairs '
        '(num_pairs), or stored features of the teacher (tools/make_teacher_features.py); --resume continues (CUDA out '
        'of memory)'
    )
    with pytest.raises(PeridotError) as line, memory_of_training(LEAST):
        raise error
    assert 'batch_size' not in str(line.value) and '--amp' not in str(line.value) and 'teacher' not in str(line.value)


def test_memory_on_the_cpu_and_other_errors():
    line = r'^memory ran out with batches of 16 samples a process: set '
    with pytest.raises(PeridotError, match=line), memory_of_training(FULL):
        torch.empty(10**15)
    for error in (ValueError('shape'), MemoryError()):
        with pytest.raises(type(error)) as found, memory_of_training(FULL):
            raise error
        assert found.value is error
