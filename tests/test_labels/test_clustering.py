import numpy as np
import pytest
from peridot.errors import DataError
from peridot.labels import clustering
from peridot.labels.clustering import (
    fit_kmeans,
    load_arrays,
    nearest_center,
    number_by_size,
    save_arrays,
    unit_rows,
)
from sklearn.metrics import adjusted_rand_score


def gaussians(count=60, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, count * 5, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return (8 * np.eye(5, 7)[truth] + rng.normal(size=(count * 5, 7))).astype(np.float32), truth


def test_kmeans_finds_separated_groups():
    features, truth = gaussians()
    centers, _ = fit_kmeans(features, 5, 3, 0)
    centers, labels, counts = number_by_size(centers, nearest_center(features, centers))
    assert adjusted_rand_score(truth, labels) == 1
    assert (np.diff(counts) <= 0).all() and counts.tolist() == np.bincount(labels).tolist()
    np.testing.assert_array_equal(labels, nearest_center(features, centers))
    np.testing.assert_array_equal(fit_kmeans(features, 5, 3, 0)[0], fit_kmeans(features, 5, 3, 0)[0])


def test_clusters_are_numbered_by_size():
    labels = np.repeat([0, 1, 2, 3], [2, 9, 1, 4])
    centers, renamed, counts = number_by_size(np.array([[5.0], [6], [7], [8]]), labels)
    assert counts.tolist() == [9, 4, 2, 1] and centers.ravel().tolist() == [6, 8, 5, 7]
    assert renamed.tolist() == [2] * 2 + [0] * 9 + [3] + [1] * 4


def test_nearest_center_in_blocks(monkeypatch):
    monkeypatch.setattr(clustering, 'BLOCK', 7)
    features, _ = gaussians()
    centers = features[[3, 50, 99]]
    distance = np.linalg.norm(features[:, None] - centers, axis=-1)
    np.testing.assert_array_equal(nearest_center(features, centers), distance.argmin(1))


def test_size_and_centers_follow_weights():
    """A point of weight 9 counts as nine points, for the center and for the order of the clusters."""
    features, weights = np.float32([[0, 0], [1, 0], [9, 9], [9, 8], [9, 9]]), np.array([9.0, 1, 1, 1, 1])
    centers, labels = fit_kmeans(features, 2, 1, 0, weights)
    centers, labels, sizes = number_by_size(centers, labels, weights)
    assert labels.tolist() == [0, 0, 1, 1, 1] and sizes.tolist() == [10, 3]
    np.testing.assert_allclose(centers, [[0.1, 0], [9, 26 / 3]], atol=1e-5)


def test_rows_of_length_one():
    rows = unit_rows(np.float16([[3, 4], [0, 0]]))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_damaged_arrays(tmp_path):
    path = tmp_path / 'new' / 'a.npz'
    save_arrays(path, first=np.arange(3), second=np.float16([0.5]))
    found = load_arrays(path)
    assert found['first'].tolist() == [0, 1, 2] and found['second'].dtype == np.float16
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r'a\.npz cannot be read .*: delete it and repeat the same command'):
        load_arrays(path)
