"""Resumed runs have the learning rates of undisturbed ones, whatever changed in between."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from peridot.errors import CheckpointError, ConfigError, PeridotError
from peridot.work_dirs import last_checkpoint
from processes import in_processes
from tiny_runs import EPOCHS, SAMPLES, Net, Numbers, logged, train


def resumed(folder: Path, schedule, before: int, after: int, epochs: int = 2, **settings) -> tuple[dict, Runner]:
    """Learning rates after the resumption of a run that stopped after some epochs."""
    train(folder, schedule, before, epochs)
    second = folder.with_name(f'{folder.name}_resumed')
    runner = train(second, schedule, after, resume=last_checkpoint(folder), **settings)
    return logged(second), runner


OURS = dict(type='peridot.WarmupCosineLR', warmup=0.2, end=EPOCHS, by_epoch=True, convert_to_iter_based=True)
SQRT = dict(
    type='peridot.WarmupReciprocalSqrtLR',
    **dict(warmup=1, tau=0.45, cooldown=4, end=EPOCHS, by_epoch=True, convert_to_iter_based=True),
)
PAIR = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', T_max=5, begin=1, end=EPOCHS, eta_min=1e-4, by_epoch=True, convert_to_iter_based=True
    ),
]
CYCLE = [
    dict(type='OneCycleLR', eta_max=0.2, total_steps=EPOCHS, end=EPOCHS, by_epoch=True, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingMomentum',
        **dict(T_max=EPOCHS, end=EPOCHS, eta_min=0.5, by_epoch=True, convert_to_iter_based=True),
    ),
]
POLY = dict(type='PolyLR', power=0.9, eta_min=1e-5, end=EPOCHS, by_epoch=True, convert_to_iter_based=True)
MIXED = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[1, 3, 5], by_epoch=True),
]


@pytest.mark.parametrize('before, after', [(2, 6), (6, 2), (4, 3)])
@pytest.mark.parametrize('schedule', [[OURS], [SQRT], PAIR, CYCLE, [POLY], MIXED, [MIXED[1]], None])
def test_another_batch_size_keeps_the_schedule_in_epochs(schedule, before, after, tmp_path):
    train(tmp_path / 'whole', schedule, after)
    found, runner = resumed(tmp_path / 'part', schedule, before, after)
    expected = logged(tmp_path / 'whole')
    length = SAMPLES // after
    assert sorted(found) == list(range(2 * length + 1, EPOCHS * length + 1))
    assert found == {step: expected[step] for step in found}
    assert runner.iter == int(runner.model.iteration) == EPOCHS * length
    momentum = runner.optim_wrapper.param_groups[0]['momentum']
    assert momentum == (pytest.approx(0.5, abs=0.05) if schedule is CYCLE else 0.9)


def run_process(rank: int, folder: Path) -> tuple:
    runner = train(folder / 'two', [OURS], 3, resume=folder / 'one' / 'epoch_2.pth')
    return runner.iter, runner.optim_wrapper.param_groups[0]['lr']


def test_two_processes_continue_what_one_began(tmp_path):
    train(tmp_path / 'one', [OURS], 2, 2)
    found = in_processes(partial(run_process, folder=tmp_path), 2, tmp_path)
    whole = train(tmp_path / 'whole', [OURS], 6)
    expected = logged(tmp_path / 'whole')
    assert logged(tmp_path / 'two') == {step: rate for step, rate in expected.items() if step > 4}
    last = (whole.iter, whole.optim_wrapper.param_groups[0]['lr'])
    assert found == [last, last]


def test_both_numbers_are_named(tmp_path):
    resumed(tmp_path / 'part', [OURS], 2, 6)
    log = next((tmp_path / 'part_resumed').glob('*/*.log')).read_text()
    assert 'a run with 6 iterations an epoch, this one has 2 (other batch size' in log
    assert 'continues as iteration 4 instead of 12' in log


def test_the_same_batch_size_changes_nothing(tmp_path):
    for schedule in ([OURS], PAIR, CYCLE):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        train(folder / 'whole', schedule, 3)
        found, _ = resumed(folder / 'part', schedule, 3, 3)
        assert found == {step: rate for step, rate in logged(folder / 'whole').items() if step > 8}
        log = next((folder / 'part_resumed').glob('*/*.log')).read_text()
        assert 'iterations an epoch' not in log and 'as this config says' not in log


IN_ITERATIONS = [
    [dict(OURS, warmup=9)],
    [dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=9), dict(OURS, warmup=0.01)],
    [dict(type='StepLR', step_size=9, gamma=0.5, by_epoch=False)],
    [dict(type='MultiStepLR', milestones=[3, 15], by_epoch=False)],
    [dict(type='ExponentialLR', gamma=0.9, by_epoch=False)],
]


@pytest.mark.parametrize('schedule', IN_ITERATIONS)
def test_lengths_in_iterations_keep_their_part_of_an_epoch(schedule, tmp_path):
    """The schedule of the run that was begun, 6 iterations an epoch, at every second or third of its iterations."""
    train(tmp_path / 'whole', schedule, 2)
    expected = logged(tmp_path / 'whole')
    # 2 iterations an epoch, interrupted again after another epoch
    found, _ = resumed(tmp_path / 'part', schedule, 2, 6, epochs=2)
    part = {step: rate for step, rate in found.items() if step in (5, 7, 9, 11)}
    assert part == pytest.approx({step: expected[3 * (step - 1) + 1] for step in part}, rel=1e-6)
    again = tmp_path / 'again'
    train(again, schedule, 6, resume=tmp_path / 'part_resumed' / 'epoch_3.pth')
    assert logged(again) == {step: rate for step, rate in found.items() if step > 6}
    # and back to the first batch size
    back = tmp_path / 'back'
    train(back, schedule, 2, resume=tmp_path / 'part_resumed' / 'epoch_4.pth')
    assert logged(back) == pytest.approx({step: rate for step, rate in expected.items() if step > 24}, rel=1e-6)


def test_a_lower_learning_rate_in_the_config_counts(tmp_path):
    train(tmp_path / 'part', [OURS], 3, 2)
    train(tmp_path / 'whole', [OURS], 3, optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
    second = tmp_path / 'second'
    lower = dict(type='SGD', lr=0.01, momentum=0.9)
    train(second, [OURS], 3, resume=tmp_path / 'part' / 'epoch_2.pth', optimizer=lower)
    assert logged(second) == {step: rate for step, rate in logged(tmp_path / 'whole').items() if step > 8}
    assert 'as this config says' in next(second.glob('*/*.log')).read_text()
    # so does a training that was prolonged, and a rate without schedule
    longer = dict(OURS, end=2 * EPOCHS)
    train(tmp_path / 'long', [longer], 3, epochs=8)
    train(tmp_path / 'prolonged', [longer], 3, epochs=8, resume=tmp_path / 'part' / 'epoch_2.pth')
    assert logged(tmp_path / 'prolonged') == {s: r for s, r in logged(tmp_path / 'long').items() if s > 8}
    train(tmp_path / 'none', None, 3, epochs=3, resume=tmp_path / 'part' / 'epoch_2.pth', optimizer=lower)
    assert set(logged(tmp_path / 'none').values()) == {0.01}


def test_a_learning_rate_that_follows_the_batch(tmp_path):
    scaled = dict(auto_scale_lr=dict(enable=True, base_batch_size=2))
    train(tmp_path / 'whole', [OURS], 6, **scaled)
    expected = logged(tmp_path / 'whole')
    train(tmp_path / 'part', [OURS], 2, 2, **scaled)
    train(tmp_path / 'second', [OURS], 6, resume=tmp_path / 'part' / 'epoch_2.pth', **scaled)
    assert max(expected.values()) > 0.2 > max(logged(tmp_path / 'part').values())
    assert logged(tmp_path / 'second') == {step: rate for step, rate in expected.items() if step > 4}


def test_a_checkpoint_from_within_an_epoch_begins_it_again(tmp_path):
    hooks = dict(
        logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)
    )
    train(tmp_path / 'whole', PAIR, 3, default_hooks=hooks)
    expected = logged(tmp_path / 'whole')
    for iteration, first in ((10, 9), (12, 13)):
        folder = tmp_path / str(iteration)
        runner = train(folder, PAIR, 3, resume=tmp_path / 'whole' / f'iter_{iteration}.pth')
        assert logged(folder) == {step: rate for step, rate in expected.items() if step >= first}
        assert runner.iter == 4 * EPOCHS


PLATEAU = [dict(type='ReduceOnPlateauLR', monitor='loss', by_epoch=True), OURS]


def test_a_schedule_that_cannot_be_brought_to_other_epochs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'ReduceOnPlateauLR follows the metrics.*iteration 4 of 12: resume with'):
        resumed(tmp_path / 'part', PLATEAU, 2, 6)
    train(tmp_path / 'same', PLATEAU, 2, resume=tmp_path / 'part' / 'epoch_2.pth')


def test_weights_alone_cannot_be_resumed(tmp_path):
    train(tmp_path / 'part', None, 3, 1)
    torch.save(dict(meta={}, state_dict=Net().state_dict()), tmp_path / 'backbone.pth')
    with pytest.raises(CheckpointError, match=r'backbone\.pth holds weights, but no state of a run .*load_from=FILE'):
        train(tmp_path / 'second', None, 3, resume=tmp_path / 'backbone.pth')


def test_a_moved_and_a_copied_work_directory(tmp_path):
    best = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='loss', rule='less', max_keep_ckpts=1))
    train(tmp_path / 'old', None, 3, 2)
    noted = (tmp_path / 'old' / 'last_checkpoint').read_text()
    shutil.copytree(tmp_path / 'old', tmp_path / 'copy')
    # the copy's own, not that of the original, which may have gone on
    assert last_checkpoint(tmp_path / 'copy') == str(tmp_path / 'copy' / 'epoch_2.pth') != noted
    (tmp_path / 'old').rename(tmp_path / 'new')
    assert last_checkpoint(tmp_path / 'new') == str(tmp_path / 'new' / 'epoch_2.pth')
    runner = train(tmp_path / 'new', None, 3, 3, resume=last_checkpoint(tmp_path / 'new'), default_hooks=best)
    assert runner.message_hub.get_info('last_ckpt') == str(tmp_path / 'new' / 'epoch_3.pth')
    (tmp_path / 'copy' / 'epoch_2.pth').rename(tmp_path / 'away.pth')
    with pytest.raises(PeridotError, match=r'names .*old/epoch_2\.pth, which exists neither there nor in .*copy: put'):
        last_checkpoint(tmp_path / 'copy')
    # checkpoints that lie elsewhere (out_dir of the CheckpointHook)
    (tmp_path / 'copy' / 'last_checkpoint').write_text(str(tmp_path / 'away.pth'))
    assert last_checkpoint(tmp_path / 'copy') == str(tmp_path / 'away.pth')


class Scores(BaseMetric):
    """A score that rises with every validation."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        epoch = MessageHub.get_current_instance().get_info('epoch')
        return dict(acc=float(epoch), other=float(epoch))


def train_with_best(folder: Path, epochs: int, resume=None, **settings) -> tuple[Runner, set[str]]:
    """A run that keeps its best checkpoints, and the checkpoints in its folder."""
    checkpoint = dict(type='CheckpointHook', interval=1, rule='greater', **{'save_best': 'acc', **settings})
    runner = train(
        folder,
        None,
        3,
        epochs,
        resume,
        default_hooks=dict(checkpoint=checkpoint),
        val_dataloader=dict(
            dataset=Numbers(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        val_cfg=dict(),
        val_evaluator=Evaluator(Scores()),
    )
    return runner, files(folder)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth')}


@pytest.mark.parametrize('name', ['epoch_2.pth', 'renamed.pth'])
@pytest.mark.parametrize('save_best', ['acc', ['acc', 'other']])
def test_a_run_continued_elsewhere_keeps_the_best_checkpoint_of_the_original(save_best, name, tmp_path):
    _, before = train_with_best(tmp_path / 'old', 2, save_best=save_best)
    (tmp_path / 'away').mkdir()
    shutil.copy(tmp_path / 'old' / 'epoch_2.pth', tmp_path / 'away' / name)
    for start in (tmp_path / 'old' / 'epoch_2.pth', tmp_path / 'away' / name):
        _, found = train_with_best(tmp_path / f'from_{start.parent.name}', 3, start, save_best=save_best)
        assert files(tmp_path / 'old') == before >= {'best_acc_epoch_2.pth'}
        assert 'best_acc_epoch_3.pth' in found


def test_a_copied_work_directory_replaces_its_own_best_checkpoint(tmp_path):
    _, before = train_with_best(tmp_path / 'old', 2)
    shutil.copytree(tmp_path / 'old', tmp_path / 'copy')
    _, found = train_with_best(tmp_path / 'copy', 3, tmp_path / 'copy' / 'epoch_2.pth')
    assert files(tmp_path / 'old') == before
    assert found == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'best_acc_epoch_3.pth'}
    # so does the run itself, also if its checkpoints lie elsewhere
    _, found = train_with_best(tmp_path / 'old', 3, tmp_path / 'old' / 'epoch_2.pth')
    assert found == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'best_acc_epoch_3.pth'}
    out = tmp_path / 'out' / 'run'
    train_with_best(tmp_path / 'run', 2, out_dir=str(out.parent))
    train_with_best(tmp_path / 'run', 3, out / 'epoch_2.pth', out_dir=str(out.parent))
    assert files(out) == {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'best_acc_epoch_3.pth'}


def test_a_best_score_holds_where_its_checkpoint_was_left_behind(tmp_path):
    train_with_best(tmp_path / 'old', 4)
    checkpoint = torch.load(tmp_path / 'old' / 'epoch_4.pth', weights_only=False)
    checkpoint['message_hub']['runtime_info']['best_score'] = 10.0
    torch.save(checkpoint, tmp_path / 'start.pth')
    runner, found = train_with_best(tmp_path / 'new', 5, tmp_path / 'start.pth', published_keys=['state_dict'])
    assert (runner.message_hub.get_info('best_score'), runner.message_hub.get_info('best_ckpt')) == (10.0, None)
    assert {name[:7] for name in found} == {'epoch_5'}
    assert not list((tmp_path / 'old').glob('*-*.pth'))
