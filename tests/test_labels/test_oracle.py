from dataclasses import replace

import numpy as np
import pytest
from mmengine.config import Config
from peridot.errors import ConfigError, DataError
from peridot.labels import MapJob, OracleGenerator, make_maps
from peridot.labels.oracle import displace, replace_classes
from peridot.maps import MapFolder, images_of
from peridot.registry import DATASETS
from PIL import Image
from scipy.ndimage import distance_transform_cdt
from streets.camera import take_photo
from streets.dataset import read_settings
from streets.frame import image_view

SETTINGS = dict(
    type='peridot.PairedDataset',
    ann_file='nuscenes_infos_train.pkl',
    data_prefix=dict(
        pts='samples/LIDAR_TOP',
        pts_semantic_mask='lidarseg/v1.0-mini',
        CAM_FRONT='samples/CAM_FRONT',
        CAM_BACK_LEFT='samples/CAM_BACK_LEFT',
        CAM_BACK='samples/CAM_BACK',
    ),
    cameras=['CAM_FRONT', 'CAM_BACK_LEFT', 'CAM_BACK'],
    indices=2,
)
PAIRS = [dict(type=f'peridot.{name}') for name in ('LoadPoints', 'LoadPointLabels', 'LoadImageViews', 'ProjectPoints')]


@pytest.fixture(scope='module')
def dataset(demo_root):
    """Two samples of one scene with three cameras."""
    return DATASETS.build({**SETTINGS, 'data_root': str(demo_root), 'pipeline': PAIRS})


@pytest.fixture(scope='module')
def job(demo_root, dataset, tmp_path_factory):
    return MapJob(images_of(dataset), demo_root, tmp_path_factory.mktemp('oracle'))


def maps_of(job, **options) -> list[np.ndarray]:
    generator = OracleGenerator(**options)
    generator.open(job)
    return [generator.generate(source) for source in job.images]


@pytest.fixture(scope='module')
def clean(job):
    return maps_of(job)


def test_the_photo_is_rendered_again(demo_root, job):
    """Camera and moment come from the file name: the second keyframe's back camera gives its own photo."""
    path = job.images[5].path
    assert 'CAM_BACK__' in path
    camera, snapshot = image_view(read_settings(demo_root), path)
    again = take_photo(snapshot, camera, np.random.default_rng(0)).image
    stored, other = (np.asarray(Image.open(job.images[index].path)).astype(float) for index in (5, 2))
    # only the noise of the sensor differs
    assert abs(again - stored).mean() < 4 < abs(again - other).mean()


def test_classes_agree_with_lidarseg(demo_root, dataset, clean):
    """Almost everywhere a camera sees the point; about one point in twenty is hidden from the camera or has moved."""
    settings, agree, seen = read_settings(demo_root), [], []
    for index in range(2):
        sample = dataset[index]
        pairs = sample['pairs']
        point, camera = pairs.point.numpy(), pairs.camera.numpy()
        true = sample['pts_semantic_mask'][point]
        photos = [take_photo(*image_view(settings, path)[::-1]) for path in sample['img_paths']]
        lidar2cam = sample['lidar2cam'][camera]
        xyz = sample['points'].tensor.numpy()[point, :3]
        depth = (lidar2cam[:, 2, :3] * xyz).sum(1) + lidar2cam[:, 2, 3]
        row, column = np.rint(pairs.position.numpy()).astype(int).T
        buffer = np.stack([photo.depth for photo in photos])[camera, row, column]
        known = true != 16
        agree.append((pairs.values_in(clean[3 * index : 3 * index + 3]) == true)[known])
        seen.append((abs(buffer - depth) < 0.3)[known])
    agree, seen = np.concatenate(agree), np.concatenate(seen)
    assert len(agree) > 5000 and seen.mean() > 0.85
    assert agree[seen].mean() > 0.99
    assert agree.mean() > 0.92


def test_sky_has_no_class(demo_root, job, clean):
    settings = read_settings(demo_root)
    for source, array in zip(job.images, clean):
        sky = np.isinf(take_photo(*image_view(settings, source.path)[::-1]).depth)
        assert (array[sky] == 255).all() and (array[~sky] == 255).mean() < 0.1
        assert set(np.unique(array)) <= {*range(16), 255}
    assert sky.any()


def test_class_noise_changes_its_fraction_of_the_labeled_area(job, clean):
    noisy = maps_of(job, class_noise=0.3)
    labeled, changed = np.stack(clean) != 255, np.stack(clean) != np.stack(noisy)
    assert changed[labeled].mean() == pytest.approx(0.3, abs=0.06)
    assert not changed[~labeled].any()
    more = np.stack(maps_of(job, class_noise=0.5)) != np.stack(clean)
    assert more[changed].all() and more.sum() > changed.sum()
    everything = np.stack(maps_of(job, class_noise=1)) != np.stack(clean)
    assert everything[labeled].all()


def test_class_noise_is_by_area_on_average():
    labels = np.zeros((60, 90), np.uint8)
    labels[20:, 30:], labels[35:, :50], labels[:, 80:] = 1, 2, 255
    fractions = []
    for seed in range(300):
        noisy = labels.copy()
        replace_classes(noisy, 0.3, 5, np.random.default_rng(seed))
        assert (noisy[:, 80:] == 255).all() and noisy[:, :80].max() < 5
        fractions.append((noisy != labels)[:, :80].mean())
    assert np.mean(fractions) == pytest.approx(0.3, abs=0.015)


def test_regions_are_connected_parts_of_a_class_in_a_cell():
    labels = np.zeros((60, 60), np.uint8)
    labels[:, 13:16], labels[3:5, 3:5] = 1, 1
    chosen = set()
    for seed in range(40):
        noisy = labels.copy()
        replace_classes(noisy, 0.5, 200, np.random.default_rng(seed))
        for row in range(0, 60, 10):
            cell = noisy[row : row + 10, 10:20]
            for part in (cell[:, :3], cell[:, 3:6], cell[:, 6:]):
                assert len(np.unique(part)) == 1
            chosen.add(
                tuple(bool(part[0, 0] != value) for part, value in ((cell, 0), (cell[:, 3:], 1), (cell[:, 6:], 0)))
            )
    assert len(chosen) == 8


def test_border_noise_stays_near_borders(job, clean):
    noisy = maps_of(job, border_noise=1.5)
    for before, after in zip(clean, noisy):
        border = np.zeros(before.shape, bool)
        border[1:] |= before[1:] != before[:-1]
        border[:, 1:] |= before[:, 1:] != before[:, :-1]
        changed = before != after
        assert 0.005 < changed.mean() < 0.2
        # rows and columns are displaced, each by less than five deviations
        assert distance_transform_cdt(~border, 'chessboard')[changed].max() < 5 * 1.5


@pytest.mark.parametrize('deviation', [1.0, 4.0])
def test_displacement_is_smooth_and_of_the_declared_size(deviation):
    rows, columns = np.indices((300, 400))
    moved = [displace(index, deviation, np.random.default_rng(1)) - index for index in (rows, columns)]
    inner = np.stack(moved)[:, 20:-20, 20:-20].astype(float)
    np.testing.assert_allclose(inner.std((1, 2)), deviation, rtol=0.15)
    assert abs(np.diff(inner, axis=2)).max() <= 2
    assert not np.array_equal(*moved)


def test_noise_depends_on_seed_and_image_alone(job, tmp_path):
    options = dict(class_noise=0.2, border_noise=2)
    first = make_maps(OracleGenerator(**options), MapJob(job.images, job.data_root, tmp_path / 'a', 1))
    backwards = MapJob(job.images[::-1], job.data_root, tmp_path / 'b', 2)
    second = make_maps(OracleGenerator(**options), backwards)
    assert first.manifest.hash == second.manifest.hash
    assert first.manifest.parameters == {'class_noise': 0.2, 'border_noise': 2.0, 'seed': 0}
    assert (first.num_classes, first.ignore) == (16, 255)
    other = maps_of(job, seed=1, **options)
    same = [MapFolder(tmp_path / 'a', job.data_root).read(source.path, (198, 352)) for source in job.images]
    assert not any(np.array_equal(*pair) for pair in zip(same, other))
    generator = OracleGenerator(**options)
    generator.open(job)
    np.testing.assert_array_equal(generator.generate(job.images[0]), same[0])
    assert not np.array_equal(generator.generate(replace(job.images[0], key='another')), same[0])


def test_other_data_is_refused(street, demo_root, job, tmp_path):
    settings = Config.fromfile(street / 'config.py').train_dataloader.dataset
    images = images_of(DATASETS.build({**settings, 'pipeline': []}))
    with pytest.raises(ConfigError, match=r'synthetic data only, .* has no synthetic\.json') as error:
        make_maps(OracleGenerator(), MapJob(images, street, street / 'weak_labels/oracle'))
    assert '\n' not in str(error.value) and not (street / 'weak_labels').exists()
    generator = OracleGenerator()
    generator.open(job)
    with pytest.raises(DataError, match=r'0\.jpg is no image of a synthetic dataset'):
        generator.generate(images[0])
    settings = read_settings(demo_root)
    path = job.images[0].path
    for wrong in (path[:-5] + '0.jpg', path.replace('CAM_FRONT__', 'CAM_BACK__'), path.replace('-0061', '-0062')):
        with pytest.raises(DataError, match='no image of a synthetic dataset'):
            image_view(settings, wrong)


@pytest.mark.parametrize('content', ['', '{"generator": "streets 0", "settings": {"image_size": [9, 9]}}'])
def test_settings_that_cannot_be_used(tmp_path, content):
    (tmp_path / 'synthetic.json').write_text(content)
    with pytest.raises(DataError, match=r'synthetic\.json.*make_demo_data\.py'):
        read_settings(tmp_path)


@pytest.mark.parametrize('options', [{'class_noise': 1.5}, {'class_noise': -0.1}, {'border_noise': -1}, {'seed': -1}])
def test_senseless_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        OracleGenerator(**options)
