import cv2
import numpy as np
import pytest
from peridot.errors import ConfigError
from peridot.labels import FelzenszwalbGenerator, SlicGenerator, make_maps
from peridot.labels.superpixels import merge_smallest, merge_targets
from peridot.maps.images import nearest_resize
from scipy import ndimage
from skimage.segmentation import felzenszwalb, slic


@pytest.fixture(scope='module')
def image():
    rng = np.random.default_rng(1)
    blocks = np.kron(rng.integers(0, 255, (5, 9, 3)), np.ones((30, 30, 1)))
    return np.clip(blocks + rng.normal(0, 4, blocks.shape), 0, 255).astype(np.uint8)


def regions(ids) -> int:
    return sum(ndimage.label(ids == value)[1] for value in np.unique(ids))


def test_published_settings_are_those_of_scikit_image(image):
    published = slic(image, n_segments=150, compactness=6, sigma=3.0, start_label=0)
    found = SlicGenerator()(image)
    assert published.max() < 150
    np.testing.assert_array_equal(found, published)


# shapes for which the grid of SLIC itself has more cells than asked for
@pytest.mark.parametrize(('height', 'width', 'segments'), [(100, 352, 150), (100, 200, 30), (64, 64, 1)])
def test_ids_stay_below_the_declared_maximum(height, width, segments):
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    generator = SlicGenerator(n_segments=segments)
    ids = generator(image)
    assert ids.shape == (height, width)
    assert generator.num_ids == segments
    np.testing.assert_array_equal(np.unique(ids), np.arange(len(np.unique(ids))))
    assert ids.max() < segments
    assert regions(ids) == len(np.unique(ids))


def test_a_reduced_scale_finds_the_same_regions(image):
    full, fast = SlicGenerator()(image), SlicGenerator(scale=0.5)(image)
    assert fast.shape == full.shape
    # fraction of pixels that lie in the block where most of their superpixel lies
    blocks = np.arange(5 * 9).reshape(5, 9).repeat(30, 0).repeat(30, 1)
    fraction = [
        np.bincount((ids * 45 + blocks).ravel(), minlength=150 * 45).reshape(150, 45).max(1).sum() / ids.size
        for ids in (full, fast)
    ]
    assert fraction[0] > 0.8 and fraction[1] > fraction[0] - 0.03


def test_one_color_gives_a_partition():
    ids = SlicGenerator()(np.full((60, 100, 3), 7, np.uint8))
    assert ids.shape == (60, 100)
    assert set(np.unique(ids)) <= set(range(150))


@pytest.mark.parametrize('options', [{'scale': 0}, {'scale': 1.5}, {'n_segments': 0}, {'n_segments': 70000}])
def test_senseless_settings(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        SlicGenerator(**options)


def test_merge_smallest_joins_the_longest_border():
    ids = np.array(
        [
            [0, 0, 0, 4, 4, 4],
            [0, 0, 0, 4, 4, 4],
            [0, 0, 9, 9, 4, 4],
            [2, 2, 2, 4, 4, 4],
            [2, 2, 2, 4, 4, 4],
        ]
    )
    # 9 (2 pixels) has borders 0: 2, 4: 3, 2: 1; then 2 (6 pixels) touches 0 along 2 and 4 along 3
    np.testing.assert_array_equal(merge_smallest(ids, 3), np.choose(np.searchsorted([0, 2, 4, 9], ids), [0, 1, 2, 2]))
    np.testing.assert_array_equal(merge_smallest(ids, 2), np.where(ids == 0, 0, 1))
    assert (merge_smallest(ids, 1) == 0).all()
    np.testing.assert_array_equal(np.unique(merge_smallest(ids, 9)), np.arange(4))


def merged_one_by_one(ids, limit, min_area):
    """Counts all areas and borders again after each step."""
    ids = ids.copy()
    while (count := len(np.unique(ids))) > 1:
        areas = np.bincount(ids.ravel()).astype(float)
        areas[areas == 0] = np.inf
        small = int(areas.argmin())
        if count <= limit and areas[small] >= min_area:
            break
        lengths = np.zeros(len(areas), int)
        for first, second in ((ids[:, :-1], ids[:, 1:]), (ids[:-1], ids[1:])):
            for one, other in ((first, second), (second, first)):
                np.add.at(lengths, other[(one == small) & (other != small)], 1)
        ids[ids == small] = lengths.argmax()
    return ids


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize(('limit', 'min_area'), [(100, 6), (7, 0), (12, 5), (1, 0), (None, 1000)])
def test_merging_equals_counting_again_after_each_step(seed, limit, min_area):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (9, 8))
    ids = np.unique(np.kron(coarse, np.ones((2, 2), int)) * 3 + rng.integers(0, 2, (18, 16)), return_inverse=True)[1]
    ids = np.unique(ids.reshape(18, 16) + 12 * (np.arange(16) // 4), return_inverse=True)[1].reshape(18, 16)
    expected = merged_one_by_one(ids, limit or ids.size, min_area)
    np.testing.assert_array_equal(merge_targets(ids, limit, min_area)[ids], expected)


def test_merging_thousands_of_regions_needs_little_memory():
    # the matrix of all pairs would have 10 GB
    ids = np.arange(180 * 200).reshape(180, 200)
    assert len(np.unique(merge_smallest(ids, 50))) == 50


def test_felzenszwalb_is_that_of_scikit_image(image):
    expected = felzenszwalb(image, scale=50, sigma=0.5, min_size=30)
    generator = FelzenszwalbGenerator(scale=50, sigma=0.5, min_size=30)
    assert 20 < expected.max() < 256
    np.testing.assert_array_equal(generator(image), expected)


def test_felzenszwalb_stays_below_the_declared_maximum(image):
    raw = felzenszwalb(image, scale=50, sigma=0.5, min_size=30)
    ids = FelzenszwalbGenerator(scale=50, sigma=0.5, min_size=30, num_ids=12)(image)
    np.testing.assert_array_equal(np.unique(ids), np.arange(12))
    assert regions(ids) == 12
    # regions are joined, never cut
    assert all(len(np.unique(ids[raw == value])) == 1 for value in range(raw.max() + 1))


def test_felzenszwalb_on_reduced_images(image):
    height, width = image.shape[:2]
    reduced = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    expected = felzenszwalb(reduced, scale=200, sigma=0.8, min_size=20)
    found = FelzenszwalbGenerator(min_size=20, image_height=height // 2)(image)
    np.testing.assert_array_equal(found, expected.repeat(2, 0).repeat(2, 1))
    full = felzenszwalb(image, scale=200, sigma=0.8, min_size=20)
    np.testing.assert_array_equal(FelzenszwalbGenerator(min_size=20)(image), full)


def test_felzenszwalb_maps_of_a_dataset(job):
    maps = make_maps(FelzenszwalbGenerator(num_ids=9), job('superpixels/felzenszwalb'))
    assert max(maps.read(source.path, (90, 160)).max() for source in job('').images) < 9
    assert (maps.manifest.generator, maps.num_ids) == ('felzenszwalb', 9)
    assert maps.manifest.parameters == {'scale': 200.0, 'sigma': 0.8, 'min_size': 100, 'image_height': 450}


@pytest.mark.parametrize('options', [{'scale': 0.5}, {'num_ids': 0}, {'num_ids': 70000}, {'image_height': 0}])
def test_senseless_settings_of_felzenszwalb(options):
    with pytest.raises(ConfigError, match=f'felzenszwalb: {next(iter(options))}'):
        FelzenszwalbGenerator(**options)


def test_nearest_resize_keeps_pixel_centers():
    ids = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(nearest_resize(ids, (4, 6)), ids.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(nearest_resize(ids.repeat(3, 0).repeat(3, 1), (2, 3)), ids)
