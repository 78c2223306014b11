"""Images that need more memory than there is are named at the end, in every program that works through images."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from peridot.devices import is_out_of_memory
from peridot.errors import DataError
from peridot.labels import SamGenerator, SlicGenerator, make_maps
from peridot.labels.memory import memory_errors
from peridot.labels.weak_labels import KMeansGenerator

HUGE = 10**15
EXHAUSTING = {
    'numpy': lambda: np.empty(HUGE),
    'torch': lambda: torch.empty(HUGE),
    'opencv': lambda: cv2.resize(np.zeros((4, 4), np.uint8), (10**7, 10**7)),
    'python': lambda: bytearray(2**62),
}


def exhaust_gpu() -> None:
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB\nGPU 0 has ...')


@pytest.mark.parametrize('library', EXHAUSTING)
def test_real_errors_of_the_libraries(library):
    with pytest.raises(Exception) as error:
        EXHAUSTING[library]()
    assert is_out_of_memory(error.value)
    with pytest.raises(DataError, match=r'^image a needs more memory than there is') as line, memory_errors('image a'):
        EXHAUSTING[library]()
    assert '\n' not in str(line.value)


@pytest.mark.parametrize(
    'text', ['CUDA error: out of memory', 'CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`']
)
def test_what_gpu_libraries_say(text):
    assert is_out_of_memory(RuntimeError(text)) and is_out_of_memory(torch.cuda.OutOfMemoryError(text))


@pytest.mark.parametrize('error', [ValueError('out of memory'), RuntimeError('shape'), cv2.error('size'), OSError(28)])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as found, memory_errors('image a'):
        raise error
    assert found.value is error


def failing(action: Callable, path: str) -> Callable:
    """A generator's method that exhausts memory at one image."""
    original = SlicGenerator.generate

    def generate(self, source):
        if source.path == path:
            action()
        return original(self, source)

    return generate


@pytest.mark.parametrize('library', [*EXHAUSTING, 'cuda'])
@pytest.mark.parametrize('workers', [1, 2])
def test_superpixels(job, monkeypatch, library, workers):
    work = job('superpixels/slic', workers)
    action = exhaust_gpu if library == 'cuda' else EXHAUSTING[library]
    with monkeypatch.context() as patch:
        patch.setattr(SlicGenerator, 'generate', failing(action, work.images[3].path))
        text = r'image .*CAM_BACK/1\.jpg needs more memory.*the other maps are done, the same command makes the rest'
        with pytest.raises(DataError, match=text) as error:
            make_maps(SlicGenerator(n_segments=20), work)
        assert '\n' not in str(error.value)
    assert [work.map_path(source).is_file() for source in work.images] == 3 * [True] + [False] + 4 * [True]
    assert make_maps(SlicGenerator(n_segments=20), work).manifest.hash


def test_the_tool_ends_with_status_1_and_can_be_repeated(street, job, run_tool, monkeypatch):
    arguments = ['make_superpixels', street / 'config.py', '--workers', 1, '--options', 'n_segments=20']
    with monkeypatch.context() as patch:
        patch.setattr(SlicGenerator, 'generate', failing(EXHAUSTING['numpy'], job('').images[0].path))
        with pytest.raises(SystemExit, match=r'^error: image .*0\.jpg needs more memory than there is') as end:
            run_tool(*arguments)
    # a text ends the process with status 1
    assert isinstance(end.value.code, str)
    run_tool(*arguments)
    assert job('superpixels/slic').maps().manifest.hash


def test_segment_anything(tiny_sam, job, monkeypatch):
    work, calls = job('superpixels/sam'), []
    generator = SamGenerator(tiny_sam, 'tiny', 3, 64, -9.0, -1.0, 1.0)
    generate = type(generator.network).generate

    def exhausted(network, image):
        calls.append(1)
        if len(calls) == 2:
            exhaust_gpu()
        return generate(network, image)

    monkeypatch.setattr(type(generator.network), 'generate', exhausted)
    with pytest.raises(DataError, match=r'CAM_BACK/0\.jpg needs more memory than there is \(CUDA out of memory'):
        make_maps(generator, work)
    assert sum(work.map_path(source).is_file() for source in work.images) == 7
    assert make_maps(generator, work).manifest.hash and len(calls) == 9


@pytest.mark.parametrize('stage', ['_read', '_pool'])
def test_weak_labels(job, monkeypatch, stage):
    teacher = dict(type='peridot.TimmTeacher', model='test_efficientnet', weights=None)
    settings = dict(num_classes=4, image_height=64, slic_height=64, n_segments=20)
    work, original, calls = job('weak_labels/kmeans'), getattr(KMeansGenerator, stage), []

    def exhausted(self, *args):
        calls.append(1)
        if len(calls) == 3:
            EXHAUSTING['torch']()
        return original(self, *args)

    monkeypatch.setattr(KMeansGenerator, stage, exhausted)
    with pytest.raises(DataError, match=r'image .*CAM_FRONT/1\.jpg needs more memory than there is'):
        make_maps(KMeansGenerator(teacher, **settings), work)
    assert len(calls) == 8
    # only the one is read again
    assert make_maps(KMeansGenerator(teacher, **settings), work).manifest.hash and len(calls) == 9
