"""All stages on a few images with a tiny network, in this process."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('mmseg')

from peridot.drive_and_segment.all_stages import DriveAndSegment, score_rows
from peridot.errors import ConfigError, PeridotError
from peridot.work_dirs import Stages

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / 'configs' / 'drive_and_segment'
LABELS = f"""
_base_ = {str(FOLDER / 'demo.py')!r}
train_dataloader = dict(dataset=dict(indices=1))
pseudo_labels = dict(
    teacher=dict(model='test_efficientnet', weights=None), crop_size=32, num_clusters=4, restarts=1, max_fraction=0.99
)
"""
NETWORK = """
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(**loader, batch_size=4, dataset=dict(indices=6))
val_dataloader = dict(**loader, dataset=dict(indices=2))
test_dataloader = dict(**loader, dataset=dict(indices=2))
model = dict(
    backbone=dict(weights=None),
    decode_head=dict(channels=8, embed_dims=8, num_heads=1, num_classes=5),
)
train_cfg = dict(max_epochs=1, val_interval=9)
"""


@pytest.fixture
def root(demo_root, tmp_path) -> Path:
    """The demo's data in a folder of its own, for maps."""
    for path in demo_root.iterdir():
        if path.name in ('samples', 'sweeps', 'lidarseg', 'synthetic.json') or path.suffix == '.pkl':
            (tmp_path / 'data' / path.name).parent.mkdir(exist_ok=True)
            (tmp_path / 'data' / path.name).symlink_to(path)
    return tmp_path / 'data'


@pytest.fixture
def config(tmp_path) -> Path:
    """Configs of the demo, made small."""
    (tmp_path / 'small.py').write_text(LABELS)
    for network in ('teacher', 'student'):
        base = str(FOLDER / f'{network}_demo.py')
        (tmp_path / f'{network}_small.py').write_text(f'_base_ = {base!r}\n{NETWORK}')
    return tmp_path / 'small.py'


@pytest.mark.slow
def test_all_stages(root, config, tmp_path, monkeypatch, run_tool, capsys):
    called, tool, work = [], Stages.tool, tmp_path / 'work'
    monkeypatch.setattr(Stages, 'tool', lambda self, name, *rest: (called.append(name), tool(self, name, *rest)))
    command = ['drive_and_segment', config, '--data-root', root, '--work-dir', work, '--seeds']
    run_tool(*command, 3)
    labels = ['make_proposals', 'make_pseudo_labels', 'make_superpixels', 'make_proposals', 'make_pseudo_labels']
    assert called == [*labels, 'train', 'make_teacher_labels', 'test', 'train', 'test']
    scores = json.loads((work / 'results.json').read_text())['scores']
    assert set(scores) == {'k-means of pixels', 'pseudo-labels', 'teacher', 'student'}
    assert all(0 < part['miou'] <= part['acc'] * 2 < 2 for found in scores.values() for part in found.values())
    assert len({part['miou'] for found in scores.values() for part in found.values()}) == 4
    page = (work / 'report.html').read_text()
    assert page.count('data:image/jpeg;base64,') == 1 and f'{100 * scores["student"]["3"]["miou"]:.1f}' in page
    # held-out images got the clusters of the training images
    train, held_out = (np.load(root / f'weak_labels/segment-kmeans{end}/.work/clusters.npz') for end in ('', '_val'))
    np.testing.assert_array_equal(train['centers'], held_out['centers'])
    # the student read its own seed's labels
    log = next((work / 'student_seed3').glob('*.py')).read_text()
    assert 'weak_labels/segment-teacher_seed3' in log and 'seed=3' in log
    capsys.readouterr()
    run_tool(*command, 3)
    out = capsys.readouterr().out
    assert len(called) == 10 and out.count('done before') == 12 and '| student ' in out
    with pytest.raises(SystemExit, match=r'results\.json is of a run with other settings: remove'):
        run_tool(*command, 4)


def test_a_dataset_without_configs_of_networks(root, tmp_path):
    (tmp_path / 'small.py').write_text(LABELS)
    with pytest.raises(ConfigError, match=r'teacher_small\.py not found: give configs/drive_and_segment/NAME\.py'):
        DriveAndSegment(tmp_path / 'small.py', root, tmp_path / 'work', [0])


def test_rows_of_the_table():
    found = {
        'teacher': {'0': dict(miou=0.1, acc=0.5), '1': dict(miou=0.2, acc=0.7)},
        'pseudo-labels': {'all': dict(miou=0.123, acc=0.4)},
    }
    header, labels, teacher = score_rows(found, [0, 1])
    assert header[1:] == ['mIoU', 'accuracy', 'mIoU, seed 0', 'mIoU, seed 1']
    assert labels == ['pseudo-labels', '12.3', '40.0', '', '']
    assert teacher == ['teacher', '15.0', '60.0', '10.0', '20.0']


def test_stages_continue(tmp_path, monkeypatch):
    """A stage that failed is done again, one that finished is not."""
    done, stages = [], Stages(tmp_path, dict(seeds=[0]))
    stages.stage('first', done.append, 1)
    with pytest.raises(ZeroDivisionError):
        stages.stage('second', lambda: 1 / 0)
    again = Stages(tmp_path, dict(seeds=[0]))
    again.stage('first', done.append, 1)
    again.stage('second', done.append, 2)
    assert done == [1, 2]
    with pytest.raises(PeridotError, match='is of a run with other settings'):
        Stages(tmp_path, dict(seeds=[1]))
    monkeypatch.setattr('peridot.work_dirs.subprocess.call', lambda command: done.append(command[1:]) or 1)
    with pytest.raises(PeridotError, match=r'`python tools/test\.py a\.py` failed; fix the cause and run'):
        again.tool('test', 'a.py')
    assert done[-1] == [str(REPO / 'tools' / 'test.py'), 'a.py']
