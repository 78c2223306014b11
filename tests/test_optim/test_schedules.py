import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from peridot.errors import ConfigError
from peridot.optim import rescaled_schedule

EPOCH = 40


def rates(config: str, epoch_length=EPOCH, **changes) -> list[float]:
    """Learning rate of every iteration of a training."""
    settings = Config.fromfile(f'configs/_base_/schedules/{config}.py')
    scheduler = {**settings.param_scheduler[0], **changes}
    lr = settings.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer, epoch_length=epoch_length))
    found = []
    for _ in range(scheduler['end'] * epoch_length):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    return found


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_scalr_warms_up_and_follows_a_cosine():
    found, total = rates('scalr_25e', warmup=30), 25 * EPOCH
    expected = [
        2e-3 * (i / 30 if i < 30 else 0.005 + 0.5 * 0.995 * (1 + math.cos(math.pi * (i - 30) / (total - 30))))
        for i in range(total)
    ]
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0] == 0 and found[30] == 2e-3 and found[-1] == pytest.approx(1e-5, rel=0.01)


def test_warm_up_as_a_share_of_the_training():
    found = rates('adamw_cosine_10e')
    assert found == rates('adamw_cosine_10e', warmup=16)
    assert found.index(max(found)) == 16 and max(found) == 3e-3 and found[-1] == pytest.approx(9e-6, rel=0.01)


def test_scalr_plus_has_the_published_rates():
    found = rates('scalr_plus_65e')
    for epoch, rate in {1: 2.0e-3, 2: 1.11e-3, 5: 6.36e-4, 10: 4.36e-4, 30: 2.47e-4, 63: 1.70e-4}.items():
        assert found[epoch * EPOCH] == pytest.approx(rate, rel=5e-3)
    assert found[0] == 0 and found[EPOCH // 2] == pytest.approx(1e-3)
    # the cool-down is straight, begins without a jump and ends at zero
    steps = [b - a for a, b in zip(found[63 * EPOCH :], found[63 * EPOCH + 1 :])]
    assert steps == pytest.approx([-found[63 * EPOCH] / (2 * EPOCH)] * len(steps), rel=1e-6)
    assert found[-1] == pytest.approx(-steps[0])
    before = found[63 * EPOCH - 1] / found[63 * EPOCH]
    assert 1 < before < 1.001


@pytest.mark.parametrize(
    'settings, expected',
    [
        (dict(type='LinearLR', by_epoch=False, begin=0, end=1000), dict(end=500)),
        (dict(type='LinearLR', by_epoch=True, end=2, convert_to_iter_based=True), {}),
        (dict(type='MultiStepLR', by_epoch=False, milestones=[100, 301]), dict(milestones=[50, 150])),
        (dict(type='StepLR', by_epoch=False, step_size=1, end=int(1e9)), {}),
        (dict(type='ExponentialLR', by_epoch=False, gamma=0.9), dict(gamma=0.81)),
        (dict(type='ExponentialLR', by_epoch=True, gamma=0.9), {}),
        (dict(type='peridot.WarmupCosineLR', warmup=3500, end=25, convert_to_iter_based=True), dict(warmup=1750)),
        (dict(type='peridot.WarmupCosineLR', warmup=0.04, end=25, convert_to_iter_based=True), {}),
        (dict(type='peridot.WarmupCosineLR', warmup=0.04, end=250, by_epoch=False), dict(end=125)),
        (
            dict(type='peridot.WarmupReciprocalSqrtLR', warmup=1, tau=0.45, cooldown=3, convert_to_iter_based=True),
            {},
        ),
    ],
)
def test_lengths_in_iterations_of_shorter_epochs(settings, expected):
    found = rescaled_schedule(settings, 0.5)
    assert (
        found == pytest.approx({**settings, **expected}) if 'gamma' in expected else found == {**settings, **expected}
    )


def test_training_shorter_than_its_warm_up():
    with pytest.raises(ConfigError, match='shorten the warm-up'):
        rates('scalr_25e', epoch_length=100)
    with pytest.raises(ConfigError, match='cooldown'):
        rates('scalr_plus_65e', cooldown=65)
