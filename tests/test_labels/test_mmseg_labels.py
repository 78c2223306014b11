import sys

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from peridot.errors import CheckpointError, ConfigError
from peridot.labels import MMSegGenerator, make_maps
from peridot.optional import import_package

CLASSES = ['road', 'sky', 'car', 'tree', 'house']
CONFIG = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[90., 120., 100.], std=[50., 60., 70.], bgr_to_rgb=True),
    pretrained='open-mmlab://resnet18',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=2, strides=(1, 2),
                  dilations=(1, 1), out_indices=(0, 1), norm_cfg=norm_cfg),
    decode_head=dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_convs=1, concat_input=False,
                     num_classes=5, norm_cfg=norm_cfg),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(80, 48), keep_ratio=True),
    dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
"""


@pytest.fixture
def mmseg_files(tmp_path):
    """Config and checkpoint of a network with random weights."""
    from mmseg.apis import init_model

    config, checkpoint = tmp_path / 'fcn.py', tmp_path / 'fcn.pth'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        state = init_model(str(config), device='cpu').state_dict()
    # the classifier starts so small that one class would be everywhere
    state['decode_head.conv_seg.weight'] *= 100
    torch.save({'meta': {'dataset_meta': {'classes': CLASSES, 'palette': []}}, 'state_dict': state}, checkpoint)
    return config, checkpoint


def rewrite(checkpoint, **changes):
    torch.save({**torch.load(checkpoint), **changes}, checkpoint)


def one_line(error) -> str:
    assert '\n' not in str(error.value)
    return str(error.value)


def scope_name() -> str | None:
    return getattr(DefaultScope.get_current_instance(), 'scope_name', None)


def test_maps_are_what_mmsegmentation_predicts_for_the_files(mmseg_files, job):
    from mmseg.apis import inference_model, init_model

    scope = scope_name()
    maps = make_maps(MMSegGenerator(*mmseg_files), job('weak_labels/mmseg', workers=2))
    assert scope_name() == scope
    manifest = maps.manifest
    assert (manifest.kind, manifest.generator, manifest.classes, manifest.ignore) == ('labels', 'mmseg', CLASSES, None)
    assert manifest.parameters['config'].startswith('fcn.py crc32:')
    values = set()
    with DefaultScope.overwrite_default_scope('mmseg'):
        network = init_model(*map(str, mmseg_files), device='cpu')
        for source in job('').images[:3]:
            expected = inference_model(network, source.path).pred_sem_seg.data[0].numpy()
            np.testing.assert_array_equal(maps.read(source.path, (90, 160)), expected)
            values |= set(np.unique(expected))
    assert len(values) > 2


def test_class_names(mmseg_files):
    generator = MMSegGenerator(*mmseg_files, classes=['a', 'b', 'c', 'd', 'e'])
    generator.load()
    assert generator.classes == ['a', 'b', 'c', 'd', 'e']
    rewrite(mmseg_files[1], meta={'CLASSES': CLASSES, 'PALETTE': []})
    generator = MMSegGenerator(*mmseg_files)
    generator.load()
    assert generator.classes == CLASSES
    rewrite(mmseg_files[1], meta={})
    with pytest.raises(ConfigError, match=r'fcn\.pth names no classes: give --options classes=') as error:
        MMSegGenerator(*mmseg_files).load()
    one_line(error)


def test_class_names_of_another_number(mmseg_files, job):
    rewrite(mmseg_files[1], meta={'dataset_meta': {'classes': CLASSES[:4]}})
    with pytest.raises(ConfigError, match=r'mmseg: 4 class names for the 5 classes of .*fcn\.py') as error:
        make_maps(MMSegGenerator(*mmseg_files), job('weak_labels/mmseg'))
    one_line(error)
    assert not job('weak_labels/mmseg').out.exists()
    with pytest.raises(ConfigError, match='mmseg: 2 class names for the 5 classes'):
        MMSegGenerator(*mmseg_files, classes=['a', 'b']).load()
    with pytest.raises(ConfigError, match="mmseg: the class list names 'a' twice"):
        MMSegGenerator(*mmseg_files, classes=['a', 'a'])


def test_checkpoint_of_another_network(mmseg_files):
    state = torch.load(mmseg_files[1])['state_dict']
    without = {name: value for name, value in state.items() if 'num_batches_tracked' not in name}
    rewrite(mmseg_files[1], state_dict=without)
    MMSegGenerator(*mmseg_files).load()
    name = 'decode_head.conv_seg.weight'
    rewrite(mmseg_files[1], state_dict={**without, name: torch.zeros(9, 8, 1, 1)})
    with pytest.raises(CheckpointError, match=rf'fcn\.pth does not fit .*fcn\.py \(1 tensors differ, first .{name}'):
        MMSegGenerator(*mmseg_files).load()


def test_checkpoint_truncated(mmseg_files):
    mmseg_files[1].write_bytes(mmseg_files[1].read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r'fcn\.pth cannot be read, get the file again') as error:
        MMSegGenerator(*mmseg_files).load()
    one_line(error)


def test_files_missing_or_broken(mmseg_files):
    config, checkpoint = mmseg_files
    with pytest.raises(ConfigError, match=r'mmseg: config absent\.py not found: give --options config=FILE'):
        MMSegGenerator('absent.py', checkpoint).load()
    with pytest.raises(CheckpointError, match=r'absent\.pth not found: give --options checkpoint=FILE'):
        MMSegGenerator(config, 'absent.pth').load()
    for broken, problem in (
        (CONFIG.replace('FCNHead', 'NoHead'), r'the model of .*fcn\.py cannot be built \(.*NoHead'),
        (CONFIG + ')', r'config .*fcn\.py cannot be read \('),
        ("_base_ = 'absent.py'", r'config .*fcn\.py cannot be read \(.*absent'),
    ):
        config.write_text(broken)
        with pytest.raises(ConfigError, match=problem) as error:
            MMSegGenerator(config, mmseg_files[1]).load()
        one_line(error)
    config.write_text(CONFIG.replace('test_pipeline', 'other'))
    with pytest.raises(ConfigError, match=r'fcn\.py has no test_pipeline'):
        MMSegGenerator(config, checkpoint).load()


def test_package_missing(mmseg_files, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, 'mmseg.apis')
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    with pytest.raises(
        ConfigError, match=r'mmseg needs the package mmseg.*: pip install mmsegmentation==1\.2\.2 ftfy regex$'
    ):
        MMSegGenerator(*mmseg_files).load()
    # as mmsegmentation without ftfy
    (tmp_path / 'half_there.py').write_text('import not_there')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r'mmseg needs the package not_there: pip install half_there$'):
        import_package('half_there', 'mmseg')
