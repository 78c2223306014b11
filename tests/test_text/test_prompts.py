import pytest
from peridot.catalog import CATALOG
from peridot.errors import DataError
from peridot.text.prompts import TEMPLATES, read_prompts, read_templates


def written(folder, text):
    (folder / 'prompts.txt').write_text(text)
    return folder / 'prompts.txt'


def test_classes_and_synonyms(tmp_path):
    path = written(tmp_path, '# words\ncar:  sedan,pickup   truck \n\nroad: street\n')
    assert read_prompts(path) == {'car': ('sedan', 'pickup truck'), 'road': ('street',)}
    assert list(read_prompts(path)) == ['car', 'road']


def test_own_files_have_the_classes_of_the_datasets():
    for file, name in (('nuscenes', 'nuscenes'), ('semantickitti', 'semantickitti'), ('pandaset', 'pandar64')):
        assert list(read_prompts(file)) == [item.name for item in CATALOG[name].classes]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('car: sedan\ncar: van', "line 2: class 'car' appears a second time"),
        ('car: sedan\ntruck: van, sedan', "line 2: 'sedan' already appears in line 1"),
        ('car: sedan, sedan', "line 1: 'sedan' already appears in line 1"),
        ('car: a\n\n: sedan', r"line 3: ': sedan' lacks a class"),
        ('car:', r"line 1: 'car:' lacks a synonym"),
        ('car: a, , b', 'line 1: .* lacks a synonym'),
        ('car', 'line 1: .* lacks a synonym'),
        ('# nothing', 'holds no class'),
    ],
)
def test_bad_prompts_name_file_and_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        read_prompts(written(tmp_path, text))
    assert 'prompts.txt' in str(error.value) and '\n' not in str(error.value)


def test_absent_prompts_name_those_that_are_there():
    with pytest.raises(DataError, match='nowhere not found: give a file, or one of nuscenes, '):
        read_prompts('nowhere')


def test_templates(tmp_path):
    assert all(template.count('{}') == 1 for template in TEMPLATES)
    assert read_templates(written(tmp_path, 'a {}.\n# more\nthe {} here')) == ('a {}.', 'the {} here')
    for text, message in (
        ('a {}\nthe car', "line 2: 'the car' needs one"),
        ('{} {}', 'needs one'),
        ('', 'no template'),
    ):
        with pytest.raises(DataError, match=message):
            read_templates(written(tmp_path, text))
