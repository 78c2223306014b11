import pytest
import torch
from peridot.gpu_check.checks import Differs
from peridot.gpu_check.compare import Case, compare, ratio_unequal, relative_difference, relative_length, tf32
from torch import nn


def other_from_call_to_call(error):
    """A function that is off by `error`, relatively, when it is called first: for the device."""
    calls = []

    def run(module, inputs):
        calls.append(1)
        x = module(inputs['x'])
        return dict(y=x * (1 + error * (len(calls) == 1)), rows=x.argmax(1) + (len(calls) == 1) * (error > 1))

    return Case(run, dict(x=torch.randn(5, 3, requires_grad=True)), nn.Linear(3, 4))


@pytest.mark.parametrize('error, kinds', [(1e-3, ('values', 'gradients')), (2.0, ('values', 'gradients', 'unequal'))])
def test_what_differs_is_refused_with_its_numbers(error, kinds):
    with pytest.raises(Differs) as refused:
        compare(other_from_call_to_call(error), 'cpu')
    for kind in kinds:
        assert f'{kind} differ by' in str(refused.value)
    assert refused.value.values['values'] == pytest.approx(error, rel=0.01)


def test_rounding_is_allowed():
    found = compare(other_from_call_to_call(1e-6), 'cpu')
    assert 0 < found['values'] < 1e-5 and found['unequal'] == 0


def test_numbers_that_are_not_finite_or_of_another_shape_differ_infinitely():
    ones = torch.ones(3)
    for measure in (relative_difference, relative_length):
        assert measure(ones, ones) == 0
        assert measure(torch.tensor([1.0, torch.nan, 1.0]), ones) == measure(torch.ones(2), ones) == float('inf')
        assert measure(ones + 0.5, ones) == pytest.approx(0.5)
    assert ratio_unequal(torch.tensor([1, 2]), torch.tensor([1, 3])) == 0.5
    assert ratio_unequal(torch.tensor([1]), torch.tensor([1, 3])) == float('inf')


def test_tf32_is_as_before_after_the_block():
    before = torch.backends.cudnn.allow_tf32
    with tf32(not before):
        assert torch.backends.cudnn.allow_tf32 is not before
    assert torch.backends.cudnn.allow_tf32 is before
