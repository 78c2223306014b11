import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from peridot.cli import load_config
from peridot.drive_and_segment.all_stages import PSEUDO_LABELS
from peridot.drive_and_segment.segmentor.region_joining import join_regions
from peridot.errors import ConfigError, DataError
from peridot.maps import Manifest, MapFolder, write_manifest, write_map
from peridot.registry import DATASETS

pytest.importorskip('mmseg', reason='mmsegmentation is optional')
from peridot.drive_and_segment.segmentor.teacher_labels import SegmentTeacherGenerator

REPO = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPO / 'configs' / 'drive_and_segment').glob('*_*.py'))
CONFIGS = [path for path in CONFIGS if path.name.startswith(('teacher_', 'student_'))]
IMAGES = 2
HEAD = [*(f'decode_head.{name}=16' for name in ('channels', 'embed_dims')), 'decode_head.num_heads=2']
VIT = ['backbone.embed_dims=16', 'backbone.num_heads=2', 'backbone.num_layers=1', 'decode_head.in_channels=16']
SMALL = [
    f'train_dataloader.dataset.indices={IMAGES}',
    f'train_dataloader.batch_size={IMAGES}',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=1',
    'default_hooks.logger.interval=1',
]
EVALUATION = [f'val_dataloader.{o}' for o in ('dataset.indices=1', 'num_workers=0', 'persistent_workers=False')]
EVALUATION += ['model.test_cfg.mode=whole']


def network(config: Path) -> list[str]:
    """A small network with random weights."""
    return [f'model.{option}' for option in [*HEAD, 'backbone.weights=None', *VIT * ('demo' not in config.name)]]


def make_maps(folder: Path, kind: str, images: list, maps: dict, **fields) -> None:
    """A map folder with a manifest."""
    made = {'superpixels': dict(num_ids=65535), 'labels': dict(classes=['ground', *map(str, range(30))], ignore=255)}
    write_manifest(folder, Manifest(kind, **{**made[kind], **fields}))
    for info in images:
        write_map(
            folder / f'{Path(info["img_path"]).relative_to(info["data_root"]).with_suffix("")}.png', maps, np.uint16
        )


def add_maps(root: Path, config: Path) -> None:
    """Proposals, superpixels and labels of the first images, in blocks."""
    own = dict(data_root=str(root), pipeline=[], maps={}, indices=IMAGES)
    dataset = DATASETS.build({**Config.fromfile(config).train_dataloader.dataset, **own})
    images = [dataset.get_data_info(index) for index in range(IMAGES)]
    height, width = np.indices((188, 621) if 'kitti' in config.name else (198, 352))
    superpixels = height // 20 * 40 + width // 20
    proposals = np.select([height > 140, (height > 70) & (width < 90)], [1, 2], 0)
    for folder, kind, ids, fields in (
        ('drive_and_segment/proposals', 'superpixels', proposals, dict(ignore=0)),
        ('superpixels/felzenszwalb', 'superpixels', superpixels, {}),
        ('weak_labels/segment-kmeans', 'labels', np.where(proposals, proposals * 3 - 3, 255), {}),
        ('weak_labels/segment-teacher', 'labels', superpixels % 31, {}),
    ):
        make_maps(root / folder, kind, images, ids, **fields)


def linked(source: Path, folder: Path) -> Path:
    """A data root with the files of another one that can get maps of its own."""
    folder.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path.name not in ('superpixels', 'weak_labels', 'drive_and_segment'):
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope='module')
def root(demo_root, tmp_path_factory) -> Path:
    """Synthetic streets with proposals, superpixels and labels."""
    folder = linked(demo_root, tmp_path_factory.mktemp('nuscenes'))
    add_maps(folder, REPO / 'configs/drive_and_segment/teacher_demo.py')
    return folder


def train(config: Path, root: Path, folder: Path, run_tool, *options: str, evaluate: bool = False) -> list[dict]:
    """Train for an epoch of one step on small crops; what was logged."""
    options = [*SMALL, *network(config), *options]
    options += EVALUATION if evaluate else [f'val_{part}=None' for part in ('dataloader', 'cfg', 'evaluator')]
    arguments = ['--data-root', root, '--work-dir', folder, '--cfg-options', *options]
    run_tool('train', small_crops(config, folder), *arguments)
    return [json.loads(line) for line in next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()]


def small_crops(config: Path, folder: Path) -> Path:
    """The config with crops of 64 x 64 pixels."""
    content = Config.fromfile(config)
    content.model.data_preprocessor.size = (64, 64)
    (crop,) = (step for step in content.train_dataloader.dataset.pipeline if step.type == 'mmseg.RandomCrop')
    crop.crop_size = (64, 64)
    folder.mkdir(exist_ok=True)
    content.dump(folder / config.name)
    return folder / config.name


@pytest.fixture(scope='module')
def teacher(root, run_tool, tmp_path_factory) -> tuple[Path, list[dict]]:
    """Checkpoint of the demo's teacher, tiny, and what its training logged."""
    folder = tmp_path_factory.mktemp('teacher')
    logged = train(REPO / 'configs/drive_and_segment/teacher_demo.py', root, folder, run_tool, evaluate=True)
    return folder / 'epoch_1.pth', logged


def test_teacher_trains_and_is_evaluated(teacher):
    checkpoint, logged = teacher
    assert 0 < logged[0]['decode.loss_ce'] < 20 and 0 <= logged[-1]['matched/miou'] <= 1
    assert checkpoint.is_file()


def test_teacher_labels_agree_within_regions(teacher, root, tmp_path, run_tool):
    config, checkpoint = REPO / 'configs/drive_and_segment/teacher_demo.py', teacher[0]
    options = [*network(config), f'train_dataloader.dataset.indices={IMAGES}']
    command = ['make_teacher_labels', config, '--data-root', root]
    # the teacher's classes everywhere, instead of the demo's default
    arguments = ['--out', tmp_path / 'labels', '--workers', 1, '--cfg-options', *options]
    arguments += ['--options', 'pseudo_labels=None']
    run_tool(*command, *arguments, f'checkpoint={checkpoint}')
    labels = MapFolder(tmp_path / 'labels', root, 'labels', 'segment-teacher')
    assert labels.is_finished and labels.num_classes == 31 and labels.manifest.classes[:2] == ['ground', 'cluster_01']
    made = sorted(labels.folder.rglob('*.runs'))
    assert len(made) == IMAGES
    for path in made:
        key = path.relative_to(labels.folder).with_suffix('.png')
        found = labels.read_file(path)
        proposals, superpixels = (
            MapFolder(folder, root).read_file(root / folder / key)
            for folder in ('drive_and_segment/proposals', 'superpixels/felzenszwalb')
        )
        regions = join_regions(proposals, superpixels)
        assert all(len(set(found[regions == region])) == 1 for region in range(regions.max() + 1))
        assert len(set(found.ravel())) > 1
    # pseudo-labels that are kept, and the teacher's classes elsewhere
    kept = ['--out', tmp_path / 'kept', *arguments[2:-1], f'checkpoint={checkpoint}']
    run_tool(*command, *kept)
    for path in made:
        key = path.relative_to(labels.folder)
        clusters = MapFolder(PSEUDO_LABELS, root).read_file(root / PSEUDO_LABELS / key.with_suffix('.png'))
        found, path = labels.read_file(path), tmp_path / 'kept' / key
        assert (clusters != 255).any() and (clusters == 255).any()
        assert np.array_equal(labels.read_file(path), np.where(clusters == 255, found, clusters))
    # other settings do not continue in the folder
    with pytest.raises(SystemExit, match=r'the maps there were made with min_confidence=0\.0, now it is 0\.5'):
        run_tool(*command, *arguments, f'checkpoint={checkpoint}', 'min_confidence=0.5')
    arguments = ['--out', tmp_path / 'other', '--cfg-options', options[-1], '--options', f'checkpoint={checkpoint}']
    with pytest.raises(SystemExit, match=r'is of another network \(\d+ tensors differ'):
        run_tool(*command, *arguments)
    with pytest.raises(SystemExit, match='no checkpoint: add --options checkpoint='):
        run_tool(*command)


def test_labels_need_a_teacher_config():
    with pytest.raises(ConfigError, match='the config has no `teacher_labels`: give configs/drive_and_segment/teacher'):
        SegmentTeacherGenerator.settings_from_config({})
    with pytest.raises(ConfigError, match=r'teacher_labels\.min_confidence=1'):
        SegmentTeacherGenerator({}, [], 'x.pth', min_confidence=1)


@pytest.mark.parametrize('name', ['teacher_nuscenes', 'student_ema_demo', 'teacher_kitti'])
def test_configs_train(name, teacher, root, request, tmp_path, run_tool):
    config, options = REPO / f'configs/drive_and_segment/{name}.py', []
    if 'ema' in name:
        options.append(f'model.teacher={teacher[0]}')
    if 'kitti' in name:
        root = linked(request.getfixturevalue('kitti_root'), tmp_path / 'kitti')
        add_maps(root, config)
    logged = train(config, root, tmp_path / name, run_tool, *options, evaluate=name == 'teacher_nuscenes')
    assert 0 < logged[0]['loss'] < 20
    if 'ema' in name:
        assert logged[0]['loss'] == pytest.approx(logged[0]['loss_distill'] + logged[0]['loss_partial'], abs=1e-4)
        saved = torch.load(tmp_path / name / 'epoch_1.pth', weights_only=False)['state_dict']
        before, after = torch.load(teacher[0], weights_only=False)['state_dict'], 'teacher.module.decode_head.cls_emb'
        assert saved['teacher.steps'] == 2 and not saved[after].equal(before['decode_head.cls_emb'])


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_configs_build(config):
    content = Config.fromfile(config)
    assert content.default_scope == 'mmseg' and content.model.decode_head.num_classes == 31
    with DefaultScope.overwrite_default_scope('mmseg'):
        settings = {**content.train_dataloader.dataset, 'lazy_init': True}
        steps = [type(step).__name__ for step in DATASETS.build(settings).pipeline.transforms]
    is_soft = 'ema' in config.name
    assert ('LoadRegionMap' in steps) == is_soft == ('EMATeacherHook' in str(content.custom_hooks))
    assert (content.model.type == 'peridot.DistillSegmentor') == is_soft
    wanted = 'segment-teacher' if config.name.startswith('student') and not is_soft else 'segment-kmeans'
    maps = dict(content.train_dataloader.dataset.maps)
    assert maps.pop('labels') == f'weak_labels/{wanted}'
    assert list(maps) == ['proposals', 'superpixels'] * is_soft
    assert content.param_scheduler[-1].end == content.train_cfg.max_epochs
    assert not content.val_cfg or content.train_cfg.val_interval == content.train_cfg.max_epochs


def test_images_are_samples(root):
    config = Config.fromfile(REPO / 'configs/drive_and_segment/student_ema_demo.py')
    settings = {**config.train_dataloader.dataset, 'data_root': str(root), 'indices': IMAGES}
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(settings)
    assert len(dataset) == IMAGES and dataset.metainfo['ignore_index'] == 255
    assert [dataset.get_data_info(i)['cameras'] for i in range(2)] == [['CAM_FRONT'], ['CAM_FRONT_RIGHT']]
    np.random.seed(0)
    sample = dataset[1]
    seen, truth, regions = sample['inputs'], *(sample['data_samples'].get(k) for k in ('gt_sem_seg', 'gt_region_map'))
    view = sample['data_samples'].teacher_view.data
    assert seen.shape == view.shape == (3, 192, 192) and not seen.equal(view)
    # labels and regions went through the same crop: the object is one region
    labels, ids = truth.data[0], regions.data[0]
    assert set(labels.unique().tolist()) <= {0, 3, 255}
    assert len(ids[labels == 3].unique()) <= 1 < len(ids.unique())


def test_maps_of_images_follow_the_flip(root):
    config = Config.fromfile(REPO / 'configs/drive_and_segment/student_ema_demo.py')
    steps = [step for step in config.train_dataloader.dataset.pipeline if step.type.startswith('peridot.Load')]
    flip = dict(type='RandomFlip', prob=1.0)
    settings = {**config.train_dataloader.dataset, 'data_root': str(root), 'indices': 1}
    with DefaultScope.overwrite_default_scope('mmseg'):
        plain, flipped = (DATASETS.build({**settings, 'pipeline': part})[0] for part in (steps, [*steps, flip]))
    for name in ('img', 'gt_seg_map', 'gt_region_map'):
        np.testing.assert_array_equal(plain[name][:, ::-1], flipped[name])
    assert plain['gt_region_map'].dtype == np.int32 and set(np.unique(plain['gt_seg_map'])) == {0, 3, 255}


@pytest.mark.parametrize(
    ('missing', 'tool'),
    [
        ('weak_labels/segment-kmeans', 'make_pseudo_labels'),
        ('drive_and_segment/proposals', 'make_proposals'),
        ('superpixels/felzenszwalb', 'make_superpixels'),
    ],
)
def test_missing_folders_are_found_before_training(missing, tool, demo_root, root, tmp_path):
    folder = linked(demo_root, tmp_path)
    for path in ('weak_labels/segment-kmeans', 'drive_and_segment/proposals', 'superpixels/felzenszwalb'):
        if path != missing:
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).symlink_to(root / path)
    config = Config.fromfile(REPO / 'configs/drive_and_segment/student_ema_demo.py')
    settings = {**config.train_dataloader.dataset, 'data_root': str(folder), 'indices': IMAGES}
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(DataError, match=rf'{missing} does not exist: make maps with .*tools/{tool}\.py'),
    ):
        DATASETS.build(settings)


def test_superpixels_must_cover_images(root):
    config = Config.fromfile(REPO / 'configs/drive_and_segment/student_ema_demo.py')
    settings = {**config.train_dataloader.dataset, 'data_root': str(root), 'indices': IMAGES}
    settings['maps'] = {**settings['maps'], 'superpixels': 'drive_and_segment/proposals'}
    problem = r'proposals leaves pixels without superpixel.*name their folder as superpixels'
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(DataError, match=problem):
        _ = DATASETS.build(settings)[0]


@pytest.mark.parametrize(
    ('maps', 'problem'),
    [
        ({}, "has no maps called 'labels', but its pipeline reads a MapFolder"),
        (dict(labels='superpixels/felzenszwalb'), r'maps\.labels of the dataset names superpixels \(.*felzenszwalb\)'),
    ],
)
def test_other_maps_than_labels(root, maps, problem):
    config = Config.fromfile(REPO / 'configs/drive_and_segment/teacher_demo.py')
    settings = {**config.train_dataloader.dataset, 'data_root': str(root), 'indices': IMAGES, 'maps': maps}
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(ConfigError, match=problem):
        _ = DATASETS.build(settings)[0]


def test_missing_maps_are_found_before_training(root):
    config = Config.fromfile(REPO / 'configs/drive_and_segment/teacher_demo.py')
    settings = {**config.train_dataloader.dataset, 'data_root': str(root), 'indices': IMAGES + 3}
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(DataError, match=r'segment-kmeans has no map for 3 of 5 images'),
    ):
        DATASETS.build(settings)


def test_crops_without_labels_are_replaced():
    from peridot.drive_and_segment.transforms import KeepLabeled

    labels = np.full((4, 4), 255, np.uint8)
    assert KeepLabeled().transform({'gt_seg_map': labels}) is None
    labels[2, 2] = 0
    assert KeepLabeled().transform({'gt_seg_map': labels}) is not None
    assert KeepLabeled(min_pixels=2).transform({'gt_seg_map': labels}) is None


def test_configs_without_mmsegmentation(monkeypatch):
    from argparse import Namespace

    from mmengine.config import config as config_module

    monkeypatch.setattr(config_module, 'is_installed', lambda package: package != 'mmsegmentation')
    args = Namespace(config=str(CONFIGS[0]), data_root=None, cfg_options=None)
    with pytest.raises(ConfigError, match=r'needs mmsegmentation, which is optional: pip install mmsegmentation==1\.2'):
        load_config(args)
