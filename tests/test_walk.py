from types import SimpleNamespace

from peridot.walk import dicts_of, innermost


def test_dicts_inside_dicts_lists_and_tuples():
    inner, outer = {'a': 1}, {'type': 'x'}
    outer['parts'] = [3, ({'b': [inner]}, 'text')]
    assert list(dicts_of(outer)) == [outer, {'b': [inner]}, inner]
    assert list(dicts_of([])) == list(dicts_of(None)) == []


def test_the_walk_goes_into_what_a_dict_was_changed_to():
    settings = {'pipeline': [{'type': 'x'}]}
    for part in dicts_of(settings):
        assert part is settings
        part['pipeline'] = []


def test_datasets_inside_wrappers():
    one, two = SimpleNamespace(dataset='nuscenes'), SimpleNamespace(dataset=None)
    wrapped = SimpleNamespace(datasets=[SimpleNamespace(dataset=one), two, one])
    assert innermost(wrapped) == [one, two, one]
    assert innermost(two) == [two]
