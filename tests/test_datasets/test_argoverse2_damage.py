"""Argoverse 2: logs that lack something are left out in one line each; options, folders and packages that are wrong."""

import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from peridot.datasets.create_infos_argoverse2 import create_argoverse2_infos, read_feather
from peridot.errors import ConfigError, DataError
from pyarrow import feather
from streets.argoverse2 import log_folder

POSES, INTRINSICS = 'city_SE3_egovehicle.feather', 'calibration/intrinsics.feather'
MOUNTS = 'calibration/egovehicle_SE3_sensor.feather'


def edit(name: str, change):
    """Damage of a table: `change` gets its columns as numpy arrays by name and returns others."""

    def damage(log: Path) -> None:
        path = sorted(log.glob(name))[0]
        columns = {key: np.array(values) for key, values in feather.read_table(path).to_pydict().items()}
        feather.write_feather(pa.table(change(columns)), str(path))

    return damage


def without(name: str, column: str):
    return edit(name, lambda table: {key: values for key, values in table.items() if key != column})


def cut(name: str, size: int):
    def damage(log: Path) -> None:
        path = sorted(log.glob(name))[0]
        path.write_bytes(path.read_bytes()[:size])

    return damage


def remove(name: str):
    def damage(log: Path) -> None:
        path = log / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def shift_images(log: Path) -> None:
    for path in sorted(log.glob('sensors/cameras/*/*.jpg')):
        path.rename(path.with_name(f'{int(path.stem) + 90_000_000}.jpg'))


DAMAGES = [
    (remove('sensors'), r'sensors/lidar has no sweep: unpack'),
    (remove('sensors/lidar'), r'sensors/lidar has no sweep: unpack'),
    (remove('sensors/cameras'), r'sensors/cameras has no image of a ring camera \(ring_front_center/\*.jpg'),
    (remove('calibration'), r'calibration/intrinsics.feather is missing: unpack the log again'),
    (remove(POSES), r'city_SE3_egovehicle.feather is missing: unpack'),
    (remove(MOUNTS), r'egovehicle_SE3_sensor.feather is missing: unpack'),
    (cut('sensors/lidar/*', -2000), r'sensors/lidar/\d+.feather is damaged \(Not an Arrow file\): unpack'),
    (cut(POSES, 0), r'SE3_egovehicle.feather is damaged \(File is too small'),
    (edit(POSES, lambda t: {k: v[:0] for k, v in t.items()}), 'SE3_egovehicle.feather is empty'),
    (without(POSES, 'qw'), 'SE3_egovehicle.feather has no column qw'),
    (edit(POSES, lambda t: {**t, 'tx_m': t['tx_m'] * np.nan}), 'holds values that are not finite'),
    (edit(POSES, lambda t: {**t, 'qx': ['x'] * len(t['qx'])}), 'holds values that are no numbers'),
    (edit(POSES, lambda t: {k: v * (k[0] != 'q') for k, v in t.items()}), 'qw, qx, qy, qz of length 0'),
    (edit(POSES, lambda t: {**t, 'timestamp_ns': t['timestamp_ns'] / 2}), 'that are not whole numbers'),
    (edit(POSES, lambda t: {**t, 'timestamp_ns': t['timestamp_ns'] + 10**10}), 'no poses around the times of the sw'),
    (without(INTRINSICS, 'cy_px'), 'intrinsics.feather has no column cy_px'),
    (edit(INTRINSICS, lambda t: {k: v[1:] for k, v in t.items()}), 'intrinsics.feather has no ring_front_center, of'),
    (edit(MOUNTS, lambda t: {k: v[:3] for k, v in t.items()}), 'SE3_sensor.feather has no ring_rear_left, of which'),
    (without('sensors/lidar/*', 'intensity'), 'has no column intensity'),
    (
        edit('sensors/lidar/*', lambda t: {**t, 'x': t['x'] * np.nan}),
        r'lidar/\d+.feather has no point whose values',
    ),
    (shift_images, r'has no image within 0.03 s of a sweep: unpack the log again, or set --tolerance'),
]


@pytest.mark.parametrize('damage, message', DAMAGES, ids=[message[:35] for _, message in DAMAGES])
def test_logs_that_lack_something_are_left_out(av2_copy, damage, message, capsys):
    """In one line each, while others are used; if none can be used, in one line."""
    broken = log_folder(av2_copy, 0)
    damage(broken)
    (av2_copy / 'argoverse2_infos_train.pkl').write_text('of an earlier run')
    assert create_argoverse2_infos(av2_copy, every=1, verbose=True) == [av2_copy / 'argoverse2_infos_val.pkl']
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f'left out: {broken}') and re.search(message, printed[0]) and len(printed) == 3
    assert [path.name for path in av2_copy.glob('*.pkl')] == ['argoverse2_infos_val.pkl']
    assert printed[1].endswith('of 0 logs; left out: 0 sweeps without image or pose, 1 logs')
    damage(log_folder(av2_copy, 1))
    (av2_copy / 'argoverse2_infos_val.pkl').unlink()
    # clouds that exist are not read again
    shutil.rmtree(av2_copy / 'lidar', ignore_errors=True)
    with pytest.raises(DataError, match=f'{message}.* \\(none of 2 logs can be used\\)$') as error:
        create_argoverse2_infos(av2_copy, every=1)
    assert '\n' not in str(error.value) and not list(av2_copy.glob('*.pkl'))


def test_folders_and_options_that_cannot_be_right(av2_copy, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r'has no log \(train/LOG, .* name the folder that has them with --root'):
        create_argoverse2_infos(tmp_path)
    for options in ({'every': 0}, {'tolerance': -1.0}, {'tolerance': float('nan')}):
        with pytest.raises(ConfigError, match='set every to 1 or more and tolerance to 0 or more'):
            create_argoverse2_infos(av2_copy, **options)
    load = importlib.import_module
    for kind, message in ((ModuleNotFoundError, 'needs the package pyarrow'), (ImportError, 'cannot import pyarrow')):

        def refuse(name: str, kind=kind):
            if name.startswith('pyarrow'):
                raise kind('pyarrow requires NumPy 2.0 or newer', name='pyarrow')
            return load(name)

        monkeypatch.setattr(importlib, 'import_module', refuse)
        with pytest.raises(ConfigError, match=f'Argoverse 2 {message}.*: pip install pyarrow==') as error:
            read_feather(log_folder(av2_copy, 0) / POSES, ['qw'])
        assert '\n' not in str(error.value)
