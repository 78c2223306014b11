import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from peridot.drive_and_segment.proposals.generator import ProposalGenerator, Sweep, paint, sweeps_of
from peridot.drive_and_segment.proposals.lidar_proposals import LidarProposals
from peridot.errors import ConfigError, DataError
from peridot.labels import MapJob, make_maps
from peridot.labels.previews import write_previews
from peridot.maps import MapFolder
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
# those of the segmentor have an underscore
CONFIGS = [p for p in sorted((REPO / 'configs' / 'drive_and_segment').glob('*.py')) if '_' not in p.stem]
DEMO = REPO / 'configs' / 'drive_and_segment' / 'demo.py'


@pytest.fixture(scope='module')
def sweeps(demo_root):
    settings = Config.fromfile(DEMO).train_dataloader.dataset
    return sweeps_of(DATASETS.build({**settings, 'data_root': str(demo_root), 'indices': 3, 'pipeline': []}))


def generator(sweeps: list[Sweep], **settings) -> ProposalGenerator:
    return ProposalGenerator(sweeps, **{**Config.fromfile(DEMO).proposals, **settings})


def job_for(sweeps, root, out, workers=1) -> MapJob:
    return MapJob([source for sweep in sweeps for source in sweep.images], root, out, workers)


def files(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_maps_of_all_cameras(demo_root, sweeps, tmp_path):
    assert len(sweeps) == 3 and [len(sweep.images) for sweep in sweeps] == [6, 6, 6]
    job, made = job_for(sweeps, demo_root, tmp_path / 'maps'), generator(sweeps)
    maps = make_maps(made, job)
    assert maps.manifest.ignore == 0 and maps.manifest.hash and maps.manifest.generator == 'lidar'
    points = np.fromfile(sweeps[1].lidar_points['lidar_path'], np.float32).reshape(-1, 5)
    expected = made.proposals(points, sweeps[1].lidar2cam, sweeps[1].cam2img, [(198, 352)] * 6)
    for source, ids in zip(sweeps[1].images, expected):
        np.testing.assert_array_equal(maps.read(source.path, (198, 352)), ids)
        assert (ids > 0).mean() > 0.3 and ids.max() > 2
    written = write_previews(maps, job, 99, paint)
    # each image once
    assert sorted(path.name[4:-4] for path in written) == sorted(Path(source.path).stem for source in job.images)
    assert all(path.is_file() for path in written)


def test_workers_and_resumption_change_nothing(demo_root, sweeps, tmp_path):
    make_maps(generator(sweeps), job_for(sweeps, demo_root, tmp_path / 'one'))
    job = job_for(sweeps, demo_root, tmp_path / 'two', workers=2)
    make_maps(generator(sweeps), job)
    expected = files(tmp_path / 'one')
    assert files(tmp_path / 'two') == expected and len(expected) == 19
    paths = [job.map_path(source) for source in job.images]
    paths[2].unlink()
    paths[8].write_bytes(paths[8].read_bytes()[:100])
    times = {path: path.stat().st_mtime_ns for path in paths if path not in (paths[2], paths[8])}
    make_maps(generator(sweeps), job)
    assert files(tmp_path / 'two') == expected
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_processes_share_the_sweeps(demo_root, sweeps, tmp_path, monkeypatch):
    job = job_for(sweeps, demo_root, tmp_path / 'maps')
    monkeypatch.setattr('peridot.labels.runner.dist.get_dist_info', lambda: (1, 2))
    # one of two processes
    make_maps(generator(sweeps), job)
    made = [job.map_path(source).is_file() for source in job.images]
    assert made == 6 * [False] + 6 * [True] + 6 * [False]


def test_other_settings_are_refused(demo_root, sweeps, tmp_path):
    job = job_for(sweeps[:1], demo_root, tmp_path / 'maps')
    make_maps(generator(sweeps[:1]), job)
    other = generator(sweeps[:1], clusters=dict(angle=12.0))
    with pytest.raises(ConfigError, match=r'made with angle=10.0, now it is 12.0: .*--overwrite'):
        make_maps(other, job)
    assert make_maps(other, job, overwrite=True).manifest.parameters['clusters']['angle'] == 12


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (b'', 'has 0 bytes, expected a positive multiple'),
        (np.full((40, 5), 0.3, np.float32).tobytes(), 'holds 0.3, which'),
    ],
)
def test_a_bad_sweep_does_not_stop_the_others(demo_root, sweeps, tmp_path, content, problem):
    bad = tmp_path / 'bad.bin'
    bad.write_bytes(content)
    mixed = [sweeps[0], replace(sweeps[1], lidar_points={'lidar_path': str(bad)}), sweeps[2]]
    job = job_for(mixed, demo_root, tmp_path / 'maps')
    with pytest.raises(DataError, match=rf'bad\.bin.*{problem}.*and 5 more of 18 images.*the other maps are done'):
        make_maps(generator(mixed), job)
    assert [job.map_path(source).is_file() for source in job.images] == 6 * [True] + 6 * [False] + 6 * [True]


def test_a_sweep_that_exhausts_memory_does_not_stop_the_others(demo_root, sweeps, tmp_path, monkeypatch):
    job, calls, original = job_for(sweeps, demo_root, tmp_path / 'maps'), [], LidarProposals.__call__

    def exhausted(self, *args):
        calls.append(1)
        return np.empty(10**15) if len(calls) == 2 else original(self, *args)

    monkeypatch.setattr(LidarProposals, '__call__', exhausted)
    with pytest.raises(DataError, match=r'image .*\.jpg needs more memory.*and 5 more of 18 images'):
        make_maps(generator(sweeps), job)
    assert [job.map_path(source).is_file() for source in job.images] == 6 * [True] + 6 * [False] + 6 * [True]
    assert make_maps(generator(sweeps), job).manifest.hash


def test_a_camera_without_lidar_is_named(demo_root, sweeps, tmp_path, caplog):
    from mmengine.logging import MMLogger

    lidar2cam = sweeps[0].lidar2cam.copy()
    # the third camera looks straight up
    lidar2cam[2] = np.eye(4)
    upward = [replace(sweeps[0], lidar2cam=lidar2cam)]
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    for _ in range(2):
        caplog.clear()
        maps = make_maps(generator(upward), job_for(upward, demo_root, tmp_path / 'maps'))
        assert re.search(rf'1 of 6 superpixels maps are empty: .*: {upward[0].images[2].key}', caplog.text)
    logger.removeHandler(caplog.handler)
    assert not maps.read(upward[0].images[2].path, (198, 352)).any()


def test_label_maps_of_another_size_are_refused(demo_root, sweeps, tmp_path):
    job = job_for(sweeps[:1], demo_root, tmp_path / 'maps')
    maps = make_maps(generator(sweeps[:1]), job)
    with pytest.raises(DataError, match='has 198x352 pixels, its image has 100x200'):
        maps.read(job.images[0].path, (100, 200))


def test_the_tool(demo_root, tmp_path, run_tool, capsys):
    out = tmp_path / 'maps'
    arguments = [DEMO, '--data-root', demo_root, '--out', out, '--workers', 1, '--preview', 1]
    run_tool('make_proposals', *arguments, '--cfg-options', 'train_dataloader.dataset.indices=1')
    assert capsys.readouterr().out.strip().endswith('.jpg')
    maps = MapFolder(out, demo_root, kind='superpixels')
    assert maps.is_finished and 'make_proposals.py' in maps.manifest.command
    assert json.loads((out / 'manifest.json').read_text())['parameters']['sensor']['ring_column'] == 4


def test_a_config_without_a_lidar(run_tool, demo_root):
    with pytest.raises(SystemExit, match=r'error: .* has no `proposals`.*configs/drive_and_segment'):
        run_tool('make_proposals', REPO / 'configs/_base_/datasets/demo_paired.py', '--data-root', demo_root)


def test_points_without_ring_name_the_file(demo_root, sweeps, tmp_path):
    made = generator(sweeps[:1], load_points=dict(type='peridot.LoadPoints', load_dim=5, use_dim=4))
    with pytest.raises(DataError, match=r'LIDAR_TOP.*\.pcd\.bin: points of 4 columns have no ring in column 4'):
        make_maps(made, job_for(sweeps[:1], demo_root, tmp_path / 'maps'))


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_configs(config):
    """Settings fit, the points are read with the columns they need, a wrapper's datasets are found."""
    content = Config.fromfile(config)
    made = ProposalGenerator([], **content.proposals)
    sensor = made.proposals.sensor
    used = len(made.load_points.use_dim)
    assert used > 3 and (sensor.ring_column is None or sensor.ring_column < used)
    assert sensor.elevations is None or len(sensor.elevations) in (32, 64)
    assert json.loads(json.dumps(made.parameters))['regions']['reach'] == 1.0


def test_unknown_part_of_the_settings():
    with pytest.raises(ConfigError, match="proposals: got an unexpected keyword argument 'lidar'"):
        generator([], lidar={})


def test_painted_segments():
    image, ids = np.full((8, 9, 3), 100, np.uint8), np.zeros((8, 9), np.uint16)
    ids[4:, :], ids[2:6, 2:7] = 1, 2
    picture = paint(image, ids)
    assert (picture[:2] == 100).all() and (picture[7, 0] == 105).all()
    assert (picture[4, 4] != 100).any() and (picture[2, 2:7] == 255).all()


def test_most_objects_of_the_demo_are_found():
    """Recall and purity over points, on one street; docs/methods/drive_and_segment.md has the numbers of all."""
    benchmark = runpy.run_path(str(REPO / 'benchmarks' / 'lidar_clusters.py'))
    sweep, _, _ = benchmark['make_sweep'](0)
    segments = generator([]).proposals.segment(sweep.points)
    found, objects, pure, clustered = benchmark['compare'](segments.ids, sweep)
    assert objects > 15 and found / objects > 0.7 and pure / clustered > 0.85
    assert 0.35 < clustered / len(sweep.points) < 0.65
