import numpy as np
import pytest
from peridot.catalog import class_colors
from peridot.maps import Manifest
from peridot.visualization.figures import save_figure
from peridot.visualization.html import legend
from peridot.visualization.maps import YELLOW, overlay, paint
from PIL import Image

IMAGE = np.full((40, 60, 3), 200, np.uint8)


def test_labels_are_transparent_and_others_stay():
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:], labels[0] = 1, 255
    palette = np.array([[0, 0, 0], [100, 0, 0]], np.uint8)
    figure = paint(IMAGE, labels, palette, opacity=0.25)
    assert figure[1, 0].tolist() == [150, 150, 150] and figure[1, 59].tolist() == [175, 150, 150]
    assert (figure[0] == 200).all() and (IMAGE == 200).all()


@pytest.mark.parametrize('names', [['road', 'car'], [f'a class {i}' for i in range(9)]])
def test_overlay_of_labels_names_the_classes_below(names):
    labels = np.zeros((40, 60), np.uint8)
    figure = overlay(IMAGE, labels, Manifest('labels', classes=names))
    assert figure.shape[1] == 60 and len(figure) >= 40 + 30 * len(names)
    assert (abs(figure[:40] - (0.45 * 200 + 0.55 * class_colors(1)[0])) < 0.51).all()
    for color in class_colors(len(names)):
        assert (figure[40:] == color).all(-1).sum() > 100


def test_overlay_of_superpixels_draws_their_borders():
    ids = np.repeat([[0, 1]], 40, 0).repeat(30, 1)
    yellow = (overlay(IMAGE, ids, Manifest('superpixels', num_ids=2)) == YELLOW).all(-1)
    assert yellow[:, 30].all() and yellow.sum() == 40


def test_a_picture_is_kept_as_it_is(tmp_path):
    figure = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)[:, ::-1]
    save_figure(tmp_path / 'new' / 'a.png', figure)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new' / 'a.png')), figure)
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['a.png']


def test_legend_of_a_page():
    assert 'rgb(1, 2, 3)"></span> a &lt; b' in legend(['a < b'], [[1, 2, 3]])
