"""The demo from data to report, with one seed and a tiny network; a second call finds everything done, a third adds a
method."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from peridot.demo.methods import COLORS, METHODS, NAMES
from peridot.demo.report import training_section
from peridot.errors import PeridotError
from peridot.work_dirs import Stages, call
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
    metrics = results['probe']['olivine']['0']
    assert {'balanced_miou', 'mlp_miou', 'encoder0_miou', 'decoder2_miou', 'all_layers_miou'} < set(metrics)
    assert metrics['decoder3_miou'] == metrics['miou']
    assert {'data', 'labels', 'olivine seed 0', 'probe olivine seed 0', 'report on olivine'} <= set(results['seconds'])
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
