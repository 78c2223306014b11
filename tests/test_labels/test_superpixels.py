import numpy as np
import pytest
from peridot.errors import ConfigError
from peridot.labels import SlicGenerator
from peridot.labels.generator import nearest_resize
from peridot.labels.superpixels import merge_smallest
from scipy import ndimage
from skimage.segmentation import slic


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
    # share of pixels that lie in the block where most of their superpixel lies
    blocks = np.arange(5 * 9).reshape(5, 9).repeat(30, 0).repeat(30, 1)
    share = [
        np.bincount((ids * 45 + blocks).ravel(), minlength=150 * 45).reshape(150, 45).max(1).sum() / ids.size
        for ids in (full, fast)
    ]
    assert share[0] > 0.8 and share[1] > share[0] - 0.03


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


def test_nearest_resize_keeps_pixel_centers():
    ids = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(nearest_resize(ids, (4, 6)), ids.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(nearest_resize(ids.repeat(3, 0).repeat(3, 1), (2, 3)), ids)
