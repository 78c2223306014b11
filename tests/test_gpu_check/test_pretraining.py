import functools
import time
import warnings
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from peridot.gpu_check import configs, measure, pretraining, samples, steps
from peridot.gpu_check.checks import Differs, run_part
from peridot.gpu_check.clouds import lidar_points
from torch import nn

STAGES = {'batching_ms', 'student_ms', 'objectives_ms', 'backward_ms', 'optimizer_ms', 'step_ms', 'data_ms'}


@pytest.mark.slow
def test_configs_of_every_kind_make_steps(small):
    # the last kinds have the slow teachers
    wanted = ('also_nus', 'also_waffleiron_nus', 'bevcontrast_nus', 'olivine+also_nus')

    def checks(setup):
        return ((name, check) for name, check in pretraining.checks(setup) if name.split(',')[0] in wanted)

    rows = list(run_part('pretraining', checks, small))
    assert [(row.check, row.error) for row in rows if row.status != 'ok'] == []
    assert len(rows) == 2 * len(wanted)
    for row in rows:
        assert set(row.values) >= STAGES and ('teacher_ms' in row.values) == ('olivine' in row.check)
        parts = sum(
            value for key, value in row.values.items() if key.endswith('_ms') and key not in ('step_ms', 'data_ms')
        )
        assert row.values['step_ms'] == pytest.approx(parts)


def test_small_configs_are_of_every_kind_and_all_are_tried_otherwise(small, monkeypatch):
    # all of them are read three times
    monkeypatch.setattr(Config, 'fromfile', functools.cache(Config.fromfile))
    few = configs.pretraining_configs(small)
    every = configs.pretraining_configs(replace(small, small=False))
    assert every[: len(few)] == few and sorted(every) == sorted((small.configs / 'pretrain').glob('*.py'))
    kinds = [configs.kinds_of(Config.fromfile(path)) for path in every]
    assert set.union(*kinds[: len(few)]) == set.union(*kinds)


def test_float16_has_a_loss_scaler(small):
    trial = pretraining.Trial(small.configs / 'pretrain/also_nus.py', small)
    found = trial.measure('float16')
    assert found['skipped'] >= 0 and found['loss'] > 0
    assert trial.model.skips_overflow
    before = [value.clone() for value in trial.initial]
    trial.reset()
    assert all(torch.equal(a, b) for a, b in zip(before, pretraining._learned(trial.model)))


@pytest.mark.parametrize('name', ['kitti360', 'second_kitti', 'semantickitti', 'once'])
def test_lidar_data_of_every_layout_are_written(name, small):
    config = configs.load_config(small.configs / f'pretrain/also_{name}.py', small)
    samples.write_samples(config, small.folder, small=True)
    batch, milliseconds = samples.load_batch(config, 2)
    assert len(batch['inputs']['points'][0]) > 1000 and milliseconds > 0
    assert batch['inputs']['queries'][0].occupied.any()


@pytest.mark.parametrize(
    'name, fields',
    [('olivine_argoverse2', 'label'), ('slidr_folder', None), ('scalr_wi48x768_nus-kitti-pandaset', None)],
)
def test_paired_data_of_every_layout_are_written(name, fields, small):
    config = configs.load_config(small.configs / f'pretrain/{name}.py', small)
    config.train_dataloader.batch_size = 4
    samples.write_samples(config, small.folder, small=True)
    batch, _ = samples.load_batch(config, 4)
    for pairs, images in zip(batch['inputs']['pairs'], batch['inputs']['images']):
        assert len(pairs.point) > 50 and images.shape[-2] == 224
        assert len(pairs.camera.unique()) == len(images)
        assert fields is None or pairs[fields].max() < samples.CLASSES


def test_a_sample_has_the_images_of_all_its_keyframes(small):
    config = configs.load_config(small.configs / 'pretrain/lima_nus.py', small)
    samples.write_samples(config, small.folder, small=True)
    batch, _ = samples.load_batch(config, 2)
    assert [frames.num_images.tolist() for frames in batch['inputs']['frames']] == [[36]]


def test_a_sample_of_real_size():
    assert samples.IMAGE == (900, 1600) and samples.POINTS['nuscenes'] == 34_688
    points = lidar_points(34_688, 5)
    ranges = points[:, :2].norm(dim=1)
    assert points.shape == (34_688, 5) and points.isfinite().all()
    assert ranges.max() <= 100 and 5 < ranges.median() < 20


def test_an_image_has_the_bytes_of_a_photograph(tmp_path):
    samples.write_image(tmp_path / 'image.jpg', samples.IMAGE)
    assert 80_000 < (tmp_path / 'image.jpg').stat().st_size < 400_000


class Linear(nn.Module):
    """A model with the interface of mmengine's, whose loss is a number times its only weight."""

    def __init__(self, factor):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.factor = factor

    data_preprocessor = staticmethod(lambda batch, training: batch)
    parse_losses = BaseModel.parse_losses

    def forward(self, mode):
        return dict(loss=self.weight * self.factor)


def config(lr=0.1):
    return Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=lr))))


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(Differs, match='the loss is nan') as refused:
        steps.measure_steps(Linear(torch.nan), {}, config(), 'cpu')
    assert 'step_ms' in refused.value.values


def test_skipped_steps_are_counted_and_too_many_refused():
    model = Linear(1e35)
    found = steps.measure_steps(model, {}, config(lr=1e-38), 'cpu', torch.float16)
    assert found['skipped'] == 5 and model.weight < 1
    with pytest.raises(Differs, match=f'{steps.MAX_SKIPPED} steps without finite gradients'):
        steps.measure_steps(Linear(torch.inf), {}, config(), 'cpu', torch.float16)


def test_a_stopwatch_adds_stages_and_modules():
    watch, module = measure.Stopwatch('cpu'), nn.Linear(2, 2)
    with watch.modules(layer=module, absent=None):
        for _ in range(2):
            with watch.stage('whole'):
                time.sleep(0.01)
                module(torch.ones(1, 2))
    module(torch.ones(1, 2))
    assert watch.milliseconds['whole'] >= 20 and 0 < watch.milliseconds['layer'] < watch.milliseconds['whole']
    assert not module._forward_hooks


def test_synchronizations_are_counted_by_line(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)
    found = {}
    with measure.synchronizations('cuda', found):
        for _ in range(3):
            warnings.warn('called a synchronizing CUDA operation (Triggered internally)', stacklevel=1)
        warnings.warn('something else', stacklevel=1)
    assert found['syncs'] == 3 and list(found['syncs_at'].values()) == [3]
    assert next(iter(found['syncs_at'])).startswith('tests/test_gpu_check/test_pretraining.py:')
    assert modes == ['warn', 'default']
    with measure.synchronizations('cpu', nothing := {}):
        pass
    assert not nothing
