import numpy as np
from peridot.drive_and_segment.pseudo_labels.contact_sheet import contact_sheet, nearest_rows
from peridot.maps import ImageSource
from PIL import Image


def test_nearest_rows_equal_a_sort():
    rng = np.random.default_rng(0)
    features, centers, labels = rng.normal(size=(300, 7)), rng.normal(size=(5, 7)), rng.integers(0, 5, 300)
    for cluster, rows in enumerate(nearest_rows(features, centers, labels, 4)):
        distance = np.linalg.norm(features - centers[cluster], axis=1)
        assert rows.tolist() == np.argsort(np.where(labels == cluster, distance, np.inf))[:4].tolist()


def test_a_row_for_each_cluster(tmp_path):
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = (250, 0, 0)
    Image.fromarray(image).save(tmp_path / 'a.png')
    source = ImageSource(str(tmp_path / 'a.png'))
    left, right = np.array([0, 0, 20, 30]), np.array([20, 5, 40, 25])
    sheet = contact_sheet([[(source, right)], [(source, left), (source, right)]], ['one', 'two'], np.array([7, 3]))
    assert sheet.shape == (2 * 96, 192 + 2 * 96, 3)
    # resizing reads two pixels beyond a box
    first, second = np.s_[204:274], np.s_[300:370]
    assert (sheet[:94, first] == (250, 0, 0)).all() and (sheet[:96, 288:] == 255).all()
    assert not sheet[96:190, first].any() and (sheet[96:190, second] == (250, 0, 0)).all()
    # names and sizes
    assert (sheet[:96, :192] < 128).any() and (sheet[96:, :192] < 128).any()
