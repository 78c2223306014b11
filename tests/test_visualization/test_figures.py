import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from peridot.datasets.projection import project_to_cameras
from peridot.structures import Pairs
from peridot.visualization.boxes import (
    PREDICTED,
    TRUE,
    Boxes,
    detection_figure,
    draw_boxes_from_above,
    draw_boxes_on_image,
)
from peridot.visualization.colors import CORRECT, UNLABELED, WRONG, error_colors, label_colors
from peridot.visualization.figures import DARK, Cloud, TopView, feature_figure, segmentation_figure
from peridot.visualization.tsne import BalancedSample, class_map, embed

# x forward y left z up -> right x down y forward z
AHEAD = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
CAM2IMG = np.array([[100.0, 0, 80, 0], [0, 100, 45, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
CLASSES, PALETTE = ('road', 'car'), [[10, 200, 10], [10, 10, 200]]


def boxes(*rows, name='car', color=TRUE) -> Boxes:
    """x, y, z of the bottom, length, width, height, yaw."""
    corners = LiDARInstance3DBoxes(torch.tensor(rows)).corners.numpy()
    return Boxes(corners, [name] * len(rows), color)


def colored(figure, color) -> np.ndarray:
    """(M, 2) row and column of the pixels of about this color."""
    return np.argwhere((abs(figure.astype(int) - color) < 40).all(-1))


# ------------------------------------------------------------------------------------------------------- from above


def test_forward_is_up():
    assert TopView(40, 80).place(np.array([[0, 20.0], [-20, 0]])).tolist() == [[20, 40], [40, 20]]
    kitti = TopView(40, 80, (0.0, 0.0), (1.0, 0.0))
    # 20 m ahead, 20 m to the left
    assert kitti.place(np.array([[20.0, 0], [0, 20]])).tolist() == [[20, 40], [40, 20]]


@pytest.mark.parametrize('ahead_only', [False, True])
def test_view_fits_the_cloud(ahead_only):
    rng = np.random.default_rng(0)
    cloud = rng.uniform([0 if ahead_only else -30, -30, 0], [60 if ahead_only else 30, 30, 1], (5000, 3))
    view = TopView.fit(cloud, AHEAD, 100)
    assert view.forward == (1.0, 0.0)
    places = view.place(cloud[:, :2])
    assert ((places >= 0) & (places < 100)).all(1).mean() > 0.93
    row, col = view.place(np.zeros(2))
    assert col == 50 and row == pytest.approx(97.5 if ahead_only else 50)
    far = TopView.fit(cloud, AHEAD, 100, objects=np.array([[70.0, 0], [45, 8]]))
    assert (far.place(np.array([45.0, 8])) >= 0).all() and view.extent < far.extent <= 52
    assert TopView.fit(cloud).forward == (0.0, 1.0)


# ----------------------------------------------------------------------------------------------------------- classes


def test_class_and_error_colors():
    truth, predicted = np.array([0, 1, 1, 2, -1]), np.array([0, 1, 0, 0, 0])
    assert label_colors(truth, PALETTE).tolist() == [*PALETTE, PALETTE[1], list(UNLABELED), list(UNLABELED)]
    assert error_colors(truth, predicted, 2).tolist() == [
        list(c) for c in (CORRECT, CORRECT, WRONG, UNLABELED, UNLABELED)
    ]


def segmented(with_camera: bool):
    # the last point lies right above the first, one is behind the camera
    xyz = np.array([[10.0, 2, 0], [10, -2, 0], [-10, 0, 0], [10, 2, 1]])
    truth, predicted = np.array([0, 1, 0, 1]), np.array([1, 1, 0, 1])
    images = np.full((int(with_camera), 90, 160, 3), 200, np.uint8)
    pairs = project_to_cameras(xyz, AHEAD[None], CAM2IMG[None], np.array([[90, 160]])) if with_camera else Pairs.empty()
    view = TopView(20, 90, (0.0, 0.0), (1.0, 0.0))
    return segmentation_figure(Cloud(xyz, images, pairs, view), truth, predicted, CLASSES, PALETTE)


def test_segmentation_shows_truth_prediction_and_errors():
    figure = segmented(True)
    assert figure.shape[:2] == (3 * 90 + figure.shape[0] - 270, 90 + 160)
    truth, prediction, errors = figure[:90], figure[90:180], figure[180:270]
    # 10 m ahead is a quarter of the figure above its middle, 2 m to the left 4.5 pixels
    above = (22, 40)
    assert (truth[above] == PALETTE[1]).all() and (prediction[above] == PALETTE[1]).all()
    # the error shows although a right point lies above it
    assert (errors[above] == WRONG).all()
    assert (errors[22, 49] == CORRECT).all() and (errors[67, 45] == CORRECT).all()
    # on the image: 100 px * 2 m / 10 m from the middle
    on_image = (45, 90 + 60)
    assert (truth[on_image] == PALETTE[0]).all() and (prediction[on_image] == PALETTE[1]).all()
    assert (errors[on_image] == WRONG).all() and (errors[45, 90 + 100] == CORRECT).all()
    assert segmented(False).shape[1] == 90


# ------------------------------------------------------------------------------------------------------------- boxes


def test_boxes_from_above_point_ahead():
    view, figure = TopView(20, 400, (0.0, 0.0), (1.0, 0.0)), np.full((400, 400, 3), DARK, np.uint8)
    draw_boxes_from_above(figure, boxes([10.0, 5, 0, 4, 2, 1.5, 0]), view)
    drawn = colored(figure, TRUE)
    low, high = view.place(np.array([[12.0, 6], [8, 4]]))
    assert abs(drawn.min(0) - low).max() <= 2 and abs(drawn.max(0) - high).max() <= 2
    row, col = view.place(np.array([11.0, 5])).astype(int)
    assert (abs(figure[row, col].astype(int) - TRUE) < 40).all()
    row, col = view.place(np.array([9.0, 5])).astype(int)
    assert (figure[row, col] == DARK).all()


def test_boxes_on_images_are_where_they_are_seen():
    figure = np.zeros((90, 160, 3), np.uint8)
    matrix = CAM2IMG[:3] @ AHEAD
    draw_boxes_on_image(figure, boxes([10.0, 2, -1, 4, 2, 2, 0], name=''), matrix)
    drawn = colored(figure, TRUE)
    # nearest face 8 m away, y from 1 to 3, z from -1 to 1
    assert abs(drawn.min(0) - (45 - 100 / 8, 80 - 300 / 8)).max() <= 2
    assert abs(drawn.max(0) - (45 + 100 / 8, 80 - 100 / 12)).max() <= 2


def test_boxes_behind_the_camera_are_not_drawn():
    figure = np.zeros((90, 160, 3), np.uint8)
    matrix = CAM2IMG[:3] @ AHEAD
    draw_boxes_on_image(figure, boxes([-10.0, 2, -1, 4, 2, 2, 0]), matrix)
    assert not figure.any()
    # partly behind: lines leave the image instead of turning round
    draw_boxes_on_image(figure, boxes([0.0, -3, -1, 8, 2, 2, 0], name=''), matrix)
    assert (colored(figure, TRUE)[:, 1] >= 80).all() and figure.any()


def test_names_do_not_cover_each_other():
    matrix = CAM2IMG[:3] @ AHEAD
    near, far = [6.0, 0, -1, 2, 2, 2, 0], [6.5, 0, -1, 2, 2, 2, 0]

    def draw(*rows, name='') -> np.ndarray:
        figure = np.zeros((90, 160, 3), np.uint8)
        draw_boxes_on_image(figure, boxes(*rows, name=name), matrix)
        return figure

    def text(*rows) -> int:
        return (draw(*rows, name='car') != draw(*rows)).any(-1).sum()

    assert text(near, far) == text(near) > 20
    assert text([30.0, 0, -1, 2, 2, 2, 0]) == 0  # too small


@pytest.mark.parametrize('cameras', [0, 1, 6])
def test_detections_with_any_number_of_cameras(cameras):
    images = np.zeros((cameras, 90, 160, 3), np.uint8)
    matrices = [np.tile(m, (cameras, 1, 1)) for m in (AHEAD, CAM2IMG)]
    view = TopView(20, 160, (0.0, 0.0), (1.0, 0.0))
    true, found = (
        boxes([10.0, 5, 0, 4, 2, 1.5, 0]),
        boxes(color=PREDICTED) if cameras else boxes([9.0, 5, 0, 4, 2, 1.5, 0.1], color=PREDICTED),
    )
    figure = detection_figure(np.zeros((5, 3)), images, *matrices, true, found, view)
    height, width = {0: (160, 160), 1: (250, 160), 6: (270, 480)}[cameras]
    # and a legend below
    assert figure.shape[1] == width and figure.shape[0] - height in (30, 60)
    assert len(colored(figure, TRUE)) > 50
    assert not images.any()


# ---------------------------------------------------------------------------------------------------------- features


def test_the_query_is_marked():
    xyz = np.array([[5.0, 5, 0], [-20, -20, 0]])
    cloud = Cloud(xyz, np.zeros((0, 1, 1, 3), np.uint8), Pairs.empty(), TopView(40, 80))
    figure = feature_figure(torch.eye(2), cloud, 0)
    assert abs(colored(figure, (255, 60, 60)).mean(0) - (35, 45)).max() < 1.5


def test_every_class_gives_as_many_points():
    labels = np.array([0] * 50 + [1] * 3 + [7] * 9 + [-1] + [2] * 20)
    features = np.arange(len(labels))[:, None]
    first, second = BalancedSample(3, 5), BalancedSample(3, 5)
    for sample in (first, second):
        sample.add(features, labels)
    assert np.bincount(first.labels, minlength=3).tolist() == [5, 3, 5]
    assert (labels[first.features[:, 0]] == first.labels).all() and len(set(first.features[:, 0])) == 13
    assert (first.features == second.features).all()
    nothing = BalancedSample(3, 5)
    nothing.add(features[:2], np.array([-1, 9]))
    assert not len(nothing.labels)


def test_no_scan_is_preferred():
    """Neither the first nor the last: of 6000 points drawn, 1000 of each scan, within 5 standard deviations."""
    drawn = np.zeros(6)
    for seed in range(600):
        sample = BalancedSample(1, 10, seed)
        for scan in range(6):
            sample.add(np.full((30, 1), scan), np.zeros(30, int))
        drawn += np.bincount(sample.features[:, 0], minlength=6)
    assert drawn.sum() == 6000 and (abs(drawn - 1000) < 5 * np.sqrt(1000 * 5 / 6)).all()


def test_memory_of_a_sample_does_not_grow_with_the_scans():
    rng = np.random.default_rng(0)
    sample = BalancedSample(4, 10)
    for _ in range(30):
        sample.add(rng.random((500, 64), np.float32), rng.integers(0, 4, 500))
        assert sample.features.base is None and sample.features.nbytes == 4 * 10 * 64 * 4


def test_tsne_separates_groups_and_is_drawn():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    features = (np.eye(8)[labels] + 0.05 * rng.standard_normal((40, 8))) * rng.uniform(0.1, 10, (40, 1))
    positions = embed(features)
    middles = np.stack([positions[labels == k].mean(0) for k in (0, 1)])
    nearest = np.linalg.norm(positions[:, None] - middles, axis=2).argmin(1)
    assert (nearest == labels).all()
    figure = class_map(positions, labels, CLASSES, PALETTE)
    assert figure.shape == (1000, 1200, 3) and all(len(colored(figure, color)) > 200 for color in PALETTE)
