"""The demo from data to report, with one seed and a tiny network; a second call finds everything done, a third adds a
method."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from peridot.demo import programs
from peridot.demo.comparison import Comparison, demo_config, shortened
from peridot.demo.methods import COLORS, METHODS, NAMES
from peridot.demo.report import training_section
from peridot.errors import PeridotError
from peridot.shipped import config_file
from peridot.work_dirs import Stages, call, last_checkpoint, last_metrics
from streets.frame import Settings

REPO = Path(__file__).resolve().parents[2]
TINY = [
    'model.student.backbone.base_channels=4',
    'model.student.backbone.encoder_channels=[4,4,8,8]',
    'model.student.backbone.decoder_channels=[8,8,8,8]',
    'train_dataloader.dataset.indices=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=9',
    'val_cfg.fit_scans=2',
    'val_cfg.layers=True',
    'default_hooks.logger.interval=1',
]


@pytest.mark.parametrize('metrics', [{'loss': 1.0}, {'loss': 1.0, 'contrast/accuracy': 0.5}])
def test_report_draws_methods_with_and_without_a_metric_of_agreement(metrics, tmp_path):
    log = tmp_path / 'olivine_seed0' / '20250101' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(json.dumps({**metrics, 'step': step}) for step in (1, 2)))
    assert training_section(tmp_path, [0], ['olivine']).count('<img') == 1


@pytest.fixture
def in_this_process(monkeypatch):
    """Programs that run side by side run one after the other in this process, whose imports are done."""
    monkeypatch.setattr(programs, 'can_fork', lambda: False)
    monkeypatch.setattr('peridot.work_dirs.call', lambda command, prefix: subprocess.call(command))
    monkeypatch.setattr('peridot.demo.comparison.usable_cores', lambda: 1)


def test_demo_makes_results_and_report_and_is_done_once(labeled_root, tmp_path, run_tool, capsys, in_this_process):
    demo = ['demo', '--data-root', labeled_root, '--work-dir', tmp_path, '--seeds', 0]
    options = ['--cfg-options', *TINY]
    run_tool(*demo, '--methods', 'olivine', *options)
    results = json.loads((tmp_path / 'results.json').read_text(), parse_constant=lambda name: 1 / 0)
    probes = results['linear_probe_miou']
    assert all(len(probes[name]) == 1 and 0 <= probes[name][0] <= 1 for name in ('random', 'olivine'))
    assert probes['random'] != probes['olivine']
    # the command for three seeds keeps what the results depend on
    command = shlex.split(capsys.readouterr().out.split('all epochs and three seeds: ')[1].splitlines()[0])
    assert command[1:] == [
        *map(str, ['tools/demo.py', *demo[1:-2], '--methods', 'olivine', *options]),
        '--full',
        '--seeds',
        *'012',
    ]
    metrics = results['probe']['olivine']['0']
    assert {'balanced_miou', 'mlp_miou', 'encoder0_miou', 'decoder2_miou', 'all_layers_miou'} < set(metrics)
    assert metrics['decoder3_miou'] == metrics['miou']
    assert {'data', 'labels', 'olivine seed 0', 'probe olivine seed 0'} <= set(results['seconds'])
    assert 'report on olivine, seeds 0' in results['seconds']
    page = (tmp_path / 'report.html').read_text()
    assert page.count('data:image/jpeg;base64,') >= 5 and page.count('<canvas') == 2
    assert 'href="explore.html"' in page and 'class="sample"' in (tmp_path / 'explore.html').read_text()
    # nothing is fetched from a network
    assert 'src="http' not in page and 'href="http' not in page

    done = len(results['seconds'])
    capsys.readouterr()
    run_tool(*demo, '--methods', 'olivine', 'supervised', *options)
    # all but the report of OLIVINE alone, which is another one now
    assert capsys.readouterr().out.count('done before') == done - 1
    results = json.loads((tmp_path / 'results.json').read_text())
    assert list(results['linear_probe_miou']) == ['random', 'olivine', 'supervised']
    assert len({values[0] for values in results['linear_probe_miou'].values()}) == 3
    assert (tmp_path / 'report.html').read_text().count('<canvas') == 3


def test_lines_of_programs_side_by_side_say_whose_they_are(capsys):
    code = "import os; print(os.environ['OMP_NUM_THREADS']); print('b'); raise SystemExit(3)"
    assert call([sys.executable, '-c', code], 'seed 1 | ') == 3
    assert capsys.readouterr().out == 'seed 1 | 1\nseed 1 | b\n'


def test_lines_of_forks_say_whose_they_are(capsys, monkeypatch):
    monkeypatch.setattr(programs, 'IMPORTS', [])
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    code = (
        'import atexit, multiprocessing, sys, torch\n'
        "atexit.register(print, 'end')\n"
        'print(torch.get_num_threads(), multiprocessing.get_start_method())\n'
        "sys.exit('error: b')"
    )
    assert programs.run_forked(exec, code, prefix='seed 1 | ') == 1
    assert capsys.readouterr().out == 'seed 1 | 1 fork\nseed 1 | end\nseed 1 | error: b\n'
    assert 'OMP_NUM_THREADS' not in os.environ


def test_a_program_ends_with_the_comparison_that_is_killed():
    code = (
        'from peridot.demo import programs\n'
        'programs.IMPORTS[:] = []\n'
        """programs.run_forked(exec, "import time; print('begins'); time.sleep(600)")"""
    )
    comparison = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert comparison.stdout.readline() == 'begins\n'
    comparison.kill()
    # the output ends when nobody can write to it any more
    assert comparison.communicate(timeout=60) == ('', None)


@pytest.fixture
def comparison(tmp_path):
    """Makes a comparison of OLIVINE over some seeds in one folder."""
    return lambda seeds, options=(): Comparison(tmp_path, tmp_path, ['olivine'], seeds, list(options))


def test_a_first_look_is_the_whole_schedule_in_fewer_epochs():
    for method, epochs in (('olivine', 4), ('scalr_mixed', 1)):
        config = Config.fromfile(config_file(demo_config(method)))
        options = shortened(demo_config(method), 0.4)
        config.merge_from_dict(dict(option.split('=') for option in options))
        assert {config.train_cfg.max_epochs, config.train_cfg.val_interval, config.param_scheduler[0].end} == {
            str(epochs)
        }
        assert len(config.param_scheduler) == 1
    assert shortened(demo_config('olivine'), 1.0) == []


@pytest.mark.slow
def test_a_fork_trains_and_probes_like_a_program_of_its_own(labeled_root, tmp_path):
    config = ('configs/demo/olivine_demo.py', '--data-root', str(labeled_root))
    # with workers that stay until the end of the program
    loader = ('train_dataloader.num_workers=1', 'train_dataloader.persistent_workers=True')
    options = ('--cfg-options', *TINY, 'train_cfg.val_interval=1', *loader)

    def logged(folder):
        (log,) = (tmp_path / folder).glob('*/vis_data/scalars.json')
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        return [{k: str(v) for k, v in entry.items() if k not in ('time', 'data_time')} for entry in entries]

    own = (*config, '--work-dir', str(tmp_path / 'own'), *options)
    assert call([sys.executable, 'tools/train.py', *own], 'own | ') == 0
    fork = (*config, '--work-dir', str(tmp_path / 'fork'), *options)
    assert programs.run_forked(programs.run_program, 'train', fork, prefix='fork | ') == 0
    assert len(logged('own')) == 3 and logged('own') == logged('fork')
    checkpoint = last_checkpoint(tmp_path / 'fork')
    probe = (config[0], checkpoint, *config[1:], '--work-dir', str(tmp_path / 'probe'), *options)
    assert programs.run_forked(programs.run_program, 'test', probe, prefix='probe | ') == 0
    of_training, of_test = (last_metrics(tmp_path / name) for name in ('fork', 'probe'))
    assert {k: of_training[k] for k in of_test if k.startswith('probe/')} == {
        k: v for k, v in of_test.items() if k.startswith('probe/')
    }


def test_more_seeds_join_those_that_are_done(comparison):
    first = comparison([0])
    first.keep('probe', 'olivine', 0, dict(miou=0.5))
    first.keep('probe', 'slidr', 0, dict(miou=0.4))
    first.stage('olivine seed 0', lambda: None)
    more = comparison([0, 1])
    assert 'olivine seed 0' in more.results['seconds']
    more.keep('probe', 'olivine', 1, dict(miou=0.6))
    more.save()
    # a network with all seeds alone can be compared
    assert more.complete()['probe'] == {'olivine': {'0': dict(miou=0.5), '1': dict(miou=0.6)}}
    assert more.complete()['settings']['seeds'] == [0, 1]
    assert comparison([0]).complete()['probe'] == {'olivine': {'0': dict(miou=0.5)}, 'slidr': {'0': dict(miou=0.4)}}
    with pytest.raises(PeridotError, match='of a run with other settings'):
        comparison([0, 1], ['a=1'])


def test_a_probe_takes_the_evaluation_that_ended_the_training(comparison, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(Comparison, 'run_tool', lambda self, *arguments: called.append(arguments[0]))
    log = tmp_path / 'olivine_seed0' / '20250101' / 'vis_data' / '20250101.json'
    log.parent.mkdir(parents=True)
    (tmp_path / 'olivine_seed0' / 'last_checkpoint').write_text(str(log))
    log.write_text('{"loss": 1.0, "step": 1}\n{"probe/miou": 0.25, "data_time": 0.1, "step": 1}\n')
    own = comparison([0])
    own.probe('olivine', 0)
    assert (own.results['probe'], called) == ({'olivine': {'0': dict(miou=0.25)}}, [])
    log.write_text('{"loss": 1.0, "step": 1}\n')
    with pytest.raises(PeridotError, match='probe_olivine_seed0 holds no evaluation'):
        own.probe('olivine', 0)
    assert called == ['test']


def test_streets_of_an_earlier_version_are_refused(tmp_path, run_tool):
    (tmp_path / 'synthetic.json').write_text(json.dumps(dict(generator='streets 1', settings=Settings().as_dict())))
    with pytest.raises(SystemExit, match=rf"^error: {tmp_path}/synthetic\.json: data of 'streets 1' .*overwrite"):
        run_tool('demo', '--data-root', tmp_path, '--work-dir', tmp_path / 'work')


@pytest.mark.parametrize('stop', [PeridotError, KeyboardInterrupt])
def test_no_other_seed_begins_after_an_error(stop, tmp_path, monkeypatch, run_tool):
    begun = []

    def fail(self, network, seed):
        begun.append(seed)
        raise stop('seed')

    monkeypatch.setattr(Stages, 'stage', lambda self, name, action, *rest: name == 'data' or fail(self, *rest))
    monkeypatch.setattr('peridot.demo.comparison.usable_cores', lambda: 1)
    with pytest.raises(SystemExit):
        run_tool('demo', '--methods', 'ppkt', '--work-dir', tmp_path, '--seeds', *range(9))
    assert begun == [0]


@pytest.mark.parametrize('method', METHODS)
def test_methods_have_their_configs_and_an_untrained_twin(method):
    settings = METHODS[method]
    assert (REPO / 'configs' / 'demo' / f'{method}_demo.py').is_file()
    assert (REPO / 'configs' / f'{settings.published}.py').is_file()
    assert settings.untrained in NAMES and settings.untrained in COLORS
