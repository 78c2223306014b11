import numpy as np
from peridot.drive_and_segment.pseudo_labels.pixel_kmeans import PixelClusters, pixel_features
from peridot.maps import ImageSource
from PIL import Image


def test_clusters_of_pixels(tmp_path):
    """Two colors on two halves are found whatever the seed; position tells equal colors apart."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 250
    Image.fromarray(image).save(tmp_path / 'a.png')
    found = PixelClusters(2, per_image=50, seed=1).fit([ImageSource(str(tmp_path / 'a.png'))])(image)
    assert found.shape == (20, 30) and len(np.unique(found[:, :15])) == len(np.unique(found[:, 15:])) == 1
    assert found[0, 0] != found[0, 29]
    features = pixel_features(image).reshape(20, 30, 5)
    np.testing.assert_allclose(features[19, 29], [250 / 255] * 3 + [1, 1])
    np.testing.assert_allclose(features[0, 14], [0, 0, 0, 0, 14 / 29], rtol=1e-6)
    np.testing.assert_allclose(features[5, 3, 3:], [5 / 19, 3 / 29], rtol=1e-6)
