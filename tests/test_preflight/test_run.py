import contextlib
import os
import pickle
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.dataset import BaseDataset
from peridot.cli import load_config
from peridot.datasets.splits import make_splits
from peridot.errors import CheckpointError, ConfigError, DataError
from peridot.maps import Manifest, write_manifest
from peridot.preflight import survey as survey_module
from peridot.preflight.maps import check_training_maps
from peridot.preflight.run import PROBE, check_settings, preflight, report_warnings
from peridot.preflight.sources import sources_of
from peridot.preflight.survey import survey
from peridot.registry import DATASETS
from peridot.split_files import read_split
from peridot.walk import dicts_of

REPO = Path(__file__).resolve().parents[2]
TINY = [
    'model.student.backbone.base_channels=4',
    'model.student.backbone.encoder_channels=[4,4,8,8]',
    'model.student.backbone.decoder_channels=[8,8,8,8]',
    'model.student.voxel_size=(0.5,0.5,0.5)',
]


@pytest.fixture
def root(demo_root, tmp_path) -> Path:
    """A copy of the demo whose files may be removed or replaced."""
    return Path(shutil.copytree(demo_root, tmp_path / 'streets', copy_function=os.link))


def config_of(name: str, root: Path, *options: str):
    given = dict(option.split('=', 1) for option in options)
    return load_config(Namespace(config=str(REPO / 'configs' / f'{name}.py'), data_root=str(root), cfg_options=given))


def change_infos(root: Path, split: str, change) -> None:
    path = root / f'nuscenes_infos_{split}.pkl'
    content = pickle.loads(path.read_bytes())
    for info in content['data_list']:
        change(info)
    path.unlink()
    path.write_bytes(pickle.dumps(content))


def first_of(root: Path, split: str, key) -> Path:
    return root / key(pickle.loads((root / f'nuscenes_infos_{split}.pkl').read_bytes())['data_list'][0])


def points_of(info: dict) -> str:
    return f'samples/LIDAR_TOP/{info["lidar_points"]["lidar_path"]}'


def front_image_of(info: dict) -> str:
    return f'samples/CAM_FRONT/{info["images"]["CAM_FRONT"]["img_path"]}'


def labels_of(info: dict) -> str:
    return f'lidarseg/v1.0-mini/{info["pts_semantic_mask_path"]}'


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_nothing_is_changed_where_all_is_there(root):
    config = config_of('demo/also_demo', root)
    before = config.to_dict()
    assert preflight(config) == []
    assert config.to_dict() == before


@pytest.mark.slow
def test_a_probe_without_labels_is_switched_off_and_the_training_goes_on(root, run_tool, tmp_path, capsys):
    """Its pictures and figures show no labels."""
    for split in ('train', 'val'):
        change_infos(root, split, lambda info: info.pop('pts_semantic_mask_path'))
    run_tool(
        'train', 'configs/demo/also_demo.py', '--data-root', root, '--work-dir', tmp_path / 'run',
        '--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=1', *TINY,
    )  # fmt: skip
    assert (tmp_path / 'run' / 'backbone.pth').is_file()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    (line,) = [line for line in log.splitlines() if 'switched off: ' in line]
    assert 'peridot.LinearProbeLoop is' in line and 'nuscenes_infos_val.pkl lack point labels' in line
    assert len(list((tmp_path / 'run/pictures').glob('*.png'))) == 2
    figures = ['--data-root', root, '--out', tmp_path / 'figures', '--samples', 1]
    figures += ['--cfg-options', *TINY]
    run_tool('visualize', 'features', 'configs/demo/also_demo.py', tmp_path / 'run/epoch_1.pth', *figures)
    assert 'no t-SNE: the samples have no point labels' in capsys.readouterr().out
    assert len(list((tmp_path / 'figures').iterdir())) == 1


def test_a_test_needs_its_labels(root):
    shutil.rmtree(root / 'lidarseg')
    with pytest.raises(DataError, match=r'validation data: \d+ of \d+ files with labels .* do not exist'):
        preflight(config_of('demo/also_demo', root), training=False)


def test_fine_tuning_needs_its_validation(root):
    first_of(root, 'val', points_of).unlink()
    with pytest.raises(DataError, match=r'validation data: 1 of \d+ files with points .* do not exist'):
        preflight(config_of('demo/minkunet18_100pct_demo', root, 'load_from=None'))


def test_missing_validation_infos_switch_the_probe_off(root):
    (root / 'nuscenes_infos_val.pkl').unlink()
    config = config_of('demo/also_demo', root)
    warnings = preflight(config)
    assert all('nuscenes_infos_val.pkl does not exist: make it with' in warning for warning in warnings)
    assert len(warnings) == 2 and all(config[key] is None for key in PROBE)
    assert not any('Picture' in hook['type'] for hook in config.custom_hooks)


@pytest.mark.parametrize(
    'key, content, message',
    [
        (points_of, None, r'training data: 1 of \d+ files with points that were looked for do not exist \(.*LIDAR_TOP'),
        (front_image_of, None, r'training data: 1 of \d+ files with images that were looked for do not exist'),
        (points_of, b'12345', r'training data: point file .* has 5 bytes'),
        (front_image_of, b'12345', r'training data: image file .* is truncated or damaged'),
    ],
)
def test_training_files_are_looked_for_and_some_are_read(root, key, content, message):
    path = first_of(root, 'train', key)
    path.unlink() if content is None else replace(path, content)
    with pytest.raises(DataError, match=message) as caught:
        preflight(config_of('demo/slidr_demo', root, 'train_dataloader.dataset.maps=None'))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('key', [points_of, front_image_of, labels_of])
def test_damaged_validation_files_only_switch_off(root, key):
    replace(first_of(root, 'val', key), b'12345')
    config = config_of('demo/ppkt_demo', root)
    warnings = preflight(config)
    assert {warning.split(' is ')[0].split(' are ')[0] for warning in warnings} == {
        points_of: {'peridot.LinearProbeLoop', 'pictures'},
        front_image_of: {'pictures'},
        labels_of: {'peridot.LinearProbeLoop'},
    }[key]


def test_samples_that_lack_something_are_not_counted(root, monkeypatch):
    """Two samples have an image of the camera, none of the few that would be looked at; two have labels."""
    monkeypatch.setattr('peridot.preflight.run.LOOKED_AT', 3)
    kept = []

    def strip(info: dict) -> None:
        if len(kept) not in (3, 4):
            info['images']['CAM_FRONT'].pop('img_path')
            info.pop('pts_semantic_mask_path')
        kept.append(info['token'])

    for split in ('train', 'val'):
        kept.clear()
        change_infos(root, split, strip)
    config = config_of('demo/ppkt_demo', root, 'train_dataloader.batch_size=2')
    assert preflight(config) == [] and config.val_cfg is not None
    counts = {item.source.use: item.samples for item in survey(sources_of(config, training=True))}
    assert counts == {'training': 2, 'validation': 1, 'fit of the probe': 2, 'picture': 1}
    config.merge_from_dict({'train_dataloader.batch_size': 3})
    with pytest.raises(DataError, match='the training set has 2 samples, less than a batch of 3'):
        preflight(config)


def test_missing_sweeps_are_found(root):
    steps = 'train_dataloader.dataset.num_sweeps=1'
    config = config_of('demo/also_demo', root, steps)
    config.train_dataloader.dataset.pipeline.insert(1, dict(type='peridot.LoadSecondSweep'))
    assert preflight(config) == []
    for path in (root / 'sweeps' / 'LIDAR_TOP').iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r'training data: 16 of 16 sweeps before key frames are absent'):
        preflight(config)


def test_all_files_are_looked_for_when_asked(root, monkeypatch):
    monkeypatch.setattr('peridot.preflight.run.LOOKED_AT', 2)
    infos = pickle.loads((root / 'nuscenes_infos_train.pkl').read_bytes())['data_list']
    (root / points_of(infos[3])).unlink()
    preflight(config_of('demo/also_demo', root))
    with pytest.raises(DataError, match='1 of 16 files with points'):
        preflight(config_of('demo/also_demo', root), everything=True)


@pytest.mark.parametrize('processes, size, fits', [(1, 16, True), (1, 17, False), (2, 8, True), (2, 9, False)])
def test_a_batch_for_every_process(root, monkeypatch, processes, size, fits):
    monkeypatch.setenv('WORLD_SIZE', str(processes))
    config = config_of('demo/also_demo', root, f'train_dataloader.batch_size={size}')
    message = rf'16 samples, less than a batch of {size} in each of {processes} processes'
    with contextlib.nullcontext() if fits else pytest.raises(DataError, match=message):
        preflight(config)


@pytest.mark.parametrize(
    'config, options, error, message',
    [
        ('demo/slidr_demo', ['model.teacher.weights=no.pth'], CheckpointError, r'teacher weights no.pth not found'),
        (
            'demo/slidr_demo',
            ['model.teacher.weights=.'],
            CheckpointError,
            r'teacher weights .: a folder without model.s',
        ),
        ('demo/also_demo', ['load_from=no.pth'], CheckpointError, r'checkpoint no.pth not found'),
        ('demo/scalr_zero-shot_demo', ['val_cfg.embeddings=no.st'], DataError, r'text vectors no.st'),
        ('demo/also_demo', ['optim_wrapper.type=AmpOptimWrapper'], ConfigError, r'needs a GPU'),
        (
            'finetune/centerpoint_voxel01_nus/100pct',
            ['load_from=None'],
            DataError,
            r'objects .*nuscenes_dbinfos_train.pkl does not',
        ),
    ],
)
def test_single_files_and_settings(root, config, options, error, message):
    (root / 'nuscenes_dbinfos_train.pkl').unlink(missing_ok=True)
    with pytest.raises(error, match=message) as caught:
        preflight(config_of(config, root, *options))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('address', ['torchvision://resnet50', 'https://host/backbone.pth'])
def test_addresses_of_checkpoints_are_left_to_mmengine(root, address):
    check_settings(config_of('demo/also_demo', root, f'load_from={address}'), training=True)


def test_a_picture_of_a_shortened_dataset_is_its_own_sample(root):
    config = config_of('demo/also_demo', root, 'picture_dataset.indices=3')
    hook = next(hook for hook in config.custom_hooks if 'Picture' in hook['type'])
    hook['index'] = 2
    picture = next(item for item in survey(sources_of(config, training=True)) if item.source.index == 2)
    infos = pickle.loads((root / 'nuscenes_infos_val.pkl').read_bytes())['data_list']
    assert [picture.dataset.get_data_info(0)['token'], picture.looked_at] == [infos[2]['token'], 1]


def test_stored_features_need_no_weights(root):
    config = config_of('demo/slidr_demo', root, 'model.teacher.weights=no.pth')
    config.model.teacher = dict(type='peridot.StoredTeacher', teacher=dict(config.model.teacher))
    check_settings(config, training=True)


def test_datasets_of_mmdet3d_are_looked_at_too(objects_root):
    config = config_of('demo/centerpoint_pillar02_demo', objects_root, 'load_from=None')
    assert preflight(config) == []


def test_an_info_file_is_read_once(root, monkeypatch):
    read, paths = survey_module.read_info_file, []
    monkeypatch.setattr(survey_module, 'read_info_file', lambda *args: paths.append(args[0]) or read(*args))
    preflight(config_of('demo/also_demo', root))
    assert len(paths) == len(set(paths)) == 2


def test_label_maps_of_other_classes(tmp_path):
    from mmengine.config import Config

    write_manifest(tmp_path / 'labels', Manifest(kind='labels', classes=['road', 'car', 'tree']))
    dataset = dict(type='peridot.PairedDataset', data_root=str(tmp_path), ann_file='x.pkl', maps=dict(labels='labels'))
    config = Config(dict(train_dataloader=dict(dataset=dataset), model=dict(objectives=dict(vmf=dict(num_classes=3)))))
    check_training_maps(config)
    config.model.objectives.vmf.num_classes = 4
    with pytest.raises(ConfigError, match=r'objectives\.vmf\.num_classes=4, but the maps in .* 3 classes: set'):
        check_training_maps(config)
    config.train_dataloader.dataset.maps.labels = 'absent'
    with pytest.raises(DataError, match='absent does not exist: make maps with'):
        check_training_maps(config)


def test_surveys_count(root):
    found = survey(sources_of(config_of('demo/also_demo', root), training=True), look_at=4)
    assert [(item.source.use, item.samples, item.looked_at) for item in found] == [
        ('training', 16, 4), ('validation', 4, 4), ('fit of the probe', 16, 4), ('picture', 4, 1)
    ]  # fmt: skip


def of_use(surveys: list, use: str):
    return [item for item in surveys if item.source.use == use]


@DATASETS.register_module()
class OwnDataset(torch.utils.data.Dataset):
    """One that is no dataset of mmengine, with an info file in a format of its own."""

    def __init__(self, data_root: str, ann_file: str, pipeline: list) -> None:
        self.path = Path(data_root, ann_file)

    def __len__(self) -> int:
        return 5


@DATASETS.register_module()
class OwnInfos(BaseDataset):
    """One of mmengine's, with an info file in a format of its own."""


@pytest.mark.parametrize('kind', [OwnDataset, OwnInfos])
@pytest.mark.parametrize('named', [True, False])
def test_datasets_with_files_of_their_own_are_left_to_the_run(root, kind, named):
    (root / 'own.pkl').write_bytes(pickle.dumps([1, 2]))
    config = config_of('demo/also_demo', root)
    kind_or_name = kind.__name__ if named else kind
    config.train_dataloader.dataset = dict(
        type=f'peridot.{kind_or_name}' if named else kind, data_root=str(root), ann_file='own.pkl', pipeline=[]
    )
    (training,) = of_use(survey(sources_of(config, training=True)), 'training')
    assert (training.problems, training.samples, training.dataset) == ([], 0, None)
    assert preflight(config) == []


def test_a_chosen_list_of_scenes_is_left_to_mmdet3d(root):
    settings = dict(type='mmdet3d.ScanNetSegDataset', data_root=str(root), ann_file='nuscenes_infos_train.pkl')
    config = config_of('demo/also_demo', root)
    config.train_dataloader.dataset = dict(settings, scene_idxs=[700], pipeline=[])
    assert of_use(survey(sources_of(config, training=True)), 'training')[0].problems == []


def test_mmdet3d_reads_info_files_from_the_disk(objects_root):
    config = config_of('demo/centerpoint_pillar02_demo', objects_root, 'load_from=None')
    for part in dicts_of(config.train_dataloader):
        if part.get('ann_file'):
            part['backend_args'] = dict(backend='absent')
    assert preflight(config) == []


def test_files_of_a_split_alone_are_looked_for(root, monkeypatch):
    monkeypatch.setattr('peridot.preflight.run.LOOKED_AT', 1)
    make_splits('nuscenes', root, [50])[0].write(root / 'splits')
    (path,) = (root / 'splits').iterdir()
    chosen = set(read_split(path).samples)
    infos = pickle.loads((root / 'nuscenes_infos_train.pkl').read_bytes())['data_list']
    inside, outside = ([info for info in infos if (info['token'] in chosen) == own] for own in (True, False))
    config = config_of('demo/minkunet18_100pct_demo', root, 'load_from=None')
    config.train_dataloader.dataset.split = f'splits/{path.name}'
    for info in outside:
        (root / points_of(info)).unlink()
    assert preflight(config, everything=True) == []
    (training,) = of_use(survey(sources_of(config, training=True)), 'training')
    assert training.samples == len(inside)
    (root / points_of(inside[-1])).unlink()
    with pytest.raises(DataError, match=r'training data: 1 of \d+ files with points'):
        preflight(config, everything=True)


@pytest.mark.parametrize('size, fits', [(96, True), (97, False)])
def test_images_are_counted_where_they_are_the_samples(root, size, fits):
    """16 scans of 6 cameras."""
    config = config_of('demo/also_demo', root, f'train_dataloader.batch_size={size}')
    dataset = dict(config.picture_dataset, type='peridot.CameraImageDataset', cameras=None, pipeline=[])
    config.train_dataloader.dataset = dict(dataset, ann_file='nuscenes_infos_train.pkl')
    with contextlib.nullcontext() if fits else pytest.raises(DataError, match='the training set has 96 samples'):
        preflight(config)


def test_processes_of_slurm_and_endless_samplers(root, monkeypatch):
    monkeypatch.setenv('SLURM_NTASKS', '2')
    config = config_of('demo/also_demo', root, 'train_dataloader.batch_size=9')
    assert preflight(config) == []
    config.launcher = 'slurm'
    with pytest.raises(DataError, match='less than a batch of 9 in each of 2 processes'):
        preflight(config)
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    assert preflight(config) == []


def test_a_test_goes_on_without_its_pictures(root, run_tool, tmp_path):
    """It draws them after its evaluation."""
    shutil.rmtree(root / 'samples/CAM_FRONT')
    small = ['val_cfg.fit_scans=1', 'val_dataloader.dataset.indices=1', 'val_dataloader.num_workers=0']
    small += ['val_cfg.fit_dataloader.num_workers=0', *TINY]
    run_tool(
        'test', 'configs/demo/ppkt_demo.py', '--data-root', root, '--work-dir', tmp_path / 'run',
        '--cfg-options', *small,
    )  # fmt: skip
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'pictures are switched off: ' in log and 'probe/miou' in log
    assert not (tmp_path / 'run/pictures').exists()


def test_pictures_need_a_dataset_and_a_sample_of_it(root):
    config = config_of('demo/also_demo', root, 'picture_dataset=None')
    assert preflight(config) == ['pictures are switched off: the config has no picture_dataset']
    config = config_of('demo/also_demo', root)
    for hook, index in zip([hook for hook in config.custom_hooks if 'Picture' in hook['type']], (0, 500)):
        hook['index'] = index
    (warning,) = preflight(config)
    assert 'index=500 of the hook that draws it, but it has 4 samples: set a smaller one' in warning
    config = config_of('demo/also_demo', root)
    config.custom_hooks = None
    assert preflight(config) == []


@pytest.mark.parametrize(
    'training, keys, message',
    [
        (True, ['train_dataloader'], r'also_demo\.py has no train_dataloader, so nothing can be trained with it'),
        (False, ['val_dataloader', 'val_cfg', 'val_evaluator'], 'no test_dataloader or val_dataloader, so nothing'),
    ],
)
def test_configs_that_cannot_do_what_is_asked(root, training, keys, message):
    config = config_of('demo/also_demo', root)
    config.merge_from_dict(dict.fromkeys(keys))
    with pytest.raises(ConfigError, match=message):
        preflight(config, training)


def test_chosen_samples_that_do_not_exist(root, tmp_path):
    config = config_of('demo/also_demo', root)
    config.train_dataloader.dataset.indices = [1, 99]
    with pytest.raises(DataError, match=r'`indices` names 99, but .*nuscenes_infos_train\.pkl has 16 samples'):
        preflight(config)
    (tmp_path / 'scans/a').mkdir(parents=True)
    for number in range(5):
        shutil.copy(first_of(root, 'train', points_of), tmp_path / f'scans/a/{number}.bin')
    folder = dict(type='peridot.LidarFolder', data_root=str(tmp_path / 'scans'), pattern='{sequence}/*.bin')
    read = [dict(type='peridot.LoadPoints')]
    config.train_dataloader.dataset = dict(folder, indices=[2, 4], pipeline=read)
    (training,) = of_use(survey(sources_of(config, training=True)), 'training')
    assert (training.problems, training.samples, training.looked_at) == ([], 2, 2)


def test_processes_that_see_other_data_do_not_wait_for_each_other(monkeypatch):
    monkeypatch.setattr('peridot.preflight.run.dist.all_gather_object', lambda own: [own, ['pictures are ...']])
    report_warnings(['pictures are ...'])
    with pytest.raises(DataError, match='the processes do not see the same data: copy'):
        report_warnings([])
