"""Networks x protocols x seeds, with a tiny network on one scan; a second call finds everything done."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from peridot.errors import CheckpointError, ConfigError
from peridot.hooks import export_backbone
from peridot.registry import MODELS
from tiny import released_state

REPO = Path(__file__).resolve().parents[2]
PROTOCOL = REPO / 'configs' / 'demo' / 'minkunet18_linear-probe_demo.py'
BACKBONE = dict(base_channels=4, encoder_channels=[4, 4, 8, 8], decoder_channels=[8, 8, 8, 8])
OPTIONS = [
    *(f'model.backbone.{key}={str(value).replace(" ", "")}' for key, value in BACKBONE.items()),
    'model.decode_head.channels=8',
    'train_dataloader.dataset.dataset.indices=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'val_dataloader.dataset.indices=1',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'default_hooks.logger.interval=1',
]


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(REPO / 'tools' / 'benchmark.py'))


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.manual_seed(1)
    student = MODELS.build(
        dict(
            type='peridot.SparseUNetStudent',
            voxel_size=(0.2, 0.2, 0.2),
            coordinates='cartesian',
            backbone=dict(
                type='MinkUNetBackbone',
                in_channels=1,
                num_stages=4,
                encoder_blocks=[2, 2, 2, 2],
                decoder_blocks=[2, 2, 2, 2],
                block_type='basic',
                sparseconv_backend='spconv',
                **BACKBONE,
            ),
        )
    )
    path = tmp_path / 'backbone.pth'
    export_backbone(student, path, '')
    return path


@pytest.mark.slow
def test_benchmark_makes_table_and_plot_and_is_done_once(demo_root, weights, tmp_path, run_tool, capsys):
    command = [
        *('benchmark', '--networks', 'random', f'ours={weights}', '--protocols', PROTOCOL),
        *('--seeds', 0, '--data-root', demo_root, '--out', tmp_path / 'out', '--cfg-options', *OPTIONS),
    ]
    run_tool(*command)
    random, ours = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert (random['network'], ours['network'], ours['metric']) == ('random', 'ours', 'miou')
    assert 0 <= ours['mean'] <= 1 and ours['seconds'] > 0 and ours['memory_mb'] > 100
    logs = {
        name: (tmp_path / 'out' / PROTOCOL.stem / f'{name}_seed0' / 'log.txt').read_text()
        for name in ('random', 'ours')
    }
    assert 'tensors (100 %)' in logs['ours'] and str(weights) in logs['ours']
    assert 'starts from random ones' in logs['random']
    assert '| ours | miou |' in (tmp_path / 'out' / 'table.md').read_text()
    assert (tmp_path / 'out' / 'plot.png').read_bytes()[:4] == b'\x89PNG'

    run_tool(*command)
    assert '2 runs, 2 done before' in capsys.readouterr().out


def test_mean_and_spread_are_those_of_the_seeds(tool, tmp_path):
    runs = []
    for seed, miou in ((0, 0.2), (1, 0.4)):
        entry = tool['Run']('random', None, Path('configs/finetune/p.py'), seed, tmp_path / f'{seed}')
        entry.folder.mkdir()
        entry.file.write_text(json.dumps(dict(miou=miou, seconds=10.0, memory_mb=5, gpu_memory_mb=7)))
        runs.append(entry)
    (row,) = tool['tabulate'](runs)
    assert row['mean'] == pytest.approx(0.3) and row['spread'] == pytest.approx(0.02**0.5)
    assert row['memory_mb'] == 7
    assert '| p | random | miou | 0.200 | 0.400 | 0.300 | 0.141 | 10 | 7 |' in tool['markdown']([row], [0, 1])


def test_protocols_of_one_file_name_have_rows_of_their_own(tool, tmp_path):
    protocols = [REPO / f'configs/finetune/minkunet34_{data}/1pct.py' for data in ('nus', 'semantickitti')]
    runs = tool['plan']([('random', None)], protocols, [0], tmp_path)
    assert [entry.title for entry in runs] == ['minkunet34_nus_1pct', 'minkunet34_semantickitti_1pct']
    assert [entry.folder.parent.name for entry in runs] == [entry.title for entry in runs]


def test_presets_are_protocols_of_the_package(tool, tmp_path):
    for name in tool['PRESETS']:
        titles = [run.title for run in tool['plan']([('random', None)], tool['protocol_files']([name]), [0], tmp_path)]
        assert len(set(titles)) == len(titles) >= 3, name
    files = tool['protocol_files'](['published', str(PROTOCOL)])
    assert files[1] == REPO / 'configs/finetune/minkunet34_nus/1pct.py' and files[7:] == [PROTOCOL]


def test_missing_weights_end_it_before_the_first_run(tool, tmp_path):
    with pytest.raises(ConfigError, match=r'slidr: .*/none3\.pth does not exist'):
        tool['plan']([('random', None), ('slidr', f'{tmp_path}/none{{seed}}.pth')], [PROTOCOL], [3], tmp_path)


def test_weights_of_other_programs_are_converted_once(tool, tmp_path):
    foreign, out = tmp_path / 'slidr.pt', tmp_path / 'out'
    torch.save(dict(model_points=released_state()), foreign)
    networks = [('slidr', str(foreign))]
    (first,) = tool['plan'](networks, [PROTOCOL], [0], out)
    assert first.weights.parent == out / 'converted'
    written = first.weights.stat().st_mtime_ns
    (again,) = tool['plan'](networks, [PROTOCOL], [0], out)
    assert again.weights == first.weights and again.weights.stat().st_mtime_ns == written
    torch.save(dict(model_points=released_state(columns=None)), foreign)
    (other,) = tool['plan'](networks, [PROTOCOL], [0], out)
    assert other.weights != first.weights
    torch.save({'student.backbone.x': torch.ones(1)}, foreign)
    with pytest.raises(CheckpointError, match=r'tools/export_backbone\.py'):
        tool['plan'](networks, [PROTOCOL], [0], out)


def test_weights_are_read_once_and_after_all_files_are_found(tool, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr('peridot.weights.loadable', lambda path, folder: calls.append(path) or path)
    torch.save({}, tmp_path / 'a0.pth')
    networks = [('random', None), ('a', f'{tmp_path}/a{{seed}}.pth')]
    for protocol, seeds in ((tmp_path / 'none.py', [0]), (PROTOCOL, [0, 1])):
        with pytest.raises(ConfigError, match=r'none\.py not found|a1\.pth does not exist'):
            tool['plan'](networks, [PROTOCOL, protocol], seeds, tmp_path)
    assert calls == []
    torch.save({}, tmp_path / 'a1.pth')
    protocols = [REPO / f'configs/finetune/minkunet34_{data}/1pct.py' for data in ('nus', 'semantickitti')]
    runs = tool['plan'](networks, protocols, [0, 1], tmp_path)
    assert len(runs) == 8 and calls == [tmp_path / 'a0.pth', tmp_path / 'a1.pth']
    assert [entry.weights for entry in runs[:2]] == [None, tmp_path / 'a0.pth']


def test_runs_of_one_name_do_not_share_a_folder(tool, tmp_path):
    """The second would continue the first and take over its values."""
    files = [tmp_path / name for name in ('a.pth', 'b.pth', 'a/p.py', 'b/p.py')]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        torch.save({'backbone.conv.weight': torch.ones(1)}, file)
    one, two, first, second = files
    cases = [
        ([('ours', str(one)), ('ours', str(two))], [PROTOCOL], [0], (one, two)),
        ([('random', None)], [first, second], [0], (first, second)),
        ([('random', None)], [PROTOCOL], [0, 0], ('seed 0,', 'seed 0,')),
    ]
    for networks, protocols, seeds, (this, that) in cases:
        with pytest.raises(ConfigError, match=f'^.*{this}.* and .*{that}.*: rename one, or give it once$') as caught:
            tool['plan'](networks, protocols, seeds, tmp_path / 'out')
        assert '\n' not in str(caught.value)
    assert len(tool['plan']([('ours', str(one)), ('other', str(one))], [first, PROTOCOL], [0, 1], tmp_path)) == 8
