"""Products of a dataset whose folder cannot be written to: in another folder, which configs read in its place."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from peridot.catalog import CONVERTERS
from peridot.datasets.create_infos import check_writable, create_gt_database
from peridot.datasets.create_infos_kitti import create_kitti_infos
from peridot.datasets.linked_folder import link_dataset
from peridot.errors import DataError
from peridot.registry import DATASETS

REPO = Path(__file__).resolve().parents[2]
MADE = ('*.pkl', 'velodyne_reduced', '*_gt_database', 'pandar*')
OPTIONS = dict(nuscenes=['--version', 'v1.0-mini'])


def state(root: Path) -> dict[Path, int]:
    return {path.relative_to(root): path.stat().st_mtime_ns for path in root.rglob('*')}


@pytest.fixture
def source(request, tmp_path) -> Path:
    """A dataset without what is made of it."""
    name = request.param
    original = request.getfixturevalue('demo_root' if name == 'nuscenes' else f'{name}_root')
    root = tmp_path / name
    if name == 'nuscenes':
        # tables and scans are only read: links save the copy
        root.mkdir()
        for part in ('samples', 'sweeps', 'lidarseg', 'v1.0-mini'):
            (root / part).symlink_to(original / part)
    else:
        shutil.copytree(original, root, ignore=shutil.ignore_patterns(*MADE, 'splits', 'synthetic.json'))
    return root


def products(root: Path) -> dict[Path, bytes]:
    found = [path for path in root.rglob('*') if path.is_file() and not path.is_symlink()]
    return {path.relative_to(root): path.read_bytes() for path in found}


def content(path: Path) -> bytes:
    """Of info files the samples: mmdet3d writes the classes that it leaves out in any order."""
    return pickle.dumps(pickle.loads(path.read_bytes())['data_list']) if '_infos_' in path.name else path.read_bytes()


@pytest.mark.parametrize(
    'source',
    [pytest.param('nuscenes', marks=pytest.mark.slow), 'semantickitti', 'kitti', 'pandaset'],
    indirect=True,
)
def test_everything_that_is_made_goes_elsewhere(source, tmp_path, run_tool, request, capsys):
    before, out = state(source), tmp_path / 'out'
    options = OPTIONS.get(source.name, [])
    run_tool('create_data', source.name, '--root', source, '--out', out, *options)
    assert state(source) == before
    assert f'{out}/' in capsys.readouterr().out
    original = request.getfixturevalue('objects_root' if source.name == 'nuscenes' else f'{source.name}_root')
    tops = [path for pattern in MADE for path in original.rglob(pattern) if 'splits' not in path.parts]
    made = {path.relative_to(original) for top in tops for path in (top, *top.rglob('*')) if path.is_file()}
    files = products(out)
    assert set(files) == made
    for path in files:
        assert content(original / path) == content(out / path)
    # once more, over what is there
    run_tool('create_data', source.name, '--root', source, '--out', out, *options)
    assert products(out) == files


@pytest.mark.parametrize('source', ['kitti'], indirect=True)
def test_configs_read_the_folder_in_place_of_the_dataset(source, tmp_path, run_tool):
    out = tmp_path / 'out'
    run_tool('create_data', 'kitti', '--root', source, '--out', out)
    config = Config.fromfile(REPO / 'configs/_base_/datasets/kitti_paired.py')
    packed = DATASETS.build(dict(config.train_dataloader.dataset, data_root=str(out)))[0]
    assert packed['inputs']['images'].shape == (1, 3, 224, 416)
    for item in pickle.loads((out / 'kitti_dbinfos_train.pkl').read_bytes())['Car']:
        assert (out / item['path']).is_file()


@pytest.mark.parametrize('source', ['nuscenes'], indirect=True)
def test_parts_of_nuscenes_are_linked(source, tmp_path):
    converter = CONVERTERS['nuscenes']
    parts = converter.find_parts(source)
    out = link_dataset(source, tmp_path / 'out', parts)
    assert {path.name for path in out.iterdir()} == {'samples', 'sweeps', 'lidarseg', 'v1.0-mini'}
    assert link_dataset(source, out, parts) == out
    assert link_dataset(source, source, parts) == source
    (tmp_path / 'other/samples').mkdir(parents=True)
    with pytest.raises(DataError, match=rf'{out}/samples is there and no link to {tmp_path}/other/samples: give anot'):
        link_dataset(tmp_path / 'other', out, converter.find_parts(tmp_path / 'other'))
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match=rf'{tmp_path}/file is no folder: give another one with --out'):
        link_dataset(source, tmp_path / 'file', parts)
    with pytest.raises(DataError, match=r'holds no part of the dataset: name the folder with samples/.* with --root'):
        converter.find_parts(tmp_path)


@pytest.mark.parametrize('source', ['nuscenes', 'semantickitti', 'kitti', 'pandaset'], indirect=True)
def test_a_folder_that_cannot_be_written_to_is_an_early_error(source, run_tool, monkeypatch):
    """As root all folders can be written to, so the system's answer is replaced."""
    access = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK and access(path, mode))
    before = state(source)
    with pytest.raises(SystemExit, match=rf'error: {source} cannot be written to: give a folder for .* with --out$'):
        run_tool('create_data', source.name, '--root', source, *OPTIONS.get(source.name, []))
    assert state(source) == before


def test_objects_need_a_folder_that_can_be_written_to(kitti_root, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda *_: False)
    with pytest.raises(DataError, match='cannot be written to'):
        create_gt_database(kitti_root, 'kitti')
    with pytest.raises(DataError, match='--out'):
        check_writable(kitti_root)


@pytest.mark.parametrize('source', ['kitti'], indirect=True)
def test_links_are_made_again_when_the_dataset_has_moved(source, tmp_path, run_tool):
    out, moved = tmp_path / 'out', tmp_path / 'moved'
    run_tool('create_data', 'kitti', '--root', source, '--out', out)
    files = products(out)
    source.rename(moved)
    run_tool('create_data', 'kitti', '--root', moved, '--out', out)
    assert (out / 'training/velodyne').resolve() == moved / 'training/velodyne' and products(out) == files


@pytest.mark.parametrize('source', ['kitti'], indirect=True)
def test_links_in_place_of_products_are_replaced(source, tmp_path, run_tool):
    """What they lead to belongs to others."""
    run_tool('create_data', 'kitti', '--root', source)
    files = products(source)
    for name in ('kitti_gt_database', 'training/velodyne_reduced'):
        other = tmp_path / Path(name).name
        (source / name).rename(other)
        (source / name).symlink_to(other)
        next(other.iterdir()).write_text('of others')
    before = state(tmp_path / 'kitti_gt_database'), state(tmp_path / 'velodyne_reduced')
    run_tool('create_data', 'kitti', '--root', source)
    assert products(source) == files and not list(source.rglob('.unfinished*'))
    assert (state(tmp_path / 'kitti_gt_database'), state(tmp_path / 'velodyne_reduced')) == before


@pytest.mark.parametrize('source', ['kitti'], indirect=True)
def test_a_link_in_place_of_objects_of_other_infos_goes_alone(source, tmp_path, lines):
    create_kitti_infos(source)
    create_gt_database(source, 'kitti')
    (source / 'kitti_gt_database').rename(tmp_path / 'theirs')
    (source / 'kitti_gt_database').symlink_to(tmp_path / 'theirs')
    before = state(tmp_path / 'theirs')
    (source / 'ImageSets/train.txt').write_text('000000\n')
    create_kitti_infos(source)
    assert not os.path.lexists(source / 'kitti_gt_database') and state(tmp_path / 'theirs') == before
    assert 'kitti_gt_database is removed' in lines[0]
