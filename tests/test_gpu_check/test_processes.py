import pytest
import torch
from peridot.gpu_check import processes
from peridot.gpu_check.checks import Differs, LeftOut


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Two processes with gloo."""
    from pathlib import Path

    from peridot.gpu_check.checks import Setup

    configs = Path(__file__).resolve().parents[2] / 'configs'
    group = processes.Group('gloo', 2, Setup('cpu', True, configs, tmp_path_factory.mktemp('two')))
    group.results()
    return group


@pytest.mark.parametrize('name', processes.OBJECTIVES)
def test_two_processes_equal_the_joint_batch(name, two):
    found = processes.compare_processes(name, two)
    # the order of the sums differs, so that equality would mean that nothing was compared
    assert 0 < found['gradients'] < 1e-4 and set(found) == {'loss', 'gradients', 'statistics'}


def test_a_process_that_goes_its_own_way_is_refused(two, monkeypatch):
    right = two.results()
    losses, gradients, statistics = right[1]['infonce']
    wrong = {**right[1], 'infonce': (losses, {name: value * 1.01 for name, value in gradients.items()}, statistics)}
    monkeypatch.setattr(two, '_results', [right[0], wrong])
    with pytest.raises(Differs, match=r'gradients differ by 0\.01'):
        processes.compare_processes('infonce', two)


@pytest.mark.slow
def test_a_whole_model_trains_in_ddp(small):
    assert processes.train_whole('scalr_wi48x256_nus', 'gloo', small)['loss'] > 0


def test_nccl_with_two_processes_needs_two_gpus(small, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    group = processes.Group('nccl', 2, small)
    for _ in range(2):
        with pytest.raises(LeftOut, match='one GPU'):
            group.results()
    titles = [name for name, _ in processes.checks(small)]
    assert sum('two processes on one device' in title for title in titles) == len(processes.OBJECTIVES)
