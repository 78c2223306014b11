"""What goes wrong with GPUs, drivers, memory and the network between processes, in one line each."""

import re

import cv2

# what libraries say that have no class of error for it: torch on the CPU, CUDA, cuBLAS and cuDNN, OpenCV
OUT_OF_MEMORY = ("can't allocate memory", 'out of memory', 'STATUS_ALLOC_FAILED', 'Insufficient memory')
ONE_GPU_EACH = 'start no more processes than it has, and let each of them see all (CUDA_VISIBLE_DEVICES)'
# texts of CUDA, spconv, NCCL and torch, and the way out; special ones first
HINTS = {
    'no kernel image is available': 'torch, mmcv or spconv was not compiled for this GPU: install builds for it; '
    'spconv-triton compiles its kernels where it runs',
    'CUDA driver version is insufficient': 'update the NVIDIA driver, or install torch and spconv for an older CUDA',
    'CPU ONLY build|cpu-only spconv|spconv not (built|compiled) with cuda': 'the installed spconv is the CPU build: '
    'pip uninstall spconv, then install a wheel for your CUDA, such as spconv-cu120, or spconv-triton',
    'busy or unavailable': 'another process has this GPU to itself: choose others with CUDA_VISIBLE_DEVICES',
    'invalid device ordinal|Duplicate GPU detected': f'each process needs its own GPU: {ONE_GPU_EACH}',
    'remote process exited': 'another process ended first: see its message',
    'NCCL error': 'GPUs or machines cannot reach each other: NCCL_DEBUG=INFO before the same command says why; '
    'NCCL_SOCKET_IFNAME chooses the network, and a container may need more shared memory',
    'EADDRINUSE': 'the port is in use, perhaps by another training: put PORT=29511 before tools/dist_train.sh '
    '(MASTER_PORT for other launchers)',
    'timed out .*trying to connect|waiting for clients': 'not all processes have come: start the command on '
    'every machine, with the same MASTER_ADDR and PORT and its own NODE_RANK',
    r'worker \(pid.*\) is killed by signal: (Killed|Bus error)': 'the memory of this machine ran out: set fewer '
    'train_dataloader.num_workers; a container may need more shared memory',
}


def device_line(error: BaseException) -> str | None:
    """The line for an error of CUDA, NCCL, memory or the network; None for others."""
    if is_out_of_memory(error):
        return f'memory ran out ({reason_of(error)}): set a smaller batch or smaller inputs, or free memory'
    if not isinstance(error, RuntimeError):
        return None
    # all lines for one text after the other: what NCCL says last is more than that it failed
    for text, hint in HINTS.items():
        # torch's loader says with the cause what became of a worker
        for line in f'{error}\n{error.__cause__ or ""}'.splitlines():
            if re.search(text, line, re.I):
                return f'{line.strip().rstrip(".")}: {hint}'
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of numpy, PIL, OpenCV or torch says that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    # that of torch is a RuntimeError, too
    return isinstance(error, RuntimeError | cv2.error) and any(text in str(error) for text in OUT_OF_MEMORY)


def reason_of(error: BaseException) -> str:
    """First sentence of an error."""
    return re.split(r'\. |\n', str(error).strip() or type(error).__name__)[0].rstrip('.')
