"""The programs as a user starts them, on the small synthetic dataset."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from peridot.evaluation import LinearProbeLoop
from peridot.hooks import FeaturePictureHook

REPO = Path(__file__).resolve().parents[2]
DEMO = 'configs/demo/olivine_demo.py'
# a network of a few thousand weights: these tests are about the programs
TINY = [
    'model.student.voxel_size=(0.5,0.5,0.5)',
    'model.student.backbone.base_channels=4',
    'model.student.backbone.encoder_channels=[4,4,8,8]',
    'model.student.backbone.decoder_channels=[8,8,8,8]',
    'model.student.backbone.encoder_blocks=[1,1,1,1]',
    'model.student.backbone.decoder_blocks=[1,1,1,1]',
    'train_dataloader.dataset.indices=4',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
    'train_cfg.val_interval=100',
]


def logged_losses(work_dir: Path, name: str = 'loss') -> dict[int, float]:
    """Loss, or another logged number, by step; a later run overwrites the steps it repeated."""
    losses = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in map(json.loads, log.read_text().splitlines()):
            if name in line:
                losses[line['step']] = line[name]
    return losses


def test_without_data_one_line_says_what_is_expected(tmp_path):
    arguments = ['configs/pretrain/olivine_nus.py', '--data-root', str(tmp_path / 'none')]
    result = subprocess.run(
        [sys.executable, 'tools/train.py', *arguments], cwd=REPO, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1, result.stdout[-2000:] + result.stderr[-2000:]
    assert 'Traceback' not in result.stderr, result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith('error: ')
    assert str(tmp_path / 'none') in line
    assert 'make_demo_data.py' in line and 'create_data.py' in line


def test_without_data_a_detector_names_the_info_file(tmp_path, run_tool):
    with pytest.raises(
        SystemExit, match=rf'^error: .*kitti_infos_train\.pkl .*create_data\.py kitti --root {tmp_path}'
    ):
        run_tool('train', 'configs/finetune/second_kitti/100pct.py', '--data-root', tmp_path)


def test_without_pretrained_weights_one_line_names_the_file(demo_root, tmp_path, run_tool):
    options = ['--work-dir', tmp_path, '--cfg-options', f'load_from={tmp_path}/none.pth']
    with pytest.raises(SystemExit, match=f'^error: .*{tmp_path}/none.pth not found'):
        run_tool('train', 'configs/demo/minkunet18_100pct_demo.py', '--data-root', demo_root, *options)


def test_memory_that_runs_out_and_what_precision_means_are_said(labeled_root, tmp_path, run_tool, monkeypatch):
    def exhaust(runner):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')

    monkeypatch.setattr(Runner, 'train', exhaust)
    monkeypatch.setattr(
        'peridot.preflight.precision.precision_warnings', lambda config, model: [f'{type(model).__name__}: float16']
    )
    options = ['--data-root', labeled_root, '--work-dir', tmp_path, '--cfg-options', *TINY]
    with pytest.raises(SystemExit, match=r'^error: memory ran out with batches of \d+ samples a process: set .*--amp'):
        run_tool('train', DEMO, *options)
    assert 'WARNING - Pretrainer: float16' in next(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.slow
def test_killed_and_resumed_run_gives_the_same_losses(labeled_root, tmp_path, run_tool):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    arguments = [DEMO, '--data-root', str(labeled_root), '--cfg-options', *TINY]
    arguments += ['train_cfg.max_epochs=3', 'param_scheduler=None', '--work-dir']
    run_tool('train', *arguments, whole)
    expected = logged_losses(whole)
    assert sorted(expected) == list(range(1, 13))

    def train() -> None:
        # OpenMP's threads are not there in a fork, which would wait for them
        torch.set_num_threads(1)
        run_tool('train', *arguments, killed)

    # a fork, whose imports are done
    process = multiprocessing.get_context('fork').Process(target=train)
    process.start()
    while not max(logged_losses(killed) or [0]) > 4 and process.is_alive():
        time.sleep(0.02)
    process.kill()
    process.join()
    before = logged_losses(killed)
    assert 4 < max(before) < 12
    run_tool('train', *arguments, killed, '--resume')
    assert logged_losses(killed) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_moved_run_continues_with_another_batch_size(labeled_root, tmp_path, run_tool):
    tiny = [*TINY, 'custom_hooks=[]', 'train_cfg.max_epochs=3']
    arguments = [DEMO, '--data-root', labeled_root, '--cfg-options', *tiny]
    run_tool(
        'train', *arguments, 'train_dataloader.batch_size=1', 'train_cfg.max_epochs=1', '--work-dir', tmp_path / 'a'
    )
    run_tool('train', *arguments, 'train_dataloader.batch_size=2', '--work-dir', tmp_path / 'whole')
    (tmp_path / 'a').rename(tmp_path / 'b')
    run_tool('train', *arguments, 'train_dataloader.batch_size=2', '--work-dir', tmp_path / 'b', '--resume')
    expected = logged_losses(tmp_path / 'whole', 'lr')
    assert sorted(expected) == [1, 2, 3, 4, 5, 6]
    again = logged_losses(tmp_path / 'b', 'lr')
    assert {step: again[step] for step in (3, 4, 5, 6)} == {step: expected[step] for step in (3, 4, 5, 6)}
    state = torch.load(tmp_path / 'b' / 'epoch_3.pth')['state_dict']
    assert int(state['iteration.count']) == int(state['objectives.vmf.steps.count']) == 6
    assert not (tmp_path / 'a').exists()


def test_training_ends_with_a_backbone_that_mmdet3d_loads(labeled_root, tmp_path, run_tool):
    from mmdet3d.models import MinkUNetBackbone

    options = ['--cfg-options', *TINY, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    run_tool('train', DEMO, '--data-root', labeled_root, '--work-dir', tmp_path, *options)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'eta' in log and 'probe/miou' in log
    assert list((tmp_path / 'pictures').glob('*.png'))
    assert list(tmp_path.glob('*/vis_data/events.out.tfevents*'))
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', map_location='cpu', weights_only=True)
    trained = {k[17:]: v for k, v in checkpoint['state_dict'].items() if k.startswith('student.backbone.')}
    backbone = MinkUNetBackbone(
        in_channels=1,
        base_channels=4,
        encoder_channels=[4, 4, 8, 8],
        decoder_channels=[8, 8, 8, 8],
        encoder_blocks=[1, 1, 1, 1],
        decoder_blocks=[1, 1, 1, 1],
        sparseconv_backend='spconv',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'), prefix='backbone.'),
    )
    backbone.init_weights()
    loaded = backbone.state_dict()
    assert loaded.keys() == trained.keys()
    for name, value in trained.items():
        assert torch.equal(loaded[name], value), name

    again = tmp_path / 'again.pth'
    run_tool('export_backbone', tmp_path / 'epoch_1.pth', '--out', again)
    first, second = (torch.load(p, weights_only=True) for p in (tmp_path / 'backbone.pth', again))
    assert all(torch.equal(first['state_dict'][k], second['state_dict'][k]) for k in first['state_dict'])
    assert first['meta']['input_settings']['voxel_size'] == [0.5, 0.5, 0.5]

    arguments = [DEMO, tmp_path / 'epoch_1.pth', '--data-root', labeled_root, '--work-dir', tmp_path / 'wrong']
    with pytest.raises(SystemExit, match=r'^error: .*another network.*student\.backbone'):
        run_tool('test', *arguments, '--cfg-options', *TINY, 'model.student.backbone.base_channels=8')


def test_averaged_weights_are_probed_drawn_and_exported(labeled_root, tmp_path, run_tool, monkeypatch):
    """All as in the checkpoint, into which mmengine's EMAHook puts the average."""
    config = tmp_path / 'averaged.py'
    hooks = "[*_base_.custom_hooks, dict(type='EMAHook', momentum=0.5)]"
    config.write_text(f'_base_ = {str(REPO / DEMO)!r}\ncustom_hooks = {hooks}\n')
    seen = {}

    def watch(owner: type, name: str, model_of: Callable) -> None:
        original = getattr(owner, name)

        def watched(self, *args):
            weight = next(model_of(self, *args).student.parameters()).detach().clone()
            seen.setdefault(f'{name} {len(seen)}', weight)
            return original(self, *args)

        monkeypatch.setattr(owner, name, watched)

    watch(LinearProbeLoop, '_features', lambda loop, *_: loop.runner.model)
    watch(FeaturePictureHook, 'draw', lambda hook, model, *_: model)
    options = ['--cfg-options', *TINY, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'val_cfg.fit_scans=2']
    run_tool('train', config, '--data-root', labeled_root, '--work-dir', tmp_path, *options)
    checkpoint = torch.load(tmp_path / 'epoch_1.pth')
    name = next(name for name in checkpoint['state_dict'] if name.startswith('student.'))
    averaged, raw = checkpoint['state_dict'][name], checkpoint['ema_state_dict'][f'module.{name}']
    assert not torch.allclose(averaged, raw)
    assert {name.split()[0] for name in seen} == {'_features', 'draw'}
    for place, weight in seen.items():
        assert torch.equal(weight, averaged), place
    run_tool('export_backbone', tmp_path / 'epoch_1.pth', '--out', tmp_path / 'again.pth')
    first, second = (torch.load(tmp_path / f'{name}.pth')['state_dict'] for name in ('backbone', 'again'))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # training goes on with the raw ones
    run_tool('train', config, '--data-root', labeled_root, '--work-dir', tmp_path, *options, '--resume')
    assert torch.equal(
        torch.load(tmp_path / 'backbone.pth')['state_dict'][name.removeprefix('student.')], first[name[8:]]
    )


@pytest.mark.slow
def test_two_processes_train(labeled_root, tmp_path, free_port):
    options = [*TINY, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    result = subprocess.run(
        [
            'bash',
            'tools/dist_train.sh',
            DEMO,
            '2',
            *('--data-root', str(labeled_root), '--work-dir', str(tmp_path), '--cfg-options', *options),
        ],
        cwd=REPO,
        env={
            **os.environ,
            'PYTHONWARNINGS': 'default::UserWarning',
            'OMP_NUM_THREADS': '1',
            'PORT': str(free_port),
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert sorted(logged_losses(tmp_path)) == [1, 2]
    assert 'probe/miou' in result.stdout
    # no warning that compat silences, and no config on the screen
    assert 'pkg_resources' not in result.stderr and '_symbolic_trace' not in result.stderr, result.stderr
    assert 'Config:' not in result.stdout and 'FileClient' not in result.stdout


PARTLY = """
_base_ = '{repo}/configs/demo/ppkt_demo.py'
paired = dict(type='peridot.PairedDataset', data_root='{root}', cameras=['CAM2'], dataset='semantickitti')
read = [dict(type='peridot.LoadPoints', load_dim=4), *_base_.load_views]
train_dataloader = dict(
    dataset=dict(
        _delete_=True, **paired, ann_file='semantickitti_infos_train.pkl', pipeline=[*read, *_base_.augment]
    )
)
picture_dataset = dict(
    _delete_=True, **paired, ann_file='semantickitti_infos_val.pkl', pipeline=[*read, _base_.resize_views, _base_.pack]
)
val_cfg = val_dataloader = val_evaluator = None
"""


def test_images_of_some_scans_are_enough(semantickitti_root, tmp_path, run_tool):
    """One of two scans has an image, and none of the validation sequence, of which the figures would be."""
    root, work_dir = tmp_path / 'semantickitti', tmp_path / 'work'
    shutil.copytree(semantickitti_root, root)
    (root / 'sequences/00/image_2/000001.png').unlink()
    shutil.rmtree(root / 'sequences/08/image_2')
    run_tool('create_data', 'semantickitti', '--root', root)
    config = tmp_path / 'partly.py'
    config.write_text(PARTLY.format(repo=REPO, root=root))
    options = [option for option in TINY if 'indices' not in option and 'val_interval' not in option]
    run_tool('train', config, '--work-dir', work_dir, '--cfg-options', *options, 'train_cfg.max_epochs=1')
    assert sorted(logged_losses(work_dir)) == [1] and (work_dir / 'backbone.pth').is_file()
    log = next(work_dir.glob('*/*.log')).read_text()
    warnings = [line for line in log.splitlines() if 'WARNING' in line and 'lack an image of CAM2' in line]
    assert sum('1 of 2 samples' in line and 'left out' in line for line in warnings) == 1
    assert sum('pictures are switched off: 1 of 1 samples' in line for line in warnings) == 1
    assert not (work_dir / 'pictures').exists()
