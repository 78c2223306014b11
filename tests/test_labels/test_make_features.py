"""A teacher's maps on disk: made by the tool, read in place of images, the same loss."""

import errno
import fcntl
import io
import runpy
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from peridot.errors import ConfigError, DataError
from peridot.labels import make_features
from peridot.labels.make_features import weights_hash
from peridot.maps.images import ImageSource
from peridot.maps.teacher_features import FeatureFolder, FeatureManifest, read_feature_manifest, teacher_settings
from peridot.models.students import VoxelFeatures
from peridot.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image
from torch import nn

REPO = Path(__file__).resolve().parents[2]
SIZE, SAMPLES = (32, 48), 2
# timm's smallest transformer
NETWORK, CHANNELS = 'test_vit', 64


@MODELS.register_module(force=True)
class CacheTestStudent(nn.Linear):
    out_channels = 12

    def __init__(self):
        super().__init__(4, 12)

    def forward(self, points):
        flat = super().forward(torch.cat(points))
        return VoxelFeatures(flat, torch.arange(len(flat)))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A file of weights: a teacher built twice is the same."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'vit.pth'
    torch.save(timm.create_model(NETWORK, num_classes=0).state_dict(), path)
    return str(path)


def make_config(root, out, weights, *, live=False, before=(), camera=None, **teacher) -> Config:
    """A pre-training on the demo's first samples, with maps from `out` or with the teacher itself."""
    network = dict(type='peridot.TimmTeacher', model=NETWORK, weights=weights, out_index=1, final_norm=False, **teacher)
    read = [dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]
    pipeline = [
        dict(type='peridot.LoadPoints', load_dim=5, use_dim=4),
        *([camera] if camera else read),
        dict(type='peridot.ResizeViews', size=SIZE),
        *before,
        dict(type='peridot.PackPaired'),
    ]
    cameras = [f'CAM_{name}' for name in ('FRONT', 'BACK', 'FRONT_LEFT')]
    dataset = dict(
        type='peridot.PairedDataset',
        data_root=str(root),
        ann_file='nuscenes_infos_train.pkl',
        data_prefix=dict(pts='samples/LIDAR_TOP', **{name: f'samples/{name}' for name in cameras}),
        cameras=cameras,
        indices=SAMPLES,
        serialize_data=False,
        maps={} if live else dict(teacher_features=dict(folder=str(out), teacher=network)),
        pipeline=pipeline,
    )
    stored = dict(type='peridot.StoredTeacher', teacher=network, out_channels=CHANNELS)
    model = dict(
        type='peridot.Pretrainer',
        student=dict(type='peridot.CacheTestStudent'),
        teacher=network if live else stored,
        heads=dict(distill=dict(type='peridot.DistillationHead')),
        objectives=dict(distance=dict(type='peridot.FeatureDistance')),
    )
    return Config(dict(train_dataloader=dict(dataset=dataset), model=model))


def resizing(config: Config) -> dict:
    return next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'peridot.ResizeViews')


def make_teacher_features(config: Config, tmp_path, *options):
    path = tmp_path / 'config.py'
    config.dump(path)
    words = [sys.argv[0], str(path), '--workers', '0', *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', words)
        runpy.run_path(str(REPO / 'tools/make_teacher_features.py'))['main']()


@pytest.fixture(scope='module')
def made(demo_root, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp('features')
    make_teacher_features(make_config(demo_root, folder / 'maps', weights), folder)
    return folder / 'maps'


def test_a_relative_data_root(demo_root, weights, tmp_path, monkeypatch):
    """Maps lie where training looks for them."""
    (tmp_path / 'data').mkdir()
    for path in demo_root.iterdir():
        if path.name == 'samples' or path.suffix == '.pkl':
            (tmp_path / 'data' / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    config = make_config('data', 'maps', weights)
    make_teacher_features(config, tmp_path)
    assert (tmp_path / 'data' / 'maps' / 'manifest.json').is_file()
    DATASETS.build(config.train_dataloader.dataset).check_maps()


@pytest.fixture
def maps(made, tmp_path):
    """The folder, to be spoiled."""
    return shutil.copytree(made, tmp_path / 'maps', copy_function=shutil.copy2)


def dataset_of(config: Config):
    return DATASETS.build(config.train_dataloader.dataset)


def loss_of(config: Config) -> torch.Tensor:
    model = MODELS.build(config.model)
    g = torch.Generator().manual_seed(0)
    for parameter in [*model.student.parameters(), *model.heads.parameters()]:
        parameter.data = torch.randn(parameter.shape, generator=g)
    dataset = dataset_of(config)
    data = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    assert ('images' in data['inputs']) == (config.model.teacher.type == 'peridot.TimmTeacher')
    results = model(**data, mode='loss')
    assert results['distance/pairs'] > 1000
    return results['distance/loss'].detach()


def test_same_loss_as_with_the_live_teacher(demo_root, made, weights):
    live = loss_of(make_config(demo_root, made, weights, live=True))
    stored = loss_of(make_config(demo_root, made, weights))
    torch.testing.assert_close(stored, live, rtol=2e-4, atol=0)


def test_maps_are_made_in_full_precision_and_serve_all(demo_root, made, weights):
    config = make_config(demo_root, made, weights, dtype='bfloat16', compile=True)
    teacher, _ = make_features.build_teacher(config)
    assert teacher.dtype is None
    assert len(dataset_of(config)) == SAMPLES
    live, stored = (
        loss_of(make_config(demo_root, made, weights, live=live, dtype='bfloat16')) for live in (True, False)
    )
    torch.testing.assert_close(stored, live, rtol=2e-2, atol=0)


def test_manifest_says_what_was_run(demo_root, made, weights):
    config = make_config(demo_root, made, weights)
    manifest = read_feature_manifest(made)
    assert (manifest.image_size, manifest.shape, manifest.images) == ([*SIZE], [CHANNELS, 2, 3], 3 * SAMPLES)
    assert manifest.teacher == teacher_settings(config.model.teacher)
    assert manifest.teacher['weights'] == 'vit.pth' and manifest.teacher['output_stride'] is None
    assert manifest.weights_hash == weights_hash(MODELS.build(config.model.teacher.teacher))
    assert '3' in FeatureFolder(made, demo_root).describe() and 'config.py' in manifest.command
    sizes = {path.stat().st_size for path in made.rglob('*.npy')}
    assert sizes == {manifest.file_size}


def test_maps_follow_the_camera_that_was_chosen(demo_root, made, weights):
    config = make_config(demo_root, made, weights, camera=dict(type='peridot.ChooseCamera'))
    packed = dataset_of(config)[0]
    (path,) = packed['data_samples'].metainfo['img_paths']
    stored = packed['inputs']['teacher_maps']
    assert stored.shape == (1, CHANNELS, 2, 3) and stored.dtype == torch.float16
    np.testing.assert_array_equal(stored[0].permute(1, 2, 0), FeatureFolder(made, demo_root).read(path))


def test_resuming_makes_what_is_missing_or_cut_off(demo_root, maps, weights, tmp_path, capsys):
    config = make_config(demo_root, maps, weights)
    before = {path: path.read_bytes() for path in maps.rglob('*.npy')}
    missing, cut, *kept = sorted(before)
    missing.unlink()
    cut.write_bytes(before[cut][:100])
    times = {path: path.stat().st_mtime_ns for path in kept}
    make_teacher_features(config, tmp_path)
    for path, content in before.items():
        # the last digit depends on how many images the network sees at once
        np.testing.assert_allclose(np.load(path), np.load(io.BytesIO(content)), rtol=1e-3, atol=1e-3)
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert '6 maps of 64x2x3' in (printed := capsys.readouterr().out) and '4 exist' in printed


def test_two_processes_share_the_images(demo_root, weights, tmp_path, monkeypatch):
    config = make_config(demo_root, tmp_path / 'maps', weights)
    for rank in (0, 1):
        monkeypatch.setattr(make_features.dist, 'get_dist_info', lambda rank=rank: (rank, 2))
        make_teacher_features(config, tmp_path)
        assert len(list((tmp_path / 'maps').rglob('*.npy'))) == 3 * (rank + 1)


def test_a_second_run_on_the_same_folder_is_refused(demo_root, weights, tmp_path, monkeypatch):
    config = make_config(demo_root, tmp_path / 'maps', weights)

    def refuse(*_):
        raise BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable')

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    with pytest.raises(DataError, match='maps is being made by another run'):
        make_teacher_features(config, tmp_path)
    assert [path.name for path in (tmp_path / 'maps').iterdir()] == ['.lock']


def test_other_settings_are_refused(demo_root, maps, weights, tmp_path):
    other = make_config(demo_root, maps, weights)
    for part in (other.model.teacher.teacher, other.train_dataloader.dataset.maps.teacher_features.teacher):
        part.final_norm = True
    with pytest.raises(ConfigError, match=r'manifest.json: .*final_norm=False.*True.*--overwrite'):
        make_teacher_features(other, tmp_path)
    with pytest.raises(ConfigError, match=r'final_norm=False.*make_teacher_features'):
        dataset_of(other).full_init()
    make_teacher_features(other, tmp_path, '--overwrite')
    dataset_of(other)[0]
    larger = make_config(demo_root, maps, weights)
    resizing(larger).size = (48, 64)
    with pytest.raises(ConfigError):
        make_teacher_features(larger, tmp_path)


def test_weights_of_another_training_are_refused(demo_root, maps, weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    state['blocks.0.attn.qkv.bias'] += 1
    (tmp_path / 'other').mkdir()
    torch.save(state, tmp_path / 'other' / 'vit.pth')
    with pytest.raises(ConfigError, match='weights_hash'):
        make_teacher_features(make_config(demo_root, maps, str(tmp_path / 'other' / 'vit.pth')), tmp_path)


def test_images_of_another_size(demo_root, made, weights):
    config = make_config(demo_root, made, weights)
    resizing(config).size = (48, 64)
    with pytest.raises(ConfigError, match=r'\(48, 64\).*\(32, 48\).*ResizeViews'):
        dataset_of(config)[0]


def test_image_augmentation_is_refused(demo_root, made, weights, tmp_path):
    flip = dict(type='peridot.RandomFlipViews', prob=1.0)
    config = make_config(demo_root, made, weights, before=[flip])
    with pytest.raises(ConfigError, match='RandomFlipViews'):
        make_teacher_features(config, tmp_path)
    with pytest.raises(ConfigError, match='RandomFlipViews'):
        dataset_of(config)[0]


@pytest.mark.parametrize('more', [dict(out_indices=(0, 1)), dict(class_token=True)])
def test_several_layers_and_class_tokens_are_not_stored(more, demo_root, made, weights, tmp_path):
    config = make_config(demo_root, made, weights, **more)
    with pytest.raises(ConfigError, match='several layers and class tokens are not stored: train with the teacher'):
        make_teacher_features(config, tmp_path)
    # the map of one layer is what it was
    assert teacher_settings(config.model.teacher) == teacher_settings(
        make_config(demo_root, made, weights).model.teacher
    )


def test_unknown_crop_is_seen_in_the_views(demo_root, made, weights):
    @TRANSFORMS.register_module(force=True)
    class HalfOfTheViews:
        def transform(self, results):
            half = np.concatenate([np.zeros_like(results['views'].size), results['views'].size // [1, 2]], 1)
            results['views'].resized_crop(half.astype(float), SIZE)
            return results

        __call__ = transform

    config = make_config(demo_root, made, weights, before=[dict(type='peridot.HalfOfTheViews')])
    with pytest.raises(ConfigError, match='crops or flips'):
        dataset_of(config)[0]


def test_missing_and_damaged_maps(demo_root, maps, weights, tmp_path):
    config = make_config(demo_root, maps, weights)
    first, second = sorted(maps.rglob('*.npy'))[:2]
    first.unlink()
    with pytest.raises(DataError, match=r'no map for 1 of 6 images .*config.py'):
        dataset_of(config).full_init()
    np.save(first, np.zeros((1, 1, CHANNELS), np.float16))
    second.write_bytes(b'short')
    for _ in range(2):
        with pytest.raises(DataError, match=r'map .*\.npy (holds float16|is damaged).*: remake it with `'):
            [dataset_of(config)[index] for index in range(SAMPLES)]
        shutil.copy2(sorted(maps.rglob('*.npy'))[-1], first)
    (maps / 'manifest.json').write_text('{"kind": "labels"}')
    with pytest.raises(DataError, match='not a manifest of teacher features'):
        dataset_of(config).full_init()
    (maps / 'manifest.json').unlink()
    with pytest.raises(DataError, match='make the teacher features with'):
        dataset_of(config).full_init()
    with pytest.raises(ConfigError, match=r'holds maps .* but no manifest'):
        make_teacher_features(config, tmp_path)


def test_disk_that_is_too_small(demo_root, weights, tmp_path, monkeypatch, capsys):
    config = make_config(demo_root, tmp_path / 'maps', weights)
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage(1000, 0, 1000))
    with pytest.raises(ConfigError, match='--yes'):
        make_teacher_features(config, tmp_path)
    assert not (tmp_path / 'maps').exists()
    assert 'GB of 0.00 GB free' in capsys.readouterr().out
    make_teacher_features(config, tmp_path, '--yes')
    assert '--yes' not in read_feature_manifest(tmp_path / 'maps').command


def test_a_damaged_image_does_not_stop_the_others(demo_root, weights, tmp_path):
    config = make_config(demo_root, tmp_path / 'maps', weights)
    (sources,) = make_features.training_images(config).values()
    paths = [tmp_path / f'{number}.jpg' for number in range(4)]
    for path, source in zip(paths, sources):
        shutil.copy(source.path, path)
    paths[1].write_bytes(paths[1].read_bytes()[:999])
    teacher, settings = make_features.build_teacher(config)
    manifest = FeatureManifest(teacher_settings(settings), 'sha256:0', list(SIZE), [CHANNELS, 2, 3], 'command')
    folder = FeatureFolder('maps', tmp_path, manifest=manifest)
    with pytest.raises(DataError, match=r'1\.jpg is truncated'):
        make_features.make_features(teacher, folder, [ImageSource(str(path)) for path in paths], batch_size=2)
    assert sorted(path.name for path in (tmp_path / 'maps').iterdir()) == ['0.npy', '2.npy', '3.npy']
    assert manifest.images is None


def test_an_image_that_exhausts_memory_is_named_and_its_batch_is_made(demo_root, weights, tmp_path, monkeypatch):
    config = make_config(demo_root, tmp_path / 'maps', weights)
    paths = [tmp_path / f'{number}.png' for number in range(4)]
    for number, path in enumerate(paths):
        Image.new('RGB', SIZE[::-1], (50 * number,) * 3).save(path)
    teacher, settings = make_features.build_teacher(config)
    manifest = FeatureManifest(teacher_settings(settings), 'sha256:0', list(SIZE), [CHANNELS, 2, 3], 'command')
    folder = FeatureFolder('maps', tmp_path, manifest=manifest)
    (tmp_path / 'maps').mkdir()
    forward, sizes = type(teacher).forward, []

    def exhausted(self, images):
        sizes.append(len(images))
        if (images == 100).any():
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return forward(self, images)

    def make() -> None:
        make_features.make_features(teacher, folder, [ImageSource(str(path)) for path in paths], batch_size=3)

    with (
        monkeypatch.context() as patch,
        pytest.raises(DataError, match=r'image .*/2\.png needs more memory.*--batch-size'),
    ):
        patch.setattr(type(teacher), 'forward', exhausted)
        make()
    assert sizes == [3, 1, 1, 1, 1]
    assert sorted(path.name for path in (tmp_path / 'maps').glob('*.npy')) == ['0.npy', '1.npy', '3.npy']
    make()
    assert manifest.images == 4


def test_features_that_half_precision_does_not_hold(tmp_path):
    manifest = FeatureManifest({}, '', [2, 2], [1, 1, 1], 'command')
    folder = FeatureFolder(tmp_path, tmp_path, manifest=manifest)
    with pytest.raises(DataError, match='half precision'):
        folder.write('image.jpg', np.full((1, 1, 1), 7e4, np.float32))
    assert not list(tmp_path.iterdir())


def test_a_teacher_without_network_needs_maps(demo_root, made, weights):
    config = make_config(demo_root, made, weights)
    config.train_dataloader.dataset.maps = {}
    model = MODELS.build(config.model)
    data = model.data_preprocessor(pseudo_collate([dataset_of(config)[0]]), True)
    with pytest.raises(ConfigError, match=r'maps=dict\(teacher_features=FOLDER\)'):
        model(**data, mode='loss')
    config = make_config(demo_root, made, weights)
    config.model.teacher.out_channels = 384
    model = MODELS.build(config.model)
    data = model.data_preprocessor(pseudo_collate([dataset_of(config)[0]]), True)
    with pytest.raises(ConfigError, match=r'64 channels, model\.teacher has 384'):
        model(**data, mode='loss')


def test_a_config_without_one_image_size(demo_root, made, weights, tmp_path):
    config = make_config(demo_root, made, weights)
    config.train_dataloader.dataset.pipeline.remove(resizing(config))
    with pytest.raises(ConfigError, match=r'one size of peridot.ResizeViews.*found none'):
        make_teacher_features(config, tmp_path)
