from dataclasses import replace

import cv2
import numpy as np
import pytest
from peridot.catalog import CATALOG
from peridot.errors import ConfigError, DataError
from peridot.labels import prototypes
from peridot.labels.oracle import OracleGenerator


def test_largest_region_of_each_class():
    labels = np.full((60, 80), 255, np.uint8)
    labels[:20, :40] = 3
    labels[30:60, :30] = 3
    labels[:8, 50:] = 5
    (found,) = prototypes.largest_regions(labels).items()
    assert found[0] == 3 and found[1].bbox == (30, 0, 60, 30)


@pytest.fixture
def one_sample(demo_root, tmp_path, monkeypatch):
    """A dataset of which only the first sample is listed."""
    infos = prototypes.read_info_file(str(demo_root / 'nuscenes_infos_train.pkl'), '')['data_list'][:1]
    monkeypatch.setattr(prototypes, 'read_info_file', lambda *_: dict(data_list=infos))
    for name in ('synthetic.json', 'samples'):
        (tmp_path / name).symlink_to(demo_root / name)
    return tmp_path


def test_crops_show_their_class(one_sample, monkeypatch):
    nuscenes = CATALOG['nuscenes']
    shown = ('driveable_surface', 'vegetation')
    kept = tuple(item for item in nuscenes.classes if item.name in shown)
    table = {raw: label for label, item in enumerate(kept) for raw in item.raw_ids}
    oracle = OracleGenerator()
    oracle._table[:] = [table.get(raw, 255) for raw in range(len(oracle._table))]
    monkeypatch.setattr(prototypes, 'OracleGenerator', lambda: oracle)
    monkeypatch.setitem(CATALOG, 'nuscenes', replace(nuscenes, classes=kept))
    folder = prototypes.write_prototypes(one_sample, 2, progress=False)
    assert [len(list((folder / name).iterdir())) for name in shown] == [2, 2]
    street, trees = (cv2.imread(str(folder / name / '0.png')).reshape(-1, 3).mean(0) for name in shown)
    # asphalt is gray, leaves are green
    assert np.ptp(street) < 0.5 * np.ptp(trees) and trees.argmax() == 1


def test_class_that_no_image_shows_is_named(one_sample):
    with pytest.raises(DataError, match=r'no image of .* shows \w+: make the dataset with more --keyframes'):
        prototypes.write_prototypes(one_sample, 1, progress=False)


def test_other_data_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='synthetic data only'):
        prototypes.write_prototypes(tmp_path, 1)
