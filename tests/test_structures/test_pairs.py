import numpy as np
import pytest
import torch
from peridot.structures import NO_LABEL, Pairs

NUM_POINTS, NUM_CAMERAS = 50, 3


def make_pairs(count: int = 200, seed: int = 0) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    return Pairs(
        point=torch.randint(NUM_POINTS, (count,), generator=generator),
        camera=torch.randint(NUM_CAMERAS, (count,), generator=generator).sort().values,
        position=torch.rand(count, 2, generator=generator) * torch.tensor([30.0, 40.0]) - 0.5,
        label=torch.randint(5, (count,), generator=generator),
    )


def rows(pairs: Pairs) -> list[tuple]:
    return list(
        zip(pairs.point.tolist(), pairs.camera.tolist(), map(tuple, pairs.position.tolist()), pairs.label.tolist())
    )


def test_drop_points_renumbers_like_a_loop():
    pairs = make_pairs()
    keep = torch.rand(NUM_POINTS, generator=torch.Generator().manual_seed(1)) < 0.6
    new_row = {old: new for new, old in enumerate(keep.nonzero()[:, 0].tolist())}
    expected = [(new_row[p], *rest) for p, *rest in rows(pairs) if keep[p]]
    assert rows(pairs.drop_points(keep)) == expected
    assert 0 < len(expected) < len(pairs)


def test_resized_crop_moves_pixel_centers():
    pairs = make_pairs()
    boxes = torch.tensor([[0, 0, 30, 40], [5, 7, 10, 20], [12, 3, 9, 30]])
    expected = []
    for point, camera, (row, column), label in rows(pairs):
        top, left, height, width = boxes[camera].tolist()
        if -0.5 <= row - top < height - 0.5 and -0.5 <= column - left < width - 0.5:
            moved = ((row - top + 0.5) * 15 / height - 0.5, (column - left + 0.5) * 8 / width - 0.5)
            expected.append((point, camera, moved, label))
    cropped = pairs.resized_crop(boxes, (15, 8))
    assert cropped.point.tolist() == [row[0] for row in expected]
    assert cropped.label.tolist() == [row[3] for row in expected]
    torch.testing.assert_close(cropped.position, torch.tensor([row[2] for row in expected]), atol=1e-4, rtol=0)


def test_flip_twice_is_the_identity_and_once_mirrors_the_chosen_cameras():
    pairs = make_pairs()
    flipped = torch.tensor([True, False, True])
    once = pairs.flip(flipped, torch.tensor([40, 40, 50]))
    chosen = pairs.camera == 2
    torch.testing.assert_close(once.position[chosen, 1], 49 - pairs.position[chosen, 1])
    assert torch.equal(once.position[pairs.camera == 1], pairs.position[pairs.camera == 1])
    torch.testing.assert_close(once.flip(flipped, torch.tensor([40, 40, 50])).position, pairs.position)


def test_values_in_maps_are_those_at_the_nearest_pixels_of_the_own_camera():
    pairs = make_pairs().replace(position=torch.rand(200, 2) * torch.tensor([29.0, 39.0]))
    maps = [np.arange(30 * 40).reshape(30, 40) + 10_000 * camera for camera in range(NUM_CAMERAS)]
    expected = [maps[c][round(row), round(column)] for _, c, (row, column), _ in rows(pairs)]
    assert pairs.values_in(maps).tolist() == expected


def test_batch_offsets_points_and_cameras():
    first, second, third = make_pairs(5, 1), Pairs.empty(with_label=True), make_pairs(7, 2)
    batch = Pairs.batch([first, second, third], [50, 10, 50], [3, 2, 3])
    assert batch.point.tolist() == first.point.tolist() + (third.point + 60).tolist()
    assert batch.camera.tolist() == first.camera.tolist() + (third.camera + 5).tolist()
    assert batch.label.tolist() == first.label.tolist() + third.label.tolist()


def test_batch_fills_missing_labels():
    labeled = make_pairs(4, 1)
    bare = Pairs(point=labeled.point, camera=labeled.camera, position=labeled.position)
    batch = Pairs.batch([labeled, bare], [50, 50], [3, 3])
    assert batch.label.tolist() == labeled.label.tolist() + [NO_LABEL] * 4
    assert 'label' not in Pairs.batch([bare, bare], [50, 50], [3, 3])


@pytest.mark.parametrize('with_label', [False, True])
def test_no_pair_at_all(with_label):
    empty = Pairs.empty(with_label)
    results = [
        empty.drop_points(torch.ones(4, dtype=torch.bool)),
        empty.resized_crop(torch.tensor([[0, 0, 4, 4]]), (2, 2)),
        empty.flip(torch.tensor([True]), 4),
        empty[torch.zeros(0, dtype=torch.bool)],
        empty.to('cpu'),
        Pairs.batch([empty, empty], [3, 4], [1, 1]),
        Pairs.batch([], [], []),
    ]
    for result in results:
        assert isinstance(result, Pairs)
        assert len(result) == 0
        assert result.position.shape == (0, 2)
        assert result.point.dtype == result.camera.dtype == torch.int64
    assert all(('label' in result) == with_label for result in results[:-1])
    assert empty.count(3).tolist() == [0, 0, 0]


def test_methods_leave_the_original_alone():
    pairs = make_pairs()
    before = [field.clone() for field in (pairs.point, pairs.camera, pairs.position, pairs.label)]
    pairs.drop_points(torch.zeros(NUM_POINTS, dtype=torch.bool))
    pairs.flip(torch.ones(NUM_CAMERAS, dtype=torch.bool), 40)
    pairs.resized_crop(torch.tensor([[0, 0, 10, 10]] * NUM_CAMERAS), (5, 5))
    Pairs.batch([pairs, pairs], [50, 50], [3, 3])
    after = [pairs.point, pairs.camera, pairs.position, pairs.label]
    assert all(torch.equal(a, b) for a, b in zip(before, after))
