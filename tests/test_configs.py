"""Every config builds, trains and evaluates; every command and path of the documents exists."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config

REPO = Path(__file__).resolve().parents[1]
# the published networks and sizes, on one camera and one scan
SMALL = [
    'train_dataloader.batch_size=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.dataset.indices=1',
    "train_dataloader.dataset.cameras=['CAM_FRONT']",
    "picture_dataset.cameras=['CAM_FRONT']",
    'val_dataloader.num_workers=0',
    'val_cfg.fit_dataloader.num_workers=0',
    'val_cfg.fit_scans=1',
    'val_dataloader.dataset.indices=1',
    'default_hooks.logger.interval=1',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    *(
        f'{dataset}.data_prefix.pts_semantic_mask=lidarseg/v1.0-mini'
        for dataset in ('val_dataloader.dataset', 'val_cfg.fit_dataloader.dataset', 'picture_dataset')
    ),
]
FINETUNE = sorted(
    path
    for path in [*(REPO / 'configs' / 'finetune').glob('*.py'), *(REPO / 'configs' / 'demo').glob('*.py')]
    if 'VerifyLoadingHook' in str(Config.fromfile(path).custom_hooks)
)
CONFIGS = sorted(
    path.relative_to(REPO)
    for folder in ('pretrain', 'demo')
    for path in (REPO / 'configs' / folder).glob('*.py')
    if path not in FINETUNE
)
SMALL_FINETUNE = [
    'load_from=None',
    'train_dataloader.batch_size=1',
    *(
        f'{loop}_dataloader.{option}'
        for loop in ('train', 'val')
        for option in ('num_workers=0', 'persistent_workers=False')
    ),
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=-1',
]
# where the test data has the maps that a method reads
MAPS = {
    'peridot.LoadPairLabels': ['pipeline.3.folder=weak_labels/kmeans'],
    'peridot.LoadViewMaps': ['pipeline.3.superpixels=superpixels/slic'],
}


@pytest.fixture(scope='module')
def moco_file(tmp_path_factory) -> Path:
    """A file of MoCo v2's layout with random weights."""
    network = timm.create_model('resnet50', num_classes=128)
    state = {f'module.encoder_q.{name}': value for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp('weights') / 'moco_v2_800ep_pretrain.pth.tar'
    torch.save({'state_dict': state, 'epoch': 800}, path)
    return path


def options_for(config: Path, moco_file: Path) -> list[str]:
    """What makes a config small and points it at the test data."""
    content = Config.fromfile(REPO / config)
    loads = content.train_dataloader.dataset.pipeline[3]['type']
    # one process runs all configs, and mmengine keeps one visualizer of a name
    options = [
        *SMALL,
        f'visualizer.name={config.stem}',
        *(f'train_dataloader.dataset.{option}' for option in MAPS.get(loads, [])),
    ]
    if 'vmf' in content.model.objectives:
        options.append('model.objectives.vmf.num_classes=16')
    if content.model.teacher.model == 'resnet50':
        options.append(f'model.teacher.weights={moco_file}')
    return options


@pytest.mark.parametrize('config', CONFIGS, ids=str)
def test_config_trains_and_evaluates(config, labeled_root, moco_file, tmp_path, monkeypatch):
    arguments = ['--data-root', str(labeled_root), '--work-dir', str(tmp_path)]
    options = options_for(config, moco_file)
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', str(config), *arguments, '--cfg-options', *options])
    runpy.run_path('tools/train.py', run_name='__main__')
    lines = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert lines[0]['loss'] > 0 and lines[0]['iter'] == 1
    assert 0 <= lines[-1]['probe/miou'] <= 1
    assert (tmp_path / 'backbone.pth').is_file()
    assert list((tmp_path / 'pictures').glob('*.png'))


def has_fraction(path: Path) -> bool:
    return 'splits/' in str(Config.fromfile(path).train_dataloader)


def innermost(dataset: dict, path: str) -> tuple[dict, str]:
    """The dataset inside its wrappers, and its place in the config."""
    while 'dataset' in dataset and isinstance(dataset.dataset, dict):
        dataset, path = dataset.dataset, f'{path}.dataset'
    return dataset, path


@pytest.mark.parametrize('config', [path for path in FINETUNE if not has_fraction(path)], ids=lambda path: path.stem)
def test_finetuning_trains_and_evaluates(config, request, tmp_path, monkeypatch):
    content = Config.fromfile(config)
    dataset, place = innermost(content.train_dataloader.dataset, 'train_dataloader.dataset')
    data = next(name for name in ('semantickitti', 'kitti', 'nuscenes') if dataset.ann_file.startswith(f'{name}_'))
    root = request.getfixturevalue({'nuscenes': 'objects_root'}.get(data, f'{data}_root'))
    options = [*SMALL_FINETUNE, f'{place}.indices=2', f'visualizer.name={config.stem}']
    if data == 'nuscenes' and 'decode_head' not in content.model:
        options.append('val_dataloader.dataset.metainfo.version=v1.0-mini')
    elif data == 'nuscenes':
        options += [f'{p}.data_prefix.pts_semantic_mask=lidarseg/v1.0-mini' for p in (place, 'val_dataloader.dataset')]
    monkeypatch.chdir(REPO)
    arguments = ['--data-root', str(root), '--work-dir', str(tmp_path), '--cfg-options', *options]
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', str(config), *arguments])
    runpy.run_path('tools/train.py', run_name='__main__')
    first, *_, last = (
        json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    )
    assert first['loss'] > 0
    wanted = {'nuscenes': 'NDS', 'kitti': 'Overall_3D_AP40_moderate', 'semantickitti': 'miou'}[data]
    wanted = 'miou' if 'decode_head' in content.model else wanted
    (value,) = (value for name, value in last.items() if name.endswith(wanted))
    assert 0 <= value <= 100


@pytest.mark.parametrize('config', [path for path in FINETUNE if has_fraction(path)], ids=lambda path: path.stem)
def test_a_fraction_is_the_whole_protocol_with_a_split(config):
    """Schedules of the demo's small fraction aside, and optimizer settings stated in the config itself."""
    whole = config.with_name(re.search(r"_base_ = '\./(\w[\w-]*\.py)'", config.read_text())[1])
    assert not has_fraction(whole)
    ours, theirs = Config.fromfile(config).to_dict(), Config.fromfile(whole).to_dict()
    changed = {key for key in ours if ours[key] != theirs.get(key)}
    assert changed <= {'train_dataloader', 'epochs', 'param_scheduler', 'train_cfg'}
    text = str(ours['train_dataloader'])
    split = re.search(r"'split': '(splits/\w+\.txt)'", text)[1]
    assert text.replace(f"'{split}'", 'None') == str(theirs['train_dataloader'])
    percent = re.search(r'(\d+)pct', config.stem)[1]
    assert split.endswith(f'_{percent}pct.txt')


@pytest.mark.parametrize(
    'document', ['README.md', *sorted(str(p.relative_to(REPO)) for p in (REPO / 'docs').rglob('*.md'))]
)
def test_commands_and_links_of_documents_exist(document):
    text = (REPO / document).read_text()
    commands = re.findall(r'(?:tools|benchmarks)/\w+\.(?:py|sh)|configs/[\w/+-]+\.py', text)
    links = [link for link in re.findall(r'\]\(([^)#]+)\)', text) if not link.startswith('http')]
    for path in commands:
        assert (REPO / path).exists(), path
    for link in links:
        assert ((REPO / document).parent / link).exists(), link
    for target in re.findall(r'^make (\w+)', text, re.M):
        assert f'\n{target}:' in (REPO / 'Makefile').read_text()
