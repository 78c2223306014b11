"""PandaSet: the synthetic streets in its layout, converted and geometrically right; pickles stay harmless."""

import gzip
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from peridot.catalog import CATALOG
from peridot.datasets.create_infos_pandaset import create_pandaset_infos
from peridot.datasets.pandaset_tables import read_table
from peridot.datasets.sampler import SampleKey
from peridot.errors import DataError
from peridot.models.preprocessor import PairedDataPreprocessor
from peridot.registry import DATASETS
from streets.camera import take_photo
from streets.dataset import read_settings
from streets.frame import caster, image_view, keyframe_time
from streets.pandaset import CLASSES, scan
from streets.taxonomy import CATEGORIES, INDEX, PANDASET

REPO = Path(__file__).resolve().parents[2]
LIDARS = ('pandar64', 'pandargt')
# mmengine's serialization collects garbage, which takes longer than these tests
FAST = dict(serialize_data=False)
READ = [dict(type='peridot.LoadPoints', load_dim=4), dict(type='peridot.LoadPointLabels')]
PROJECT = [dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints', min_depth=0.0)]


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


def paired(root: Path, lidar: str, pipeline: list, split: str = 'train', **options):
    infos = f'{lidar}_infos_{split}.pkl'
    common = dict(type='peridot.PairedDataset', data_root=str(root), ann_file=infos, dataset=lidar)
    return DATASETS.build({**common, 'pipeline': pipeline, **FAST, **options})


def snapshot(root: Path, scene: int, frame: int):
    settings = read_settings(root)
    return caster(settings.seed, scene).at(keyframe_time(settings, scene, frame))


@pytest.mark.parametrize('lidar', LIDARS)
def test_both_lidars_are_datasets(pandaset_root, lidar):
    for split, sequence in (('train', '001'), ('val', '002')):
        dataset = paired(pandaset_root, lidar, [], split)
        assert [sample['token'] for sample in dataset] == [f'{lidar}/{sequence}/{frame}' for frame in ('00', '01')]
        assert dataset[0]['cameras'] == list(CATALOG[lidar].cameras) and dataset.metainfo['classes'][9] == 'car'
    assert not list(pandaset_root.rglob('*.part'))


@pytest.mark.parametrize('lidar', LIDARS)
def test_clouds_are_in_the_vehicles_frame(pandaset_root, lidar):
    """World points, vehicle's pose and height, against the renderer's own numbers."""
    sample = paired(pandaset_root, lidar, READ)[1]
    moment = snapshot(pandaset_root, 0, 1)
    world, sweep = scan(moment, lidar, [0, 0, 1, 23])
    place, turn = moment.world.ego_pose(moment.time)
    forward, left, up = ((world - place) @ turn).T
    points = sample['points'].tensor.numpy()
    # x to the left, y backward; the road, at the vehicle's height 0, lies at -1.6
    np.testing.assert_allclose(points[:, :3], np.stack([left, -forward, up - 1.6], 1), atol=1e-4)
    np.testing.assert_array_equal(points[:, 3], sweep.points[:, 3])
    road = points[sweep.category == INDEX['flat.driveable_surface']]
    assert abs(np.median(road[np.hypot(*road[:, :2].T) < 15, 2]) + 1.6) < 0.1
    if lidar == 'pandargt':
        assert (np.abs(np.arctan2(points[:, 0], -points[:, 1] - 1.5)) < np.deg2rad(32)).all()


def test_labels_are_the_renderers_and_their_groups_those_published(pandaset_root):
    sample = paired(pandaset_root, 'pandar64', READ, 'val')[0]
    _, sweep = scan(snapshot(pandaset_root, 1, 0), 'pandar64', [0, 1, 0, 23])
    raw = np.array([PANDASET[name] for name in CATEGORIES])[sweep.category]
    meta = CATALOG['pandar64'].segmentation_meta()
    mapping, names = meta['seg_label_mapping'], meta['classes']
    np.testing.assert_array_equal(sample['pts_semantic_mask'], [mapping[label] for label in raw])
    assert len(names) == 17 == meta['ignore_index'] and set(mapping) == set(range(43))
    groups = {name: {raw for raw, label in mapping.items() if label == i} for i, name in enumerate(names)}
    assert groups['road'] == {7} and groups['traffic_sign'] == {36, 38} and groups['truck'] == {14, 15, 16}
    assert groups['other_vehicle'] == {17, 19, 20, 21, 27, 28, 29} and groups['driveway'] == {12}
    ignored = {0, 1, 2, 3, 4, 22, 24, 25, 32, 33, 40}
    assert {raw for raw, label in mapping.items() if label == 17} == ignored
    assert {str(label) for label in PANDASET.values() if label} == set(CLASSES)


@pytest.mark.parametrize('lidar', LIDARS)
def test_projection_is_that_of_the_cameras_that_took_the_images(pandaset_root, lidar):
    """Exact, with each camera's own moment."""
    sample = paired(pandaset_root, lidar, [*READ, *PROJECT], 'val')[1]
    world, _ = scan(snapshot(pandaset_root, 1, 1), lidar, [0, 1, 1, 23])
    pairs, seen = sample['pairs'], 0
    for number, path in enumerate(sample['img_paths']):
        camera, shutter = image_view(read_settings(pandaset_root), path)
        assert camera.name == sample['cameras'][number]
        place, turn = camera.world_pose(shutter.world.ego_pose(shutter.time))
        mine = pairs.camera == number
        pixel = (world[pairs.point[mine]] - place) @ turn @ camera.intrinsic.T
        np.testing.assert_allclose(pairs.position[mine], (pixel[:, :2] / pixel[:, 2:])[:, ::-1], atol=0.02)
        seen += len(pixel) > 100
    assert seen == {'pandar64': 6, 'pandargt': 3}[lidar]


@pytest.mark.parametrize('lidar', LIDARS)
def test_points_fall_on_the_pixels_of_their_class(pandaset_root, lidar):
    sample = paired(pandaset_root, lidar, [*READ, *PROJECT], cameras=['front_camera'])[1]
    photo = take_photo(*image_view(read_settings(pandaset_root), sample['img_paths'][0])[::-1])
    row, column = np.rint(sample['pairs'].position.numpy()).astype(int).T
    table = np.array([sample['seg_label_mapping'][PANDASET[name]] for name in CATEGORIES])
    seen, own = table[photo.category[row, column]], sample['pts_semantic_mask'][sample['pairs'].point.numpy()]
    assert len(row) > 1500 and (seen == own).mean() > 0.85
    assert (seen == np.roll(own, len(own) // 2)).mean() < 0.6


@pytest.fixture
def own_root(pandaset_root, tmp_path) -> Path:
    """A copy without products, which a test may damage."""
    root = tmp_path / 'pandaset'
    shutil.copytree(pandaset_root, root, ignore=shutil.ignore_patterns('pandar*'))
    return root


def test_an_interrupted_conversion_goes_on(own_root, pandaset_root, monkeypatch):
    from peridot.datasets import create_infos_pandaset as module

    reads, read = [], module.read_table

    def stop(path):
        reads.append(path)
        if len(reads) == 6:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(module, 'read_table', stop)
    with pytest.raises(KeyboardInterrupt):
        create_pandaset_infos(own_root)
    assert not list(own_root.glob('*_infos_*.pkl'))
    assert len(create_pandaset_infos(own_root)) == 4
    # two files a frame, of four frames: the first two were there
    assert len(reads) == 6 + 4
    for path in sorted(pandaset_root.glob('pandar*/*/*')) + sorted(pandaset_root.glob('*.pkl')):
        assert (own_root / path.relative_to(pandaset_root)).read_bytes() == path.read_bytes()


def test_rows_belong_together_by_their_numbers(own_root, pandaset_root):
    path = own_root / '001/annotations/semseg/00.pkl.gz'
    table = read_table(path)
    pickle_table(table.sample(frac=1, random_state=0), path)
    create_pandaset_infos(own_root)
    name = 'pandar64/001/00.label'
    assert (own_root / name).read_bytes() == (pandaset_root / name).read_bytes()


def pickle_table(content, path: Path) -> None:
    path.write_bytes(gzip.compress(pickle.dumps(content, protocol=4), 1))


class Evil:
    """Code that a pickle would run: it makes a file in the working folder."""

    def __reduce__(self):
        return Path.touch, (Path('made-by-a-pickle'),)


class Calculation:
    """Code by the name of a harmless module."""

    def __reduce__(self):
        return eval, ('1 + 1',)


STRANGE = [Evil(), Calculation(), pd.DataFrame({'x': [Evil()]}), np.zeros(3), [1, 2]]


@pytest.mark.parametrize('content', STRANGE, ids=['code', 'builtin', 'code-in-table', 'array', 'list'])
def test_only_tables_are_read(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    pickle_table(content, Path('00.pkl.gz'))
    with pytest.raises(DataError, match=r'00.pkl.gz (is no table of numbers \(it asks for|holds no table)') as error:
        read_table(Path('00.pkl.gz'))
    assert '\n' not in str(error.value) and not Path('made-by-a-pickle').exists()


def test_tables_of_any_kind_are_read(tmp_path):
    values = np.arange(6.0).reshape(3, 2)
    # with pyarrow pandas would store the names by classes that are not admitted
    with pd.option_context('mode.string_storage', 'python'):
        tables = [
            pd.DataFrame(values, columns=['x', 'class']),
            pd.DataFrame({'x': values[:, 0], 'class': [7, 8, 9]}, index=[4, 2, 9]),
            pd.DataFrame(values, columns=pd.Index(['x', 'class'], dtype=object)),
        ]
    for table in tables:
        for protocol in (2, 4, 5):
            path = tmp_path / 'table.pkl.gz'
            path.write_bytes(gzip.compress(pickle.dumps(table, protocol=protocol)))
            pd.testing.assert_frame_equal(read_table(path), table)


def test_index_classes_that_pandas_has_dropped_are_known(tmp_path):
    """An Int64Index, as pandas 1 stored it."""
    path = tmp_path / 'old.pkl.gz'
    classes = b'cpandas.core.indexes.base\n_new_Index\ncpandas.core.indexes.numeric\nInt64Index\n'
    numbers = pickle.dumps(np.array([5, 3]), protocol=2)[2:-1]
    # _new_Index(Int64Index, {'data': numbers})
    path.write_bytes(gzip.compress(b'\x80\x02' + classes + b'}X\x04\x00\x00\x00data' + numbers + b's\x86R.'))
    with pytest.raises(DataError, match=r'old.pkl.gz holds no table, but Index'):
        read_table(path)


def json_edit(name: str, change):
    def edit(root: Path) -> None:
        content = json.loads((root / name).read_text())
        (root / name).write_text(json.dumps(change(content)))

    return edit


def table_edit(name: str, change):
    return lambda root: pickle_table(change(read_table(root / name)), root / name)


def truncate(name: str):
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-2000])


DAMAGES = [
    (lambda root: shutil.rmtree(root / '001') or shutil.rmtree(root / '002'), r'has no sequence \(001/lidar'),
    (lambda root: [shutil.rmtree(p) for p in root.glob('*/annotations/semseg')], 'all 2 sequences lack sweeps, lab'),
    (json_edit('001/meta/gps.json', lambda gps: [{}]), 'gps.json has no latitude `lat` in its first'),
    (
        lambda root: [p.unlink() for p in root.glob('*/lidar/poses.json')],
        r'all 2 sequences lack .*001/lidar/poses.json',
    ),
    (json_edit('001/lidar/poses.json', lambda poses: poses[1:]), 'poses.json has 1 poses, but there is a frame 01'),
    (json_edit('002/camera/left_camera/poses.json', lambda _: [{}, {}]), 'left_camera/poses.json is no list of poses'),
    (json_edit('001/camera/back_camera/intrinsics.json', lambda _: {'fx': 1}), 'has no fx, fy, cx and cy'),
    (
        lambda root: [p.unlink() for p in root.glob('*/lidar/*.gz')],
        r'all 2 sequences lack .*001/lidar/00.pkl.gz',
    ),
    (truncate('001/lidar/00.pkl.gz'), r'lidar/00.pkl.gz is damaged \(EOFError\)'),
    (lambda root: (root / '001/meta/gps.json').write_text('{'), r'gps.json is not a JSON file'),
    (table_edit('001/lidar/00.pkl.gz', lambda t: t.drop(columns='d')), 'has no columns of numbers x, y, z, i, d'),
    (table_edit('001/lidar/00.pkl.gz', lambda t: t * np.nan), '00.pkl.gz has no point whose values are finite: unpack'),
    (table_edit('001/lidar/00.pkl.gz', lambda t: t[:0]), r'lidar/00.pkl.gz is empty: unpack'),
    (
        table_edit('001/lidar/00.pkl.gz', lambda t: t.assign(d=2)),
        'points of a lidar .column d. that is neither 0 nor 1',
    ),
    (
        json_edit('001/lidar/poses.json', lambda p: [{**p[0], 'heading': dict.fromkeys('wxyz', np.nan)}, p[1]]),
        'lidar/poses.json holds NaN, which',
    ),
    (
        json_edit('002/camera/left_camera/intrinsics.json', lambda k: {**k, 'fx': np.inf}),
        'intrinsics.json holds Infinity',
    ),
    (table_edit('001/annotations/semseg/00.pkl.gz', lambda t: t[:-1]), r'points, but \S+ labels \d+'),
    (table_edit('001/annotations/semseg/00.pkl.gz', lambda t: t.set_index(t.index + 5)), 'labels other points'),
    (table_edit('001/annotations/semseg/00.pkl.gz', lambda t: t + 60), 'classes outside 0 to 42'),
]


@pytest.mark.parametrize('damage, message', DAMAGES, ids=[message[:30] for _, message in DAMAGES])
def test_damaged_files_are_one_clear_line(own_root, damage, message):
    damage(own_root)
    with pytest.raises(DataError, match=message) as error:
        create_pandaset_infos(own_root)
    assert '\n' not in str(error.value) and not list(own_root.glob('*_infos_*.pkl'))


def infos(root: Path, lidar: str = 'pandar64', split: str = 'train') -> list[dict]:
    return pickle.loads((root / f'{lidar}_infos_{split}.pkl').read_bytes())['data_list']


@pytest.mark.parametrize('form', ['unpacked', 'unpacked-under-the-old-name', 'packed-under-the-new-name', 'both'])
def test_unpacked_tables(own_root, pandaset_root, lines, form):
    for path in own_root.glob('*/*/**/*.pkl.gz'):
        data = path.read_bytes()
        if form.startswith('unpacked'):
            data = gzip.decompress(data)
        if form != 'unpacked-under-the-old-name':
            path.with_suffix('').write_bytes(data)
        if form != 'both':
            path.unlink()
        if form == 'unpacked-under-the-old-name':
            path.write_bytes(data)
    create_pandaset_infos(own_root)
    for path in sorted(pandaset_root.glob('pandar*/*/*')) + sorted(pandaset_root.glob('*.pkl')):
        assert (own_root / path.relative_to(pandaset_root)).read_bytes() == path.read_bytes()
    assert not lines


@pytest.mark.parametrize('folders', [('pandaset', 'pandaset'), ('pandaset_0', 'pandaset_1')])
def test_sequences_a_folder_deeper(own_root, pandaset_root, lines, folders):
    for sequence, folder in zip(('001', '002'), folders):
        (own_root / folder).mkdir(exist_ok=True)
        (own_root / sequence).rename(own_root / folder / sequence)
    create_pandaset_infos(own_root)
    for ours, theirs in zip(infos(own_root), infos(pandaset_root)):
        for camera, image in ours['images'].items():
            assert image.pop('img_path') == f'{folders[0]}/{theirs["images"][camera].pop("img_path")}'
        assert ours == theirs
    sample = paired(own_root, 'pandar64', [*READ, *PROJECT])[0]
    assert len(sample['views']) == 6 and not lines


def test_sequences_that_lack_something_are_left_out(own_root, lines):
    shutil.rmtree(own_root / '001/annotations')
    (own_root / 'pandar64_infos_train.pkl').write_text('of an earlier run')
    create_pandaset_infos(own_root, 'error')
    assert not list(own_root.glob('*_train.pkl')) and len(infos(own_root, split='val')) == 2
    assert '1 of 2 sequences have no semantic labels (001/annotations/semseg): left out' in lines[0]
    shutil.copytree(own_root / '002', own_root / '003')
    (own_root / '002/meta/gps.json').unlink()
    with pytest.raises(DataError, match=r'1 of 3 sequences lack files \(002/meta/gps\.json\): unpack'):
        create_pandaset_infos(own_root, 'error')
    create_pandaset_infos(own_root)
    assert {info['sample_idx'] for info in infos(own_root, split='val')} == {'003/00', '003/01'}


def test_frames_and_cameras_that_are_not_there(own_root, lines):
    shutil.rmtree(own_root / '001/camera/left_camera')
    (own_root / '001/camera/front_camera/01.jpg').unlink()
    (own_root / '002/annotations/semseg/00.pkl.gz').unlink()
    (own_root / '002/camera/back_camera/intrinsics.json').unlink()
    create_pandaset_infos(own_root)
    first, second = infos(own_root)
    assert set(CATALOG['pandar64'].cameras) - set(first['images']) == {'left_camera'}
    assert set(CATALOG['pandar64'].cameras) - set(second['images']) == {'left_camera', 'front_camera'}
    (only,) = infos(own_root, split='val')
    assert only['sample_idx'] == '002/01' and 'back_camera' not in only['images']
    assert '1 of 4 sweeps have no semantic labels (002/annotations/semseg/00): left out' in lines[0]
    assert '4 of 18 images are absent or have no pose and intrinsics (left_camera: 2, front_camera: 1, bac' in lines[1]
    assert len(paired(own_root, 'pandargt', [], cameras=['front_camera'])) == 1
    with pytest.raises(DataError, match='1 of 4 sweeps'):
        create_pandaset_infos(own_root, 'error')


def test_poses_belong_to_frames_by_their_numbers(own_root, pandaset_root, lines):
    """The first sweep and its labels are gone, the lists of poses and times are whole."""
    for name in ('lidar', 'annotations/semseg'):
        (own_root / '001' / name / '00.pkl.gz').unlink()
    create_pandaset_infos(own_root)
    assert infos(own_root) == infos(pandaset_root)[1:] and not lines


def test_command_converts_and_configs_read(own_root, capsys, run_tool):
    """From the devkit's layout to a batch over both lidars and cameras, by the command and the config."""
    run_tool('create_data', 'pandaset', '--root', own_root)
    listed = capsys.readouterr().out
    assert 'pandargt, val: 2 sweeps' in listed and f'{own_root}/pandar64_infos_train.pkl' in listed
    config = Config.fromfile(REPO / 'configs/_base_/datasets/scalr_mixed.py')
    mix = config.train_dataloader.dataset
    mix.datasets = [dict(part, data_root=str(own_root), **FAST) for part in mix.datasets[2:]]
    dataset = DATASETS.build(mix)
    batch = PairedDataPreprocessor()(pseudo_collate([dataset[SampleKey(i, i)] for i in range(4)]))
    inputs, samples = batch['inputs'], batch['data_samples']
    assert [sample.dataset for sample in samples] == ['pandar64', 'pandar64', 'pandargt', 'pandargt']
    assert samples[2].cameras == ['front_camera'] and inputs['images'].shape == (4, 3, 224, 448)
    assert all(points.shape[1] == 8 and len(points) > 500 for points in inputs['points'])
    assert (inputs['pairs'].point.diff() >= 0).all() and len(inputs['pairs'].point) == sum(map(len, inputs['points']))


@pytest.mark.parametrize('lidar', LIDARS)
def test_probe_and_pictures_of_the_documentation(pandaset_root, lidar):
    text = (REPO / 'docs/mixed_datasets.md').read_text()
    settings = re.search(r'```python\n(_base_ = .+?)```', text, re.DOTALL)[1]
    settings = settings.replace('../_base_', f'{REPO}/configs/_base_').replace('pandar64', lidar)
    config = Config.fromstring(settings, '.py')
    assert config.train_dataloader.dataset.ann_file == f'{lidar}_infos_train.pkl'
    for part in (config.val_dataloader.dataset, config.val_cfg.fit_dataloader.dataset, config.picture_dataset):
        sample = DATASETS.build(dict(part, data_root=str(pandaset_root), **FAST))[0]
        points, labels = sample['inputs']['points'], sample['data_samples'].gt_pts_seg.pts_semantic_mask
        assert points.shape == (len(labels), 8) and len(sample['data_samples'].cameras) == len(part.cameras)
    assert sample['inputs']['images'].shape[1:] == (3, 224, 448)


def test_sweeps_without_points_of_a_lidar(own_root, lines):
    table_edit('001/lidar/00.pkl.gz', lambda table: table.assign(d=0))(own_root)
    create_pandaset_infos(own_root)
    assert [len(infos(own_root, lidar)) for lidar in LIDARS] == [2, 1]
    assert infos(own_root, 'pandargt')[0]['sample_idx'] == '001/01'
    (line,) = lines
    assert line.startswith('1 sweeps have no points (pandargt/001/00.bin): left out; unpack')
    # those of an earlier run, too
    create_pandaset_infos(own_root)
    assert len(infos(own_root, 'pandargt')) == 1 and lines == [line, line]
    with pytest.raises(DataError, match=r'1 sweeps have no points \(pandargt/001/00\.bin\): unpack'):
        create_pandaset_infos(own_root, 'error')


def test_points_that_are_not_finite_go_with_their_labels(own_root, pandaset_root, lines):
    def spoil(table):
        table.iloc[0, 0], table.iloc[-1, 3] = np.nan, np.inf
        return table

    table_edit('001/lidar/00.pkl.gz', spoil)(own_root)
    with pytest.raises(DataError, match=r'2 points are not finite \(\S+001/lidar/00\.pkl\.gz\): unpack'):
        create_pandaset_infos(own_root, 'error')
    create_pandaset_infos(own_root)
    assert lines == [
        f'2 points are not finite ({own_root}/001/lidar/00.pkl.gz): left out; unpack the sequences again, if they are '
        'not so in the archive'
    ]
    ours, theirs = (
        {lidar: np.fromfile(root / f'{lidar}/001/00.label', np.uint8) for lidar in LIDARS}
        for root in (own_root, pandaset_root)
    )
    assert sum(map(len, ours.values())) == sum(map(len, theirs.values())) - 2
    np.testing.assert_array_equal(ours['pandar64'], theirs['pandar64'][1:])
    np.testing.assert_array_equal(ours['pandargt'], theirs['pandargt'][:-1])
    assert len(paired(own_root, 'pandar64', READ)[0]['points']) == len(ours['pandar64'])
