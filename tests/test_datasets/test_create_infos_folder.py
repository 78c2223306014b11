"""Own recordings: info files, products and pairs; interrupted, read-only, damaged and mistaken ones."""

import json
import os
import pickle
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from peridot.catalog.folder import FOLDER
from peridot.datasets.create_infos_folder import create_folder_infos
from peridot.datasets.create_infos_kitti import create_kitti_infos
from peridot.datasets.linked_folder import link_dataset
from peridot.errors import ConfigError, DataError
from peridot.registry import DATASETS
from peridot.visualization.overlays import write_overlays
from PIL import Image
from streets.dataset import read_settings
from streets.frame import image_view
from tiny_recording import CAMERAS, FOCAL, HEIGHT, POINTS, SCANS, WIDTH, TinyRecording, cloud, lidar2cam

REPO = Path(__file__).resolve().parents[2]
FRAMES = Path(os.environ.get('PERIDOT_KITTI', REPO.parent / 'shared' / 'data' / 'kitti'))
# mmengine's serialization collects garbage, which takes longer than these tests
FAST = dict(serialize_data=False)
LOAD = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4)
PROJECT = [dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


@pytest.fixture
def recording(tmp_path) -> TinyRecording:
    return TinyRecording(tmp_path / 'drive')


def paired(root: Path, split: str = 'train', pipeline=(LOAD, *PROJECT), dataset: str = 'folder', **options):
    infos = f'{dataset}_infos_{split}.pkl'
    common = dict(type='peridot.PairedDataset', data_root=str(root), ann_file=infos, dataset=dataset)
    return DATASETS.build({**common, 'pipeline': list(pipeline), **FAST, **options})


def same_pairs(found, expected) -> None:
    assert len(found) == len(expected) > 100
    for name in ('point', 'camera'):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_allclose(found.position, expected.position, atol=1e-3)


def test_synthetic_streets_are_those_of_the_nuscenes_layout(folder_root, demo_root):
    """Points, pixels, labels and, with the motion between scan and images, pairs."""
    prefixes = Config.fromfile(REPO / 'configs/_base_/datasets/nus_paired.py').data_prefix
    prefixes['pts_semantic_mask'] = 'lidarseg/v1.0-mini'
    ours = [LOAD, dict(type='peridot.LoadPointLabels', dtype='uint32'), *PROJECT]
    theirs = [dict(type='peridot.LoadPoints', load_dim=5), dict(type='peridot.LoadPointLabels'), *PROJECT]
    for split in ('train', 'val'):
        own = paired(folder_root, split, ours)
        twin = paired(demo_root, split, theirs, dataset='nuscenes', data_prefix=prefixes)
        assert len(own) == 2 and own.metainfo['classes'] == twin.metainfo['classes']
        for row in range(2):
            found, expected = own[row], twin[row]
            points, raw = found['points'].tensor.numpy(), expected['points'].tensor.numpy()
            np.testing.assert_array_equal(points[:, :3], raw[:, :3])
            np.testing.assert_allclose(points[:, 3] * 255, raw[:, 3], atol=1e-4)
            np.testing.assert_array_equal(found['pts_semantic_mask'], expected['pts_semantic_mask'])
            order = [expected['cameras'].index(name) for name in found['cameras']]
            assert len(order) == 6
            for number, other in enumerate(order):
                assert Path(found['img_paths'][number]).read_bytes() == Path(expected['img_paths'][other]).read_bytes()
                mine, their = (s['pairs'][s['pairs'].camera == i] for s, i in ((found, number), (expected, other)))
                np.testing.assert_array_equal(mine.point, their.point)
                np.testing.assert_allclose(mine.position, their.position, atol=0.02)
    assert [info['token'] for info in paired(folder_root, 'val', [])] == ['scene-0103/000000', 'scene-0103/000001']


def test_frames_of_a_sample_are_found(folder_root):
    """By `timestamp` and `ego2global`: the road of both keyframes lies at one height, and the vehicle has driven."""
    dataset = paired(folder_root, 'train', [], frames=dict(keyframes=(1,)))
    dataset.full_init()
    (frame,) = dataset.get_data_info(0)['frames']
    assert frame['time'] == pytest.approx(0.5, abs=0.01) and 0.5 < np.linalg.norm(frame['to_sample'][:3, 3]) < 6


def test_images_are_found_again_by_name(folder_root):
    settings = read_settings(folder_root)
    camera, snapshot = image_view(settings, folder_root / 'scene-0103/images/CAM_BACK/000001.jpg')
    assert camera.name == 'CAM_BACK' and snapshot.time == pytest.approx(0.5 - 0.009, abs=0.005)
    with pytest.raises(DataError, match='no image of a synthetic dataset'):
        image_view(settings, folder_root / 'scene-0103/images/CAM_BACK/000009.jpg')


@pytest.fixture
def kitti_frames(tmp_path) -> tuple[Path, Path]:
    """The two real frames in KITTI's layout and as own recordings, each with its calibration."""
    if not FRAMES.is_dir():
        pytest.skip(f'{FRAMES} is absent: set PERIDOT_KITTI to a KITTI object folder with frames 000000 and 000001')
    kitti, own = tmp_path / 'kitti', tmp_path / 'own'
    (kitti / 'ImageSets').mkdir(parents=True)
    (kitti / 'training').symlink_to(FRAMES.resolve() / 'training')
    shutil.copytree(FRAMES / 'training', tmp_path / 'training')
    (kitti / 'training').unlink()
    (kitti / 'training').symlink_to(tmp_path / 'training')
    for split, frame in (('train', '000000'), ('val', '000001')):
        (kitti / f'ImageSets/{split}.txt').write_text(f'{frame}\n')
        lines = [line.split(':') for line in (FRAMES / f'training/calib/{frame}.txt').read_text().splitlines() if line]
        matrices = {name: np.array(text.split(), float).reshape(3, -1) for name, text in lines}
        square = {name: np.eye(4) for name in matrices}
        for name, matrix in matrices.items():
            square[name][: matrix.shape[0], : matrix.shape[1]] = matrix
        intrinsics = matrices['P2'][:, :3]
        shift = np.eye(4)
        shift[:3, 3] = np.linalg.solve(intrinsics, matrices['P2'][:, 3])
        camera = {'intrinsics': intrinsics.tolist()}
        camera['lidar2cam'] = (shift @ square['R0_rect'] @ square['Tr_velo_to_cam']).tolist()
        lidar = {'columns': ['x', 'y', 'z', 'intensity'], 'intensity_range': [0, 1]}
        folder = own / f'frame{frame}'
        for target, source in (('points', f'velodyne/{frame}.bin'), ('images/left', f'image_2/{frame}.png')):
            (folder / target).mkdir(parents=True)
            (folder / target / Path(source).name).symlink_to(FRAMES.resolve() / 'training' / source)
        (folder / 'calibration.json').write_text(json.dumps({'lidar': lidar, 'cameras': {'left': camera}}))
    return kitti, own


def test_real_frames_have_the_pairs_of_the_kitti_converter(kitti_frames, capsys):
    kitti, own = kitti_frames
    create_kitti_infos(kitti)
    create_folder_infos(own, val=['frame000001'], verbose=True)
    assert 'warning' not in capsys.readouterr().out
    prefixes = dict(pts='training/velodyne', img='training/image_2')
    for split in ('train', 'val'):
        found = paired(own, split)[0]
        expected = paired(kitti, split, dataset='kitti', data_prefix=prefixes)[0]
        np.testing.assert_array_equal(found['points'].tensor, expected['points'].tensor)
        same_pairs(found['pairs'], expected['pairs'])
        # KITTI's scans need no conversion
        assert '/points/' in found['lidar_path'] and 'converted' not in found['lidar_path']


def test_pairs_are_those_of_the_matrices(recording):
    recording.infos()
    sample = paired(recording.root)[0]
    points = recording.clouds[0]
    np.testing.assert_allclose(sample['points'].tensor, points / [1, 1, 1, 255], atol=1e-6)
    assert sample['cameras'] == ['BACK', 'FRONT']
    for number, yaw in enumerate((np.pi, 0.0)):
        local = points[:, :3] @ lidar2cam(yaw)[:3, :3].T + lidar2cam(yaw)[:3, 3]
        column, row = FOCAL * local[:, :2].T / local[:, 2] + [[WIDTH / 2], [HEIGHT / 2]]
        inside = (local[:, 2] > 1) & (column > 0) & (column < WIDTH - 1) & (row > 0) & (row < HEIGHT - 1)
        mine = sample['pairs'][sample['pairs'].camera == number]
        assert mine.point.tolist() == np.flatnonzero(inside).tolist()
        np.testing.assert_allclose(mine.position, np.stack([row, column], 1)[inside], atol=1e-2)


def test_images_of_a_distorted_camera_are_undistorted_once(recording):
    recording.calibration['cameras']['FRONT']['distortion'] = [-0.2, 0.05, 0, 0]
    recording.write_calibration()
    for sample in recording.samples():
        front, back = sample['images']['FRONT'], sample['images']['BACK']
        assert front['img_path'].startswith('converted/images/FRONT/') and back['img_path'].startswith('images/BACK/')
        source = recording.root / f'images/FRONT/{Path(front["img_path"]).name}'
        camera = recording.calibration['cameras']['FRONT']
        matrix, lens = np.array(camera['intrinsics']), np.array(camera['distortion'])
        expected = cv2.undistort(cv2.imread(str(source)), matrix, lens, None, np.array(front['cam2img']))
        found = cv2.imread(str(recording.root / front['img_path']))
        assert np.abs(found[2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2]).max() <= 2
        assert back['cam2img'] == recording.calibration['cameras']['BACK']['intrinsics'] != front['cam2img']


@pytest.mark.parametrize('jpeg', [True, False])
def test_undistorted_images_keep_their_format(recording, jpeg):
    if jpeg:
        for path in sorted((recording.root / 'images/FRONT').iterdir()):
            Image.open(path).save(path.with_suffix('.jpg'), quality=95)
            path.unlink()
    recording.calibration['cameras']['FRONT'].update(distortion_model='fisheye', distortion=[0.01, 0, 0, 0])
    recording.write_calibration()
    paths = [recording.root / sample['images']['FRONT']['img_path'] for sample in recording.samples()]
    assert {path.suffix for path in paths} == {'.jpg' if jpeg else '.png'}
    assert {Image.open(path).format for path in paths} == {'JPEG' if jpeg else 'PNG'}


def test_the_last_tenth_in_time_is_for_validation(tmp_path):
    root = tmp_path / 'all'
    for name, backward in (('a', False), ('b', True)):
        drive = TinyRecording(root / name)
        rows = [(f'points/{i:03d}.bin', -i if backward else i) for i in range(SCANS)]
        drive.write_table('timestamps.csv', ('file', 'time'), rows)
    create_folder_infos(root)
    assert {info['token'] for info in paired(root, 'val', [])} == {'a/005', 'b/000'}
    assert len(paired(root, 'train', [])) == 2 * (SCANS - 1)
    create_folder_infos(root, val=['b'])
    assert {info['token'] for info in paired(root, 'val', [])} == {f'b/{i:03d}' for i in range(SCANS)}
    assert {info['token'][0] for info in paired(root, 'train', [])} == {'a'}
    for names, message in ((['c'], r'--val c: .* \(the recordings are a, b\)'), (['a', 'b'], '--val names all')):
        with pytest.raises(ConfigError, match=message):
            create_folder_infos(root, val=names)


def test_a_single_recording_has_no_names(recording):
    with pytest.raises(ConfigError, match=r'--val drive: .* none: the folder is a single recording'):
        recording.infos(val=['drive'])
    (recording.root / 'points/000.bin').rename(recording.root / 'kept')
    for number in range(1, SCANS - 1):
        (recording.root / f'points/{number:03d}.bin').unlink()
    # nothing remains for validation
    assert set(recording.infos()) == {'train'}


def test_a_split_that_becomes_empty_loses_its_infos(recording):
    assert set(recording.infos()) == {'train', 'val'}
    for number in range(1, SCANS):
        (recording.root / f'points/{number:03d}.bin').unlink()
    assert set(recording.infos()) == {'train'}
    assert [path.name for path in recording.root.glob('*.pkl')] == ['folder_infos_train.pkl']


def test_scans_that_lack_something_are_left_out_or_an_error(recording, capsys):
    (recording.root / 'images/BACK/002.png').unlink()
    recording.infos(verbose=True)
    note = f'drive: 1 of {SCANS} scans have no image of BACK of the same name (002, ...): '
    assert f'warning: {note}left out\n' in capsys.readouterr().out
    with pytest.raises(DataError) as error:
        recording.infos(missing='error')
    assert str(error.value) == f'{note}complete the recording, or leave such scans out with --missing skip'


def test_labels_become_classes(recording):
    labels = recording.write_labels({'0': None, '1': 'car', '2': 'road', '9': 'car'}, np.uint8)
    contents = recording.infos()
    meta = contents['train']['metainfo']
    assert meta['classes'] == ('car', 'road') and meta['ignore_index'] == 2
    assert meta['seg_label_mapping'] == {0: 2, 1: 0, 2: 1, 9: 0} and len(meta['palette']) == 2
    load = [LOAD, dict(type='peridot.LoadPointLabels', dtype='uint32')]
    found = paired(recording.root, 'train', load)[0]['pts_semantic_mask']
    np.testing.assert_array_equal(found, np.array([2, 0, 1])[labels[0]])


def test_classes_may_begin_with_the_mark_of_windows(recording):
    recording.write_labels()
    path = recording.root / 'classes.json'
    path.write_text(path.read_text(), 'utf-8-sig')
    assert recording.infos()['train']['metainfo']['classes'] == ('car', 'road')


def test_points_and_labels_that_need_no_conversion_stay(recording):
    for number, points in enumerate(recording.clouds):
        (points / np.float32([1, 1, 1, 255])).tofile(recording.root / f'points/{number:03d}.bin')
    recording.write_labels()
    recording.write_calibration(intensity_range=[0, 1])
    for sample in recording.samples():
        assert sample['lidar_points']['lidar_path'] == f'points/{sample["token"]}.bin'
        assert sample['pts_semantic_mask_path'] == f'labels/{sample["token"]}.label'
    assert not list((recording.root / 'converted').rglob('*.bin'))


@pytest.mark.parametrize('stays', [True, False])
def test_points_that_are_not_finite_are_dropped_with_their_labels(recording, stays, capsys):
    if stays:
        recording.write_calibration(intensity_range=[0, 1])
    labels = recording.write_labels()
    damaged = recording.clouds[2]
    damaged[[3, 50, 700], [0, 1, 3]] = [np.nan, np.inf, np.nan]
    damaged.tofile(recording.root / 'points/002.bin')
    with pytest.raises(DataError, match=r'002.bin has 3 of 900 points that are not finite: drop .* --drop-invalid'):
        recording.infos()
    samples = {sample['token']: sample for sample in recording.samples(drop_invalid=True, verbose=True)}
    assert '3 points that are not finite were dropped' in capsys.readouterr().out
    keep = np.setdiff1d(np.arange(POINTS), [3, 50, 700])
    found = np.fromfile(recording.root / samples['002']['lidar_points']['lidar_path'], np.float32).reshape(-1, 4)
    kept = np.fromfile(recording.root / samples['002']['pts_semantic_mask_path'], np.uint32)
    np.testing.assert_allclose(found[:, :3], damaged[keep, :3], atol=1e-6)
    np.testing.assert_array_equal(kept, labels[2][keep])
    assert len(np.fromfile(recording.root / samples['001']['pts_semantic_mask_path'], np.uint32)) == POINTS
    damaged[:] = np.nan
    damaged.tofile(recording.root / 'points/002.bin')
    with pytest.raises(DataError, match=r'002.bin has no point that is finite'):
        recording.infos(drop_invalid=True)


def distort(recording) -> None:
    recording.calibration['cameras']['FRONT']['distortion'] = [-0.2, 0.05, 0, 0]
    recording.write_calibration()


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def test_an_interrupted_conversion_goes_on(recording, monkeypatch):
    from peridot.datasets.recordings import products as module

    distort(recording)
    recording.infos()
    expected = contents(recording.root)
    shutil.rmtree(recording.root / 'converted')
    for path in recording.root.glob('*.pkl'):
        path.unlink()
    read, reads, stops = module.read_points, [], ['003.bin']

    def stop(path, form):
        reads.append(path.name)
        if path.name in stops:
            raise KeyboardInterrupt
        return read(path, form)

    monkeypatch.setattr(module, 'read_points', stop)
    with pytest.raises(KeyboardInterrupt):
        recording.infos()
    assert not list(recording.root.glob('*.pkl')) and not list(recording.root.rglob('*.part'))
    finished = {path.name for path in recording.root.glob('converted/points/*.bin')}
    assert '000.bin' in finished and '003.bin' not in finished
    reads.clear()
    stops.clear()
    recording.infos()
    assert set(reads) == {f'{number:03d}.bin' for number in range(SCANS)} - finished
    assert contents(recording.root) == expected
    reads.clear()
    recording.infos()
    assert not reads


def test_products_of_another_calibration_are_made_again(recording):
    distort(recording)
    recording.infos()
    before = contents(recording.root / 'converted')
    recording.write_calibration(intensity_range=[0, 510])
    recording.infos()
    after = contents(recording.root / 'converted')
    assert all((before[path] == after[path]) == ('points' not in path) for path in before)
    recording.calibration['cameras']['FRONT']['distortion'] = [-0.1, 0.05, 0, 0]
    recording.write_calibration()
    recording.infos()
    last = contents(recording.root / 'converted')
    assert all((last[path] == after[path]) == ('FRONT' not in path) for path in after)
    # and those of a scan that was exported again
    cloud(np.random.default_rng(9)).tofile(recording.root / 'points/001.bin')
    recording.infos()
    changed = contents(recording.root / 'converted')
    assert [path for path in last if last[path] != changed[path]] == ['points/001.bin']


def test_links_in_place_of_products_of_another_calibration_are_replaced(recording, tmp_path):
    recording.infos()
    points = recording.root / 'converted/points'
    points.rename(tmp_path / 'theirs')
    points.symlink_to(tmp_path / 'theirs')
    before = contents(tmp_path / 'theirs')
    recording.write_calibration(intensity_range=[0, 510])
    recording.infos()
    assert contents(tmp_path / 'theirs') == before and contents(points) != before and not points.is_symlink()


def test_products_of_another_calibration_that_cannot_be_removed_are_an_error(recording, monkeypatch):
    recording.infos()

    def rmtree(folder, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(13, 'Permission denied', str(folder))

    monkeypatch.setattr(shutil, 'rmtree', rmtree)
    recording.write_calibration(intensity_range=[0, 510])
    with pytest.raises(PermissionError, match='converted/points'):
        recording.infos()


def replace_with_older(path: Path, write) -> None:
    """As `rsync -a`, `cp -p` and `tar` do, which keep the times of the files."""
    before = path.stat().st_mtime_ns
    write(path)
    os.utime(path, ns=(before - 10**12, before - 10**12))


def test_products_of_sources_replaced_by_older_ones_are_made_again(recording):
    distort(recording)
    recording.write_labels()
    recording.infos()
    before = contents(recording.root / 'converted')
    for name, write in (
        ('points/001.bin', lambda path: cloud(np.random.default_rng(9)).tofile(path)),
        ('images/FRONT/002.png', lambda path: Image.new('RGB', (WIDTH, HEIGHT)).save(path)),
        ('labels/003.label', lambda path: np.ones(POINTS, np.uint32).tofile(path)),
    ):
        replace_with_older(recording.root / name, write)
        recording.infos()
        after = contents(recording.root / 'converted')
        assert [path for path in before if before[path] != after[path]] == [name]
        before = after


def test_cached_labels_are_checked_against_edited_classes(recording):
    recording.write_labels()
    recording.infos()
    (recording.root / 'classes.json').write_text('{"0": null, "1": "car"}')
    with pytest.raises(DataError, match=r'holds the label 2, which classes.json does not name'):
        recording.infos()


def test_an_image_that_two_scans_share_is_undistorted_once(recording, monkeypatch):
    distort(recording)
    rows = [(f'points/{i:03d}.bin', 0.1 * i) for i in range(SCANS)]
    for name in CAMERAS:
        rows += [(f'images/{name}/{i:03d}.png', 0.1 * i + 0.05 if i % 2 == 0 else 9 + i) for i in range(SCANS)]
    recording.write_table('timestamps.csv', ('file', 'time'), rows)
    read, reads = cv2.imread, []

    def slowly(path: str, *flags):
        reads.append(Path(path).name)
        time.sleep(0.05)
        return read(path, *flags)

    monkeypatch.setattr(cv2, 'imread', slowly)
    monkeypatch.setattr('peridot.datasets.create_infos_folder.usable_cores', lambda: 4)
    images = [Path(sample['images']['FRONT']['img_path']).name for sample in recording.samples(tolerance=0.06)]
    assert sorted(images) == sorted(2 * reads) and len(reads) == SCANS // 2


def test_products_can_go_elsewhere(recording, tmp_path):
    """The folder of the info files is a whole dataset: what stays is linked, so that maps lie below its root, too."""
    distort(recording)
    expected = contents(recording.root)
    out = link_dataset(recording.root, tmp_path / 'out', FOLDER.converter.find_parts(recording.root))
    paths = create_folder_infos(out)
    assert contents(recording.root) == expected
    samples = [sample for path in paths for sample in pickle.loads(path.read_bytes())['data_list']]
    for sample in samples:
        for path in (sample['lidar_points']['lidar_path'], *(image['img_path'] for image in sample['images'].values())):
            assert not Path(path).is_absolute() and (out / path).is_file()
    assert (out / 'images').is_symlink() and len(paired(out)[0]['pairs']) > 100


def test_a_read_only_root_is_one_line(recording, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(DataError, match=r'drive cannot be written to: give a folder for the files with --out'):
        recording.infos()


def test_tool_draws_the_points_on_the_images(folder_root, tmp_path, run_tool, capsys):
    out = tmp_path / 'out'
    run_tool('create_data', 'folder', '--root', folder_root, '--val', 'scene-0103', '--out', out)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith('camera') and f'{out}/overlays/scene-0061.jpg' in printed
    assert not [line for line in printed if line.startswith('warning')]
    assert printed[-1] == f'  python tools/train.py configs/pretrain/slidr_folder.py --data-root {out}'
    figure = Image.open(out / 'overlays/scene-0103.jpg')
    assert figure.format == 'JPEG' and figure.size[0] == 3 * 960
    assert pickle.loads((out / 'folder_infos_val.pkl').read_bytes())['data_list'][0]['token'] == 'scene-0103/000000'


def test_overlays_in_the_current_folder_have_its_name(recording, monkeypatch):
    monkeypatch.chdir(recording.root)
    assert write_overlays(Path(), create_folder_infos('.')) == [Path('overlays/drive.jpg')]
    assert [path.name for path in (recording.root / 'overlays').iterdir()] == ['drive.jpg']


def json_edit(*place, value):
    def edit(recording) -> None:
        part = recording.calibration
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        recording.write_calibration()

    return edit


def mirrored(recording) -> None:
    recording.calibration['cameras']['FRONT']['lidar2cam'] = (np.diag([-1, 1, 1, 1.0]) @ lidar2cam(0)).tolist()
    recording.write_calibration()


def without_labels_of_one(recording) -> None:
    recording.write_labels()
    (recording.root / 'labels/004.label').unlink()


def unknown_label(recording) -> None:
    recording.write_labels({'0': None, '1': 'car'})


def no_classes(recording) -> None:
    recording.write_labels()
    (recording.root / 'classes.json').unlink()


def classes(content: dict):
    return lambda recording: recording.write_labels(content)


def damaged_image(recording) -> None:
    distort(recording)
    path = recording.root / 'images/FRONT/003.png'
    path.write_bytes(path.read_bytes()[:100])


DAMAGES = [
    (lambda r: shutil.rmtree(r.root / 'points'), r'points has no file \*.bin, \*.npy, \*.pcd, \*.ply'),
    (lambda r: (r.root / 'calibration.json').unlink(), 'calibration.json is missing: docs/own_recording.md'),
    (
        lambda r: r.save_image('images/BACK/004.png', (80, 45)),
        r'images/BACK has images of several sizes \(000.png: 160x90, 004',
    ),
    (lambda r: (r.root / 'images/SIDE').mkdir(), r'images/SIDE has no calibration: add cameras.SIDE to \S+, as null'),
    (
        json_edit(
            'cameras', 'SIDE', value={'intrinsics': np.diag([99, 99, 1.0]).tolist(), 'lidar2cam': np.eye(4).tolist()}
        ),
        'has a camera SIDE, but',
    ),
    (json_edit('cameras', 'FRONT', 'lidar2cam', value=(2 * np.eye(4)).tolist()), 'last row is'),
    (json_edit('cameras', 'FRONT', 'lidar2cam', value=np.diag([1, 2, 1, 1]).tolist()), 'lidar2cam is not a rotation'),
    (mirrored, r'cameras.FRONT.lidar2cam is left-handed \(determinant -1\)'),
    (
        lambda r: shutil.copy(r.root / 'points/000.bin', r.root / 'points/000.npy'),
        '000.bin and 000.npy have the same name',
    ),
    (lambda r: (r.root / 'points/000.bin').write_bytes(bytes(30)), '000.bin has 30 bytes, no multiple of 16'),
    (
        lambda r: r.write_table('timestamps.csv', ('file', 'time'), [('000.bin', 1)]),
        'lists 000.bin, but none of the files',
    ),
    (
        lambda r: r.write_table('timestamps.csv', ('file', 'time'), [('points/000.bin', 1)]),
        'no time of 5 of 6 files of points',
    ),
    (without_labels_of_one, r'labels has no file for 1 of 6 scans \(004, ...\)'),
    (unknown_label, 'holds the label 2, which classes.json does not name'),
    (no_classes, 'classes.json is missing: write an object'),
    (classes({'car': 1}), 'classes.json must be an object of ids and names'),
    (classes({'0': ['car']}), 'classes.json must be an object of ids and names'),
    (classes({'1': 'car', '01': 'road'}), 'classes.json must be an object of ids .* each once'),
    (damaged_image, 'image .*FRONT/003.png is damaged'),
]


@pytest.mark.parametrize(
    'damage, message', DAMAGES, ids=[f'{i}-{message[:30]}' for i, (_, message) in enumerate(DAMAGES)]
)
def test_damaged_recordings_are_one_clear_line(recording, damage, message):
    damage(recording)
    with pytest.raises(DataError, match=message) as error:
        recording.infos()
    assert '\n' not in str(error.value) and not list(recording.root.glob('*.pkl'))


def test_no_recording(tmp_path):
    for root in (tmp_path, tmp_path / 'absent'):
        with pytest.raises(DataError, match=r'has neither points/ and calibration.json nor folders with them: put'):
            create_folder_infos(root)


def test_all_recordings_have_labels_or_none(tmp_path):
    for name in 'ab':
        TinyRecording(tmp_path / name)
    (tmp_path / 'classes.json').write_text('{"1": "car"}')
    (tmp_path / 'a/labels').mkdir()
    for number in range(SCANS):
        np.ones(POINTS, np.uint8).tofile(tmp_path / f'a/labels/{number:03d}.label')
    with pytest.raises(DataError, match=r'a has labels, but .*b has none: keep labeled recordings'):
        create_folder_infos(tmp_path)


def test_a_camera_can_be_left_out(recording):
    recording.calibration['cameras']['BACK'] = None
    recording.write_calibration()
    assert all(set(sample['images']) == {CAMERAS[0]} for sample in recording.samples())
