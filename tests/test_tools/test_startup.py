"""Help and errors of missing files come without the imports that take seconds.

Every program runs once in one fresh process, which sees what it has imported. No time is measured.
"""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for path in (REPO / 'tools').glob('*.py') if path.stem != 'setup_env')
DEMO = 'configs/demo/olivine_demo.py'
RUN = """
import contextlib, io, json, runpy, sys

def outcome(program, *arguments):
    sys.argv = [f'tools/{program}.py', *arguments]
    sys.path[0] = 'tools'
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
        try:
            runpy.run_path(sys.argv[0], run_name='__main__')
            code = None
        except SystemExit as end:
            code = end.code
    # the first program that imports them is to blame
    slow = sorted({'torch', 'mmcv', 'mmdet3d'} & set(sys.modules))
    return [code or 0, text.getvalue(), slow]

print(json.dumps([outcome(*command) for command in json.load(sys.stdin)]))
"""


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """`outcomes(commands)`: exit status, text and slow imports of each, all in one process."""

    def run(commands: list[list[str]]) -> list:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', RUN],
            input=json.dumps([list(map(str, command)) for command in commands]),
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_help_imports_neither_torch_nor_mmdet3d(outcomes):
    for program, (code, text, slow) in zip(PROGRAMS, outcomes([[name, '--help'] for name in PROGRAMS])):
        assert code == 0 and text.startswith('usage:'), (program, code, text)
        assert not slow, program


def with_config(config: Path, *options) -> list[list]:
    """Commands of all programs that start from a config, besides those that need a checkpoint of it first."""
    makers = (
        'labels',
        'lidar_segments',
        'proposals',
        'pseudo_labels',
        'superpixels',
        'teacher_features',
        'teacher_labels',
    )
    programs = ['train', 'test', *(f'make_{kind}' for kind in makers if kind != 'labels'), 'make_weak_labels']
    commands = [[program, config, *options] for program in programs]
    return [*commands, ['eval_weak_labels', config, '--maps', 'weak_labels/x', *options]]


def test_missing_configs_are_found_before_slow_imports(outcomes, tmp_path):
    config, here = tmp_path / 'none.py', [tmp_path, '--out', tmp_path / 'out']
    weights = tmp_path / 'weights.pth'
    weights.touch()
    commands = [
        *with_config(config),
        ['check_data', config],
        ['embed_images', config, *here],
        ['visualize', 'features', config, weights, '--out', tmp_path / 'out'],
        ['segment_images', config, weights, tmp_path, tmp_path / 'out'],
        ['drive_and_segment', config, '--data-root', tmp_path],
        ['benchmark', '--networks', 'random', '--protocols', config],
    ]
    for command, (code, _, slow) in zip(commands, outcomes(commands)):
        assert str(code).startswith('error: ') and f'{config} not found' in code, (command, code)
        assert not slow, command


def test_missing_data_is_found_before_slow_imports(outcomes, tmp_path):
    root, weights = tmp_path / 'none', tmp_path / 'weights.pth'
    weights.touch()
    figures = ['visualize', 'features', DEMO, weights, '--out', tmp_path / 'out', '--data-root', root]
    commands = [
        *with_config(DEMO, '--data-root', root),
        ['embed_images', DEMO, tmp_path, '--out', tmp_path / 'out', '--data-root', root],
        figures,
        ['create_data', 'nuscenes', '--root', root],
        ['drive_and_segment', DEMO, '--data-root', root],
        ['make_splits', 'nuscenes', '--root', root],
        ['convert_maps', root],
        ['import_rosbag', root, '--list'],
    ]
    for command, (code, _, slow) in zip(commands, outcomes(commands)):
        assert str(code).startswith('error: ') and str(root) in code, (command, code)
        assert not slow, command


def test_missing_info_files_are_found_before_slow_imports(outcomes, tmp_path):
    commands = with_config(DEMO, '--data-root', tmp_path)
    for command, (code, _, slow) in zip(commands, outcomes(commands)):
        assert str(code).startswith(f'error: the info file {tmp_path}') and 'create_data.py nuscenes' in code, code
        assert not slow, command


def test_missing_parts_are_found_before_slow_imports(outcomes, tmp_path):
    for part in ('train', 'val'):
        (tmp_path / f'nuscenes_infos_{part}.pkl').write_bytes(pickle.dumps({}))
    commands = [
        ['create_data', 'nuscenes', '--root', tmp_path],
        ['eval_weak_labels', DEMO, '--data-root', tmp_path, '--maps', 'weak_labels/x'],
    ]
    for command, (code, _, slow) in zip(commands, outcomes(commands)):
        assert str(code).startswith('error: ') and str(tmp_path) in code, (command, code)
        assert not slow, command


def test_missing_weights_are_found_before_slow_imports(outcomes, tmp_path):
    weights = tmp_path / 'none.pth'
    root = tmp_path / 'data'
    root.mkdir()
    for part in ('train', 'val'):
        (root / f'nuscenes_infos_{part}.pkl').write_bytes(pickle.dumps({}))
    at_root, out = ['--data-root', root], ['--out', tmp_path / 'out']
    finetune = 'configs/demo/minkunet18_100pct_demo.py'
    commands = [
        ['train', finetune, *at_root, '--cfg-options', f'load_from={weights}'],
        ['train', DEMO, *at_root, '--resume', weights],
        ['train', DEMO, *at_root, '--cfg-options', f'model.teacher.weights={weights}'],
        ['test', finetune, weights, *at_root],
        ['make_teacher_features', DEMO, *at_root, '--cfg-options', f'model.teacher.weights={weights}'],
        ['visualize', 'features', DEMO, weights, *at_root, *out],
        ['segment_images', DEMO, weights, tmp_path, tmp_path],
        ['export_backbone', weights],
        ['convert_checkpoint', weights, *out],
        ['benchmark', '--networks', f'ours={weights}', '--protocols', finetune],
    ]
    for command, (code, _, slow) in zip(commands, outcomes(commands)):
        assert str(code).startswith('error: ') and str(weights) in code, (command, code)
        assert not slow, command
