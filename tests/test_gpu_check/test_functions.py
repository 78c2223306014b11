import pytest
import torch
from peridot.gpu_check import draws, functions, networks, objectives
from peridot.gpu_check.checks import Differs, run_part
from peridot.gpu_check.compare import compare
from peridot.gpu_check.configs import load_config
from peridot.models import objectives as all_objectives
from peridot.models import students, teachers


def test_everything_equals_itself(small):
    # the other networks differ in size and layers only
    skipped = ('CenterPoint', 'MaskCLIP', 'ResNet')

    def checks(setup):
        return ((name, check) for name, check in functions.checks(setup) if not any(word in name for word in skipped))

    rows = list(run_part('functions', checks, small))
    assert [(row.check, row.error) for row in rows if row.status != 'ok'] == []
    assert len(rows) > 25
    for row in rows:
        if row.check in objectives.OBJECTIVES:
            assert set(row.values) >= {'values', 'gradients'}


def test_every_objective_student_and_teacher_is_there(small):
    assert {name.split(',')[0] for name in objectives.OBJECTIVES} == set(all_objectives.__all__) - {'Objective'}
    settings = [
        load_config(small.configs / f'pretrain/{name}.py', small).model.student for name in networks.STUDENTS.values()
    ]
    kinds = {name for name in students.__all__ if name.endswith(('Student', 'Trunk'))}
    assert {item.type.split('.')[1] for item in settings} == kinds
    # the stored teacher has nothing to compute
    kinds = {item['type'].split('.')[1] for item in networks.TEACHERS.values()}
    assert kinds == set(teachers.__all__) - {'StoredTeacher'}


@pytest.mark.parametrize('name', objectives.OBJECTIVES)
def test_an_objective_that_sees_other_features_is_refused(name, small, monkeypatch):
    right, calls = objectives.encoded, []

    def other(inputs, heads):
        calls.append(1)
        if len(calls) == 1:
            inputs = {**inputs, 'features': inputs['features'] * 1.1 + 0.1}
        return right(inputs, heads)

    monkeypatch.setattr(objectives, 'encoded', other)
    with pytest.raises(Differs, match='differ by'):
        compare(objectives.cases(small=True)[name], 'cpu')


def test_an_objective_has_a_loss_and_gradients(small):
    from peridot.gpu_check.compare import evaluate

    for name, case in objectives.cases(small=True).items():
        found = evaluate(case, 'cpu')
        assert any(value.any() for key, value in found.items() if key.startswith('loss')), name
        assert found['gradient of features'].any(), name


def test_draws_that_prefer_some_elements_are_refused(monkeypatch):
    right, calls = draws.DRAWS['sample_uniformly'], []

    def preferring(generator, device):
        calls.append(1)
        return (
            right(generator, device)
            if len(calls) > 50
            else torch.arange(0, draws.ELEMENTS, draws.GROUPS)[: draws.DRAWN]
        )

    monkeypatch.setitem(draws.DRAWS, 'sample_uniformly', preferring)
    with pytest.raises(Differs, match='standard deviations'):
        draws.compare_draws('sample_uniformly', 'cpu', 50)
    monkeypatch.setitem(draws.DRAWS, 'sample_uniformly', lambda generator, device: torch.zeros(draws.DRAWN).long())
    with pytest.raises(Differs, match='1 different elements of 40 drawn'):
        draws.compare_draws('sample_uniformly', 'cpu', 50)


def test_probes_that_disagree_are_refused(monkeypatch):
    right, calls = functions.fit_linear_probe, []

    def fit(features, labels, *args, **kwargs):
        calls.append(1)
        return right(features, labels if len(calls) == 1 else (labels + 1) % 8, *args, **kwargs)

    monkeypatch.setattr(functions, 'fit_linear_probe', fit)
    with pytest.raises(Differs, match='probes agree on'):
        functions.compare_probes('cpu', 400)
