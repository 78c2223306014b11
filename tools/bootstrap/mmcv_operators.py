"""mmcv with its operators compiled for this machine: mmcv 2.1.0 is the newest that mmdet3d accepts, without wheels.

Compiling takes 2 minutes on 2 cores without CUDA. The wheel is kept, keyed by Python, torch, GPU and mmcv. Every step
can be interrupted and run again.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path

from bootstrap.interpreter import Interpreter

MMCV = 'mmcv==2.1.0'
# mmcv's sdist needs pkg_resources, which setuptools 82 removed, and torch's build helpers
BUILD_TOOLS = ['setuptools==80.10.2', 'wheel', 'ninja==1.13.2', 'psutil==7.2.2', 'packaging']
# sources below csrc/pytorch whose names clash with those of others in their folder
ALONE = {
    'cpu': ('psamask', 'roi_align', 'roi_align_rotated', 'rotated_feature_align'),
    'cuda': (
        *('bias_act_cuda', 'box_iou_quadri_cuda', 'carafe_cuda', 'carafe_naive_cuda', 'convex_iou', 'filtered_lrelu'),
        *('iou3d_cuda', 'min_area_polygons', 'nms_quadri_cuda', 'nms_rotated_cuda', 'roiaware_pool3d_cuda'),
        *('roipoint_pool3d_cuda', 'spconv_ops_cuda', 'upfirdn2d_kernel', 'voxelization_cuda'),
    ),
}
# suffix and number of joined files of each folder; those for CUDA keep many cores busy
JOINED = {'.': ('.cpp', 2), 'cpu': ('.cpp', 1), 'cuda': ('.cu', 12)}
# torch's CUDA, that of the first GPU, and where the compiler is
QUESTION = """
import torch
from torch.utils.cpp_extension import CUDA_HOME
gpu = torch.cuda.is_available()
print(torch.__version__, 'cuda{}.{}'.format(*torch.cuda.get_device_capability()) if gpu else 'cpu', CUDA_HOME or '-')
"""


def install_mmcv(interpreter: Interpreter, cache: Path, sources: Path | None = None) -> None:
    """Install mmcv from the kept wheel, compiling it first if there is none for this Python, torch and GPU.

    Args:
        interpreter: With torch and `BUILD_TOOLS`.
        cache: Folder for wheels.
        sources: Folder with the archive of mmcv's sources; by default they are downloaded.
    """
    torch_version, device, cuda = interpreter.output(QUESTION).split()
    key = f'{sysconfig.get_python_version()}-torch{torch_version}-{device}-{MMCV.replace("==", "")}'
    wheels = cache / f'py{key}'
    wheels.mkdir(parents=True, exist_ok=True)
    with (wheels / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two clones set up at once compile once
        if not list(wheels.glob('*.whl')):
            check_compilers(needs_cuda=device != 'cpu', cuda=cuda)
            compile_mmcv(interpreter, wheels, sources)
    interpreter.pip('install', '--no-deps', '--no-index', '--force-reinstall', str(next(wheels.glob('*.whl'))))


def check_compilers(needs_cuda: bool, cuda: str) -> None:
    """Stop with one line where a compiler is missing.

    Args:
        needs_cuda: Whether the operators are compiled for a GPU.
        cuda: Folder of CUDA's compiler, '-' for none.
    """
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler.split()[0]) is None:
        sys.exit(
            f'error: no C++ compiler ({compiler}) found, mmcv needs one: '
            'install g++ or clang++ (or set CXX) and run it again'
        )
    if needs_cuda and not Path(cuda, 'bin', 'nvcc').is_file():
        sys.exit(
            'error: no CUDA compiler (nvcc) found, mmcv needs one for this GPU: '
            "install the CUDA toolkit of torch's version (or set CUDA_HOME) and run it again"
        )


def compile_mmcv(interpreter: Interpreter, wheels: Path, sources: Path | None = None) -> None:
    """Build the wheel in a folder that stays, so that an interrupted compilation continues where it stopped."""
    source, download, built = (wheels / name for name in ('source', 'download', 'built'))
    if sources is None and not list(download.glob('*.tar.gz')):
        download_mmcv(interpreter, download)
    archive = next((sources or download).glob('mmcv-*.tar.gz'))
    if not (source / 'setup.py').is_file():
        unpack_mmcv(archive, source, joined=True)
    print('      compiling once for this machine, about 2 minutes on 2 cores, with CUDA longer', flush=True)
    log = wheels / 'build.log'
    done = build_wheel(interpreter, source, built, log)
    if not done and list(source.rglob('joined_*')):
        print(f'      joined sources do not compile here ({log}): compiling them one by one', flush=True)
        unpack_mmcv(archive, source, joined=False)
        done = build_wheel(interpreter, source, built, log)
    if not done:
        sys.exit(f'error: compiling mmcv failed, its output is in {log}')
    next(built.glob('*.whl')).rename(wheels / next(built.glob('*.whl')).name)
    shutil.rmtree(source, ignore_errors=True)


def download_mmcv(interpreter: Interpreter, folder: Path) -> None:
    """Download the archive of mmcv's sources; pip runs its setup.py, which needs setuptools of `BUILD_TOOLS`."""
    interpreter.pip('download', '--no-deps', '--no-build-isolation', '--no-binary=:all:', MMCV, '-d', str(folder))


def unpack_mmcv(archive: Path, source: Path, joined: bool) -> None:
    """Unpack mmcv's sources; `joined` for a compilation in a third of the time."""
    unpacking = source.with_name('unpacking')
    for folder in (unpacking, source):
        shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as file:
        # older Pythons know no filters
        file.extractall(unpacking, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    (unpacked,) = unpacking.iterdir()
    operators = unpacked / 'mmcv' / 'ops' / 'csrc'
    replace_old_header(operators)
    if joined:
        join_sources(operators / 'pytorch')
    unpacked.rename(source)
    unpacking.rmdir()


def replace_old_header(folder: Path) -> None:
    """Include a header by the name that current torch has for it; the old one is missing from newer builds."""
    for path in folder.rglob('*'):
        if path.suffix in ('.cu', '.cuh', '.hpp'):
            text = path.read_text()
            if 'THC/THCAtomics.cuh' in text:
                path.write_text(text.replace('THC/THCAtomics.cuh', 'ATen/cuda/Atomic.cuh'))


def join_sources(folder: Path) -> None:
    """Make a few files that include the operators' sources: the compiler reads torch's headers once for each file.

    Args:
        folder: `csrc/pytorch` of mmcv's sources.
    """
    for part, (suffix, number) in JOINED.items():
        alone = ALONE.get(part, ())
        sources = sorted(path for path in (folder / part).glob(f'*{suffix}') if path.stem not in alone)
        for index in range(number):
            # mmcv compiles all files of this suffix
            included = [path.rename(path.with_suffix('.inc')) for path in sources[index::number]]
            lines = ['#include <torch/extension.h>', *(f'#include "{path.name}"' for path in included)]
            (folder / part / f'joined_{index}{suffix}').write_text('\n'.join(lines) + '\n')


def build_wheel(interpreter: Interpreter, source: Path, built: Path, log: Path) -> bool:
    """Compile without debug information, which takes 40 % of the time; returns whether it worked."""
    flags = {name: f'-g0 {os.environ.get(name, "")}'.strip() for name in ('CFLAGS', 'CXXFLAGS')}
    jobs = os.environ.get('MAX_JOBS', str(os.cpu_count()))
    environment = {**interpreter.variables, **flags, 'MMCV_WITH_OPS': '1', 'MAX_JOBS': jobs}
    options = ['-v', '--no-deps', '--no-index', '--no-build-isolation']
    command = [interpreter.path, '-m', 'pip', 'wheel', *options, '-w', built, source]
    return run_with_progress(command, environment, log) == 0


def run_with_progress(command: list, environment: dict, log: Path) -> int:
    """Run `command`, write its output to `log` and show ninja's `[done/total]` lines from time to time."""
    shown, start = 0.0, time.time()
    with (
        log.open('w') as file,
        subprocess.Popen(
            [str(c) for c in command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            progress = re.match(r'\s*\[(\d+)/(\d+)\]', line)
            if progress and time.time() - shown > 15:
                shown = time.time()
                print(f'      {progress[1]} of {progress[2]} files, {shown - start:.0f} s', flush=True)
    return process.returncode
