"""Every config builds at its full size; every kind of them trains and evaluates at a small size.

Two configs are of one kind when they have the same objectives, student, evaluation and kinds of data, whatever their
backbones, widths, teachers and schedules; one config of every backbone is trained.
"""

import copy
import json
import re
from pathlib import Path

import pytest
import timm
import torch
from mmdet3d.datasets import CBGSDataset
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.catalog import CATALOG
from peridot.datasets import splits
from peridot.gpu_check.configs import shrink
from peridot.registry import MODELS
from peridot.text.embeddings import TextEmbeddings
from peridot.walk import dicts_of

REPO = Path(__file__).resolve().parents[1]
# one camera and one scan
SMALL = [
    'train_dataloader.batch_size=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
]
SMALL_LOOPS = {
    'peridot.LinearProbeLoop': ['val_cfg.fit_scans=1', 'val_cfg.fit_dataloader.num_workers=0'],
    'peridot.DiscoveryLoop': ['val_cfg.fit_samples=1', 'val_cfg.fit_dataloader.num_workers=0'],
    'peridot.ZeroShotLoop': [],
}
METRICS = {
    'peridot.LinearProbeLoop': 'probe/miou',
    'peridot.DiscoveryLoop': 'discovery/head/iou_fg',
    'peridot.ZeroShotLoop': 'zero_shot/student/miou',
}
ALL = {
    path.relative_to(REPO): Config.fromfile(path)
    for folder in ('pretrain', 'finetune', 'demo')
    for path in sorted((REPO / 'configs' / folder).rglob('*.py'))
}
FINETUNE = [path for path, content in ALL.items() if 'VerifyLoadingHook' in str(content.custom_hooks)]
CONFIGS = [path for path in ALL if path not in FINETUNE]


def has_fraction(path: Path) -> bool:
    return 'splits/' in str(ALL[path].train_dataloader)


def own_fraction(path: Path) -> bool:
    """Whether it is a fraction of the demo's, with a protocol of its own."""
    return has_fraction(path) and path.parts[1] == 'demo'


def data_of(content: Config) -> set[str]:
    """Kinds of the training data."""
    return {
        part['type'] + str(part.get('dataset')) for part in dicts_of(content.train_dataloader) if 'ann_file' in part
    }


def network_of(path: Path) -> dict:
    """Settings of the student, or of a network that is fine-tuned."""
    return ALL[path].model.get('student', ALL[path].model)


def marked(paths: list[Path]) -> list:
    """Parameters of tests, of which some are slow."""
    return [pytest.param(path, marks=[pytest.mark.slow] * (path in SLOW)) for path in paths]


def kind_of(path: Path) -> str:
    """What makes a training run other than another one, apart from sizes."""
    content, student = ALL[path], network_of(path)
    model, loop = content.model, (content.get('val_cfg') or {}).get('type')
    network = [student.type, student.get('detector')]
    objectives = sorted(item.type for item in model.get('objectives', {}).values())
    return str([network, objectives, loop, sorted(data_of(content)), 'decode_head' in model and model.decode_head.type])


# one config of pre-training for every choice of scenes
ON_SOME_SCENES = {ALL[path].train_dataloader.dataset.split: path for path in CONFIGS[::-1] if has_fraction(path)}
# of each kind and of each backbone the last one, that of the demo where it has one
WHOLE = [path for path in ALL if not has_fraction(path)]
TRAINED = set({kind_of(path): path for path in WHOLE}.values())
TRAINED |= set({network_of(path).get('backbone', {}).get('type'): path for path in WHOLE}.values())
# trunks of detectors with other objectives than those of the quick tests, and what compiles for long
SLOW = [path for path in TRAINED if network_of(path).get('detector') and 'slidr' not in path.stem]
SLOW += [Path('configs/demo') / f'{name}_demo.py' for name in ('second_kitti', 'centerpoint_pillar02')]
SLOW += [Path('configs/pretrain') / f'{name}_nus.py' for name in ('hilda', 'cleverdistiller_waffleiron')]
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
MAPS = dict(labels='weak_labels/kmeans', superpixels='superpixels/slic', lidar_segments='lidar_segments/hdbscan')


@pytest.fixture(scope='module')
def moco_file(tmp_path_factory) -> Path:
    """A file of MoCo v2's layout with random weights."""
    network = timm.create_model('resnet18', num_classes=128)
    state = {f'module.encoder_q.{name}': value for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp('weights') / 'moco_v2_800ep_pretrain.pth.tar'
    torch.save({'state_dict': state, 'epoch': 800}, path)
    return path


def innermost(dataset: dict, path: str) -> tuple[dict, str]:
    """The dataset inside its wrappers, and its place in the config."""
    while 'dataset' in dataset and isinstance(dataset.dataset, dict):
        dataset, path = dataset.dataset, f'{path}.dataset'
    return dataset, path


def small_data(content: Config) -> list[str]:
    """One sample, the front camera, and maps and frames that the test data have."""
    inner, place = innermost(content.train_dataloader.dataset, 'train_dataloader.dataset')
    datasets = {place: inner}
    if content.train_dataloader.dataset.type == 'peridot.MixedDataset':
        parts = content.train_dataloader.dataset.datasets
        datasets = {f'train_dataloader.dataset.datasets.{i}': part for i, part in enumerate(parts)}
    options = []
    for place, dataset in datasets.items():
        options.append(f'{place}.indices=1')
        options += [f'{place}.maps.{name}={MAPS[name]}' for name in dataset.get('maps', {})]
        if dataset.get('frames'):
            # drives of the test data have two keyframes, half a second apart
            options += [f'{place}.frames.keyframes=[1]', f'{place}.frames.max_gap=1.0']
    for place, dataset in {**datasets, 'picture_dataset': content.picture_dataset}.items():
        if dataset.get('cameras', []) != []:
            options.append(f"{place}.cameras=['{CATALOG[dataset.dataset].front_camera or 'CAM_FRONT'}']")
    if not content.val_cfg:
        return options
    options += [*SMALL_LOOPS[content.val_cfg.type], 'val_dataloader.num_workers=0', 'val_dataloader.dataset.indices=1']
    return options


def class_vectors(content: Config, folder: Path) -> list[str]:
    """Random embeddings of nuScenes' classes, where the evaluation wants a file of them."""
    if not content.val_cfg or 'embeddings' not in content.val_cfg:
        return []
    channels = {'tf_efficientnet_lite0': 112}.get(content.model.teacher.model, 512)
    words = {item.name: (item.name,) for item in CATALOG['nuscenes'].classes}
    TextEmbeddings(words, torch.randn(len(words), channels), (), 'random').save(folder / 'classes.safetensors')
    return [f'val_cfg.embeddings={folder}/classes.safetensors']


def small_config(config: Path, moco_file: Path, folder: Path) -> Path:
    """A child with small networks and random teachers, in float32 where mmengine wants a GPU for its precision."""
    content = ALL[config]
    model, wrapper = copy.deepcopy(content.model), content.optim_wrapper
    if (model.get('teacher') or {}).get('model', '').startswith(('resnet50', 'vit_')):
        model.teacher.weights = str(moco_file) if model.teacher.model == 'resnet50' else None
    if 'vmf' in model.get('objectives', {}):
        model.objectives.vmf.num_classes = 16
    shrink(model, folder)
    lines = [f'_base_ = {str(REPO / config)!r}', f'model = {dict(model.to_dict(), _delete_=True)!r}']
    if wrapper.type == 'AmpOptimWrapper':
        full = dict(type='OptimWrapper', optimizer=wrapper.optimizer.to_dict(), _delete_=True)
        lines.append(f'optim_wrapper = {full!r}')
    child = folder / config.name
    child.write_text('\n'.join([*lines, '']))
    return child


def without_warmup(content: Config) -> list[str]:
    """One epoch may be shorter than the warm-up."""
    return ['param_scheduler.0.warmup=0'] * any('warmup' in scheduler for scheduler in content.param_scheduler)


def data_roots(content: Config, request) -> str:
    """`--data-root` of a config: the test data in the layouts that it reads."""
    fixtures = dict(
        nuscenes='labeled_root', demo='labeled_root', kitti='kitti_root', semantickitti='semantickitti_root'
    )
    fixtures |= dict(kitti360='kitti360_root', once='once_root', argoverse2='argoverse2_root')
    fixtures |= dict(folder='superpixel_folder_root', demo_folder='superpixel_folder_root')
    fixtures |= dict(pandaset='pandaset_root', demo_semantickitti='semantickitti_root', demo_pandaset='pandaset_root')
    inner, _ = innermost(content.train_dataloader.dataset, '')
    parts = inner.get('datasets', [inner])
    roots = {part.data_root.rstrip('/'): request.getfixturevalue(fixtures[Path(part.data_root).name]) for part in parts}
    return ','.join(f'{old}={new}' for old, new in roots.items())


@pytest.mark.parametrize('config', [path for path in ALL if path in CONFIGS or not has_fraction(path)], ids=str)
def test_config_builds_at_full_size(config, monkeypatch):
    """On the meta device, which holds no numbers; detectors compute with their grids while they are built."""
    monkeypatch.chdir(REPO)
    init_default_scope('mmdet3d')
    model = ALL[config].model.copy()
    if model.get('teacher'):
        # the file of the weights is the user's
        model.teacher = dict(model.teacher, weights=None)
    detects = 'detector' in model.get('student', {}) or 'bbox_head' in model or 'pts_bbox_head' in model
    with torch.device('cpu' if detects else 'meta'):
        network = MODELS.build(model)
    assert sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad) > 0


@pytest.mark.parametrize('config', ALL, ids=str)
def test_a_run_killed_while_saving_can_be_resumed(config):
    """mmengine deletes the oldest checkpoint before it writes the next one: a second one has to remain."""
    hook = ALL[config].default_hooks.checkpoint
    assert hook.interval == 1 and hook.max_keep_ckpts >= 2


@pytest.mark.parametrize('config', marked([path for path in CONFIGS if path in TRAINED]), ids=str)
def test_config_trains_and_evaluates(config, request, moco_file, tmp_path, run_tool):
    content = ALL[config]
    options = [*SMALL, *small_data(content), *without_warmup(content), *class_vectors(content, tmp_path)]
    arguments = ['--data-root', data_roots(content, request), '--work-dir', tmp_path, '--cfg-options', *options]
    run_tool('train', small_config(config, moco_file, tmp_path), *arguments)
    lines = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert lines[0]['loss'] > 0 and lines[0]['iter'] == 1
    if content.val_cfg:
        assert 0 <= lines[-1][METRICS[content.val_cfg.type]] <= 100
        if content.val_cfg.type == 'peridot.LinearProbeLoop':
            assert all(0 <= lines[-1][f'probe/{name}_miou'] <= 1 for name in ('balanced', 'mlp'))
    assert (tmp_path / 'backbone.pth').is_file()
    assert list((tmp_path / 'pictures').glob('*.png'))


def scene_name(root: str, sample: str) -> str:
    """Name of the scene of a sample's token."""
    samples, scenes = (json.loads(Path(root, 'v1.0-mini', f'{name}.json').read_text()) for name in ('sample', 'scene'))
    token = next(item['scene_token'] for item in samples if item['token'] == sample)
    return next(item['name'] for item in scenes if item['token'] == token)


@pytest.mark.slow
@pytest.mark.parametrize('config', ON_SOME_SCENES.values(), ids=str)
def test_pretraining_on_some_scenes(config, request, moco_file, tmp_path, run_tool, monkeypatch):
    """The published scenes: all but those that are held out, here one."""
    root = request.getfixturevalue('labeled_root')
    content = ALL[config]
    whole = splits.make_splits('nuscenes', root, [100])[0]
    monkeypatch.setattr(splits, 'VERIFYING_SCENES', {scene_name(root, whole.samples[0])})
    name = Path(content.train_dataloader.dataset.split).stem
    scenes = 'parametrizing' if 'parametrizing' in name else 'all'
    (split,) = splits.make_splits('nuscenes', root, [100], rule=name.split('_')[1], scenes=scenes)
    assert split.name == name and 0 < len(split.samples) < len(whole.samples)
    data = [option for option in small_data(content) if not option.endswith('indices=1')]
    options = [*SMALL, *data, *without_warmup(content), 'val_cfg=None']
    options += ['val_dataloader=None', 'val_evaluator=None', 'train_cfg.val_interval=100']
    options.append(f'train_dataloader.dataset.split={split.write(tmp_path)}')
    small = small_config(config, moco_file, tmp_path)
    run_tool('train', small, '--data-root', root, '--work-dir', tmp_path, '--cfg-options', *options)
    lines = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert len(lines) == len(split.samples) and max(line['loss'] for line in lines) > 0


@pytest.mark.parametrize(
    'config', marked([path for path in FINETUNE if path in TRAINED or own_fraction(path)]), ids=str
)
def test_finetuning_trains_and_evaluates(config, request, moco_file, tmp_path, run_tool, monkeypatch):
    balanced = CBGSDataset._get_sample_indices
    monkeypatch.setattr(CBGSDataset, '_get_sample_indices', lambda *args: balanced(*args)[:2])
    content = ALL[config]
    dataset, place = innermost(content.train_dataloader.dataset, 'train_dataloader.dataset')
    data = next(name for name in ('semantickitti', 'kitti', 'nuscenes') if dataset.ann_file.startswith(f'{name}_'))
    root = request.getfixturevalue({'nuscenes': 'objects_root'}.get(data, f'{data}_root'))
    options = [*SMALL_FINETUNE, f'{place}.indices=2', *['train_dataloader.dataset.split=None'] * own_fraction(config)]
    small = small_config(config, moco_file, tmp_path)
    run_tool('train', small, '--data-root', root, '--work-dir', tmp_path, '--cfg-options', *options)
    lines = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert lines[0]['loss'] > 0
    wanted = {'nuscenes': 'NDS', 'kitti': 'Overall_3D_AP40_moderate', 'semantickitti': 'miou'}[data]
    wanted = 'miou' if 'decode_head' in content.model else wanted
    (value,) = (value for name, value in lines[-1].items() if name.endswith(wanted))
    assert 0 <= value <= 100


@pytest.mark.parametrize('config', [p for p in FINETUNE if has_fraction(p) and not own_fraction(p)], ids=str)
def test_a_fraction_is_the_whole_protocol_with_a_split(config):
    """Schedules aside, and optimizer settings stated in the config itself."""
    whole = config
    while has_fraction(whole):
        whole = whole.with_name(re.search(r"_base_ = '\./(\w[\w.-]*\.py)'", (REPO / whole).read_text())[1])
    ours, theirs = ALL[config].to_dict(), ALL[whole].to_dict()
    changed = {key for key in ours if ours[key] != theirs.get(key)}
    assert changed <= {'train_dataloader', 'epochs', 'warmup', 'param_scheduler', 'train_cfg', 'optim_wrapper'}
    # layers' learning rates decay faster with few labels
    assert ours['optim_wrapper']['optimizer'] == theirs['optim_wrapper']['optimizer']
    text = str(ours['train_dataloader'])
    split = re.search(r"'split': '(splits/[\w.]+\.txt)'", text)[1]
    assert text.replace(f"'{split}'", 'None') == str(theirs['train_dataloader'])
    percent = re.search(r'([\d.]+)pct', config.name)[1]
    assert split.endswith(f'_{percent}pct.txt')
