"""Before the first sample: do all maps exist, and are they the ones the config asks for?"""

import logging

import pytest
from peridot.datasets import paired_dataset
from peridot.errors import ConfigError, DataError
from peridot.maps import MapFolder, read_manifest, write_manifest

LABELS = dict(labels='labels')
SUPERPIXELS = dict(superpixels='superpixels')


def describe(tiny, folder: str, **fields) -> None:
    """Change the manifest of a folder."""
    manifest = read_manifest(tiny.root / folder)
    for name, value in fields.items():
        setattr(manifest, name, value)
    write_manifest(tiny.root / folder, manifest)


def error_of(tiny, maps) -> str:
    with pytest.raises(DataError) as caught:
        tiny.build([], maps=maps)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def logged(monkeypatch) -> list:
    lines = []
    monkeypatch.setattr(paired_dataset, 'print_log', lambda text, logger, level: lines.append((level, text)))
    return lines


@pytest.mark.parametrize('folder, maps', [('labels', LABELS), ('superpixels', SUPERPIXELS)])
def test_missing_maps_are_counted_and_listed(tiny, folder, maps):
    describe(tiny, folder, generator='slic', hash='sha256:1', command='python make them')
    for name in ('CAM_BACK/1', 'CAM_BACK/3', 'CAM_FRONT/0', 'CAM_FRONT/2', 'CAM_FRONT/3'):
        (tiny.root / folder / f'samples/{name}.png').unlink()
    message = error_of(tiny, maps)
    assert 'for 5 of 8 images' in message
    assert '(samples/CAM_BACK/1.png, samples/CAM_BACK/3.png, samples/CAM_FRONT/0.png, ...)' in message
    assert message.endswith('make the missing ones with `python make them`')
    assert 'unfinished' not in message


def test_maps_of_a_users_own_are_to_be_fixed(tiny):
    (tiny.root / 'labels/samples/CAM_BACK/1.png').unlink()
    message = error_of(tiny, LABELS)
    assert 'for 1 of 8 images (samples/CAM_BACK/1.png): fix' in message and 'python' not in message


def test_a_camera_without_a_folder_and_a_layout_of_tokens(tiny):
    describe(tiny, 'labels', layout='nowhere/{token}.png')
    assert 'for 8 of 8 images (nowhere/CAM_BACK-0.png,' in error_of(tiny, LABELS)
    folder = tiny.root / 'labels'
    (folder / 'nowhere').mkdir()
    for camera in ('CAM_BACK', 'CAM_FRONT'):
        for index in range(4):
            (folder / f'samples/{camera}/{index}.png').rename(folder / f'nowhere/{camera}-{index}.png')
    tiny.build([], maps=LABELS)


def test_images_that_are_not_used_need_no_map(tiny):
    (tiny.root / 'labels/samples/CAM_BACK/3.png').unlink()
    tiny.build([], maps=LABELS, indices=3)
    tiny.build([], maps=LABELS, cameras=['CAM_FRONT'])
    tiny.build([])
    lazy = tiny.build([], maps=LABELS, lazy_init=True)
    with pytest.raises(DataError, match='1 of 8'):
        lazy.full_init()


def test_no_map_is_opened(tiny, monkeypatch):
    monkeypatch.setattr(MapFolder, 'read_file', lambda *_: pytest.fail('opened'))
    tiny.build([], maps={**LABELS, **SUPERPIXELS})


def test_what_is_read_is_logged(tiny, logged):
    describe(tiny, 'superpixels', generator='slic', hash='sha256:0123456789abcdef')
    tiny.build([], maps={**LABELS, **SUPERPIXELS})
    labels, superpixels = logged
    assert labels == (logging.INFO, f"{tiny.root}/labels: labels of 'files', 3 classes, no hash")
    text = f"{tiny.root}/superpixels: superpixels of 'slic', 9000 ids at most, sha256:01234567"
    assert superpixels == (logging.INFO, text)


def test_an_unfinished_folder_is_reported(tiny, logged):
    describe(tiny, 'superpixels', generator='slic', command='python make them')
    tiny.build([], maps=SUPERPIXELS)
    ((level, text),) = logged
    assert level == logging.WARNING and 'unfinished, to be completed with `python make them`' in text
    (tiny.root / 'superpixels/samples/CAM_BACK/3.png').unlink()
    message = error_of(tiny, SUPERPIXELS)
    assert '1 of 8 images (samples/CAM_BACK/3.png), and is unfinished' in message and '`python make them`' in message


def test_maps_of_another_generator_or_kind(tiny):
    describe(tiny, 'superpixels', generator='felzenszwalb', hash='sha256:1', command='python make others')
    asked = dict(folder='superpixels', kind='superpixels', generator='slic')
    message = error_of(tiny, dict(superpixels=asked))
    assert "generator 'felzenszwalb', but 'slic' is needed" in message
    assert 'make_superpixels.py CONFIG' in message and '--generator slic`' in message
    assert 'make others' not in message
    message = error_of(tiny, dict(superpixels={**asked, 'folder': 'labels'}))
    assert "kind 'labels', but 'superpixels' is needed" in message
    tiny.build([], maps=dict(superpixels={**asked, 'generator': 'felzenszwalb'}))


def test_no_folder_at_all(tiny):
    assert 'elsewhere does not exist' in error_of(tiny, dict(labels='elsewhere'))


@pytest.mark.parametrize('asked', [dict(folder='labels', kinds='labels'), dict(kind='labels')])
def test_settings_that_no_folder_has(tiny, asked):
    with pytest.raises(ConfigError, match=r'maps\.labels=.*set folder, and kind, generator or teacher'):
        tiny.build([], maps=dict(labels=asked))


def test_maps_that_the_pipeline_reads_and_the_dataset_does_not_name(tiny, train_pipeline):
    with pytest.raises(ConfigError, match=r"no maps called 'labels'.*set maps=dict\(labels=FOLDER\)"):
        tiny.build(train_pipeline, maps={})[0]
    with pytest.raises(ConfigError, match=r'maps\.labels of the dataset names superpixels'):
        tiny.build(train_pipeline, maps=dict(labels='superpixels', superpixels='superpixels'))[0]
