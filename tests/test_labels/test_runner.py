import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from peridot.errors import ConfigError, DataError
from peridot.labels import MapJob, SlicGenerator, make_maps
from peridot.labels.generator import build_generator
from peridot.labels.parallel import run_parallel
from peridot.maps import MapFolder, images_of
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, str(REPO / 'tools/make_superpixels.py')]


def environment() -> dict:
    paths = os.pathsep.join([str(REPO / 'projects'), os.environ.get('PYTHONPATH', '')])
    return {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}


def job_for(root, out='superpixels/slic', workers=1) -> MapJob:
    settings = Config.fromfile(root / 'config.py').train_dataloader.dataset
    dataset = DATASETS.build({**settings, 'pipeline': []})
    return MapJob(images_of(dataset), root, root / out, workers)


def opencv_threads(_) -> int:
    return cv2.getNumThreads()


def files(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()
    }


def test_images_of_a_dataset_and_of_wrapped_ones(street):
    images = job_for(street).images
    assert [source.key for source in images[:3]] == [
        'samples/CAM_FRONT/0',
        'samples/CAM_BACK/0',
        'samples/CAM_FRONT/1',
    ]
    assert images[1].token == 'CAM_BACK-0' and len(images) == 8
    settings = {**Config.fromfile(street / 'config.py').train_dataloader.dataset, 'pipeline': []}
    twice = DATASETS.build({'type': 'ConcatDataset', 'datasets': [settings, settings]})
    assert images_of(twice) == list(images)


def test_maps_of_a_dataset(street):
    job = job_for(street)
    maps = make_maps(SlicGenerator(n_segments=20), job)
    for source in job.images:
        assert maps.read(source.path, (90, 160)).max() < 20
    manifest = maps.manifest
    assert (manifest.kind, manifest.generator, manifest.num_ids) == ('superpixels', 'slic', 20)
    assert manifest.parameters == {'n_segments': 20, 'compactness': 6.0, 'sigma': 3.0, 'scale': 1.0}
    assert manifest.hash.startswith('sha256:')
    np.testing.assert_array_equal(
        maps.read(job.images[3].path, (90, 160)), SlicGenerator(n_segments=20)(job.images[3].read())
    )


def test_a_data_root_relative_to_the_current_folder(street, monkeypatch):
    expected = make_maps(SlicGenerator(n_segments=20), job_for(street, 'superpixels/expected')).manifest.hash
    monkeypatch.chdir(street.parent)
    settings = {**Config.fromfile(street / 'config.py').train_dataloader.dataset, 'pipeline': []}
    root = Path(street.name)
    job = MapJob(images_of(DATASETS.build({**settings, 'data_root': street.name})), root, root / 'superpixels/slic')
    assert make_maps(SlicGenerator(n_segments=20), job).manifest.hash == expected


def test_workers_change_nothing(street):
    make_maps(SlicGenerator(n_segments=20), job_for(street, 'one', 1))
    make_maps(SlicGenerator(n_segments=20), job_for(street, 'two', 2))
    assert files(street / 'one') == files(street / 'two')


def test_resuming_makes_what_is_missing_or_damaged_alone(street):
    job = job_for(street)
    make_maps(SlicGenerator(n_segments=20), job)
    before = files(job.out)
    paths = [job.map_path(source) for source in job.images]
    paths[2].unlink()
    paths[5].write_bytes(paths[5].read_bytes()[:200])
    times = {path: path.stat().st_mtime_ns for path in paths if path.is_file()}
    make_maps(SlicGenerator(n_segments=20), job)
    assert files(job.out) == before
    remade = [path for path in paths if path.stat().st_mtime_ns != times.get(path)]
    assert remade == [paths[2], paths[5]]


def test_other_settings_are_refused_unless_overwritten(street):
    job = job_for(street)
    make_maps(SlicGenerator(n_segments=20), job)
    before = files(job.out)
    with pytest.raises(ConfigError, match=r'n_segments=20, now it is 10: .*--out DIR .*--overwrite'):
        make_maps(SlicGenerator(n_segments=10), job)
    assert files(job.out) == before
    maps = make_maps(SlicGenerator(n_segments=10), job, overwrite=True)
    assert max(int(maps.read(source.path, (90, 160)).max()) for source in job.images) < 10


def test_an_interrupted_overwrite_trusts_no_old_map(street, monkeypatch):
    job = job_for(street)
    make_maps(SlicGenerator(n_segments=20), job)
    removed = []

    def stop_after_three(path, missing_ok=False):
        removed.extend([path] if path.exists() else [])
        if len(removed) == 4:
            raise KeyboardInterrupt
        os.unlink(path) if path.exists() else None

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, 'unlink', stop_after_three)
        make_maps(SlicGenerator(n_segments=10), job, overwrite=True)
    with pytest.raises(ConfigError, match=r'holds maps .* but no manifest.json'):
        make_maps(SlicGenerator(n_segments=10), job)
    maps = make_maps(SlicGenerator(n_segments=10), job, overwrite=True)
    assert max(int(maps.read(source.path, (90, 160)).max()) for source in job.images) < 10


def test_a_damaged_image_is_named_and_the_others_are_made(street):
    job = job_for(street)
    first, other = Path(job.images[1].path), Path(job.images[4].path)
    valid = first.read_bytes()
    first.write_bytes(valid[: len(valid) // 2])
    other.unlink()
    with pytest.raises(DataError, match=r'CAM_BACK/0\.jpg is damaged.* \(and 1 more of 8 images\)'):
        make_maps(SlicGenerator(n_segments=20), job)
    assert sum(job.map_path(source).is_file() for source in job.images) == 6
    assert job.maps().manifest.hash is None
    first.write_bytes(valid)
    other.write_bytes(valid)
    assert make_maps(SlicGenerator(n_segments=20), job).manifest.hash


class TooManyIds(SlicGenerator):
    @classmethod
    def registered_name(cls) -> str:
        return 'too_many_ids'

    def __call__(self, image):
        return np.full(image.shape[:2], self.num_ids)


def test_a_generator_that_breaks_its_promise_writes_nothing(street):
    job = job_for(street)
    with pytest.raises(DataError, match='holds value 150, the manifest declares 150 superpixel ids'):
        make_maps(TooManyIds(), job)
    assert [path.name for path in job.out.rglob('*')] == ['manifest.json']


def test_run_parallel_keeps_the_order():
    assert list(run_parallel(abs, [-3, 2, -1, 0, 5], 2)) == [3, 2, 1, 0, 5]


def end_process(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_the_system_kills_is_one_line():
    """As Linux does when memory runs out."""
    with pytest.raises(DataError, match=r'a worker process was killed, .*fewer --workers; the same command continues$'):
        list(run_parallel(end_process, range(8), 2))


def test_workers_start_although_opencv_has_threads():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)
    time.sleep(0.5)  # its thread falls asleep
    signal.alarm(60)
    try:
        assert list(run_parallel(opencv_threads, range(4), 2)) == [1] * 4
        assert cv2.getNumThreads() == 2
    finally:
        signal.alarm(0)
        cv2.setNumThreads(before)


@pytest.mark.parametrize('kind', ['superpixels', 'labels'])
def test_unknown_generator_or_option(kind):
    config = Config({'model': {'teacher': {'type': 'x'}}})
    with pytest.raises(ConfigError, match=r"is called 'magic': choose from .*files, .*(slic|kmeans)"):
        build_generator(kind, 'magic', {}, config)
    name = {'superpixels': 'slic', 'labels': 'kmeans'}[kind]
    with pytest.raises(ConfigError, match="unexpected keyword argument 'segments'"):
        build_generator(kind, name, {'segments': 3}, config)
    with pytest.raises(ConfigError, match=r"--options of grounded-sam: could not convert string to float: 'x'"):
        build_generator('labels', 'grounded-sam', {'checkpoint': 'y', 'box_threshold': 'x'}, config)
    with pytest.raises(ConfigError, match=r"--options of sam: missing 1 required .*'checkpoint'"):
        build_generator('superpixels', 'sam', {}, config)


@pytest.mark.slow
def test_two_processes_make_what_one_makes(street):
    command = [*TOOL, str(street / 'config.py'), '--out', 'pair', '--options', 'n_segments=20', '--preview', '2']
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    # what torchrun sets
    shared = {**environment(), 'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1'}
    pair = [
        subprocess.Popen(command, env={**shared, 'RANK': rank, 'LOCAL_RANK': rank, 'MASTER_PORT': port}, cwd=REPO)
        for rank in '01'
    ]
    assert [process.wait(timeout=120) for process in pair] == [0, 0]
    one, two = make_maps(SlicGenerator(n_segments=20), job_for(street)), MapFolder('pair', street)
    assert one.manifest.hash == two.manifest.hash is not None
    assert len(list((street / 'pair/preview').glob('*.jpg'))) == 2
    assert two.manifest.command.startswith('python ') and '--out pair' in two.manifest.command


def test_errors_of_the_tool_are_one_line(street, run_tool):
    make_maps(SlicGenerator(n_segments=20), job_for(street))
    arguments = ['make_superpixels', street / 'config.py', '--options', 'n_segments=21']
    with pytest.raises(SystemExit) as stopped:
        run_tool(*arguments)
    assert stopped.value.code.startswith('error: ') and '\n' not in stopped.value.code
    with pytest.raises(SystemExit, match=r'the data root .* does not exist'):
        run_tool(*arguments, '--data-root', street / 'absent')


@pytest.mark.slow
def test_tool_killed_in_the_middle_continues(street):
    images = job_for(street).images
    command = [*TOOL, str(street / 'config.py'), '--options', 'n_segments=20', '--workers', '2']
    slow = environment()
    slow['PYTHONPATH'] = os.pathsep.join([str(street / 'slow'), slow['PYTHONPATH']])
    (street / 'slow').mkdir()
    (street / 'slow' / 'sitecustomize.py').write_text(
        'import time\nfrom pathlib import Path\nwrite = Path.write_bytes\n'
        'def slow(self, data):\n'
        "    write(self, b'half'); time.sleep(0.4); write(self, data)\n"
        'Path.write_bytes = slow\n'
    )
    process = subprocess.Popen(command, env=slow, start_new_session=True, stderr=subprocess.PIPE, cwd=REPO)
    out = street / 'superpixels/slic'
    limit = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < limit:
        if len(list(out.rglob('[!.]*.runs'))) >= 2 and list(out.rglob('.*.part')):
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    maps = MapFolder(out, street)
    done = [source for source in images if maps.path_for(source.path).is_file()]
    assert 2 <= len(done) < len(images) and list(out.rglob('.*.part'))
    for source in done:
        maps.read(source.path, (90, 160))
    assert maps.manifest.hash is None
    make_maps(SlicGenerator(n_segments=20), job_for(street))
    make_maps(SlicGenerator(n_segments=20), job_for(street, 'whole'))
    assert not list(out.rglob('.*.part'))
    assert MapFolder(out, street).manifest.hash == MapFolder('whole', street).manifest.hash is not None
