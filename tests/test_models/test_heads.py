"""Heads of distillation: linear, with one hidden layer, or with two."""

import pytest
import torch
import torch.nn.functional as F
from peridot.errors import ConfigError
from peridot.models.heads import DistillationHead
from torch import nn


def build(*args, **settings):
    torch.manual_seed(0)
    return DistillationHead(6, 10, *args, **settings)


@pytest.mark.parametrize('settings', [dict(), dict(num_layers=1), dict(hidden_channels=16, num_layers=1)])
def test_a_linear_head(settings):
    torch.manual_seed(0)
    expected = nn.Linear(6, 10)
    found = build(**settings).state_dict()
    assert list(found) == ['student.weight', 'student.bias']
    assert torch.equal(found['student.weight'], expected.weight) and torch.equal(found['student.bias'], expected.bias)


@pytest.mark.parametrize('settings', [dict(), dict(num_layers=2)])
def test_one_hidden_layer_has_the_names_and_values_of_old_checkpoints(settings):
    torch.manual_seed(0)
    expected = nn.Sequential(nn.Linear(6, 16), nn.ReLU(inplace=True), nn.Linear(16, 10)).state_dict(prefix='student.')
    found = build(16, **settings).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_three_layers_are_a_plain_network():
    head, features = build(16, num_layers=3), torch.randn(5, 6)
    state = head.state_dict()
    assert [tuple(state[f'student.{i}.weight'].shape) for i in (0, 2, 4)] == [(16, 6), (16, 16), (10, 16)]
    x = features
    for i in (0, 2, 4):
        x = x @ state[f'student.{i}.weight'].T + state[f'student.{i}.bias']
        x = x.clamp(min=0) if i < 4 else x
    torch.testing.assert_close(head.embed_student(features), F.normalize(x, dim=1))
    torch.testing.assert_close(build(16, num_layers=3, normalize=False).embed_student(features), x)


def test_without_normalization_the_teacher_keeps_its_length():
    features = 3 * torch.randn(5, 10)
    assert torch.equal(build(normalize=False).embed_teacher(features), features)
    torch.testing.assert_close(build().embed_teacher(features).norm(dim=1), torch.ones(5))


@pytest.mark.parametrize('settings', [dict(num_layers=0), dict(num_layers=2), dict(hidden_channels=8, num_layers=-1)])
def test_layers_without_width(settings):
    with pytest.raises(ConfigError, match=r'num_layers=-?\d with hidden_channels=\w+: set 1, or more'):
        build(**settings)
