import numpy as np
import pytest
import torch
from peridot.drive_and_segment.pseudo_labels.segment_features import (
    SegmentEncoder,
    SegmentInputs,
    crop_segments,
    encode_images,
    segment_boxes,
)
from peridot.errors import ConfigError

CNN = dict(type='peridot.TimmTeacher', model='test_efficientnet', weights=None)
VIT = dict(type='peridot.TimmTeacher', model='test_vit', weights=None)


def some_regions(seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    regions = np.ones((40, 60), np.uint16)
    for number in (2, 3, 5):
        top, left = rng.integers(0, 25, 2)
        regions[top : top + 12, left : left + 9 + number] = number
    regions[0] = 0
    return regions


def test_boxes_equal_a_loop():
    regions = some_regions()
    ids, boxes, pixels = segment_boxes(regions)
    assert ids.tolist() == sorted(set(np.unique(regions)) - {0, 1})
    for number, box, count in zip(ids, boxes, pixels):
        rows, columns = np.nonzero(regions == number)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] and count == len(rows)
    assert [len(part) for part in segment_boxes(np.ones((5, 5), int))] == [0, 0, 0]


def test_crops_show_the_box():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    regions = np.zeros((40, 60), np.uint16)
    regions[10:18, 20:28] = 2
    regions[12, 22] = 0
    crop = crop_segments(image, regions, 8).inputs[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(crop, image[10:18, 20:28])
    crop = crop_segments(image, regions, 16, context=1.0).inputs[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(crop, image[6:22, 16:32])
    crop = crop_segments(image, regions, 8, mask_background=True).inputs[0].transpose(1, 2, 0)
    assert crop[2, 2].tolist() == [124, 116, 104]
    crop[2, 2] = image[12, 22]
    np.testing.assert_array_equal(crop, image[10:18, 20:28])


@pytest.mark.parametrize('pool', ['class', 'mean', 'mask'])
def test_features_do_not_depend_on_batches(pool):
    torch.manual_seed(0)
    encoder = SegmentEncoder(VIT if pool == 'class' else CNN, pool)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(4)]
    # the second image has no segment
    maps = [some_regions(0), np.ones((40, 60), np.uint16), some_regions(2), some_regions(3)]
    side = 160 if pool == 'class' else 64

    def inputs():
        return map(SegmentInputs(pool, crop_size=side, image_height=64), images, maps)

    failures = []
    found = list(encode_images(encoder, inputs(), 4, failures))
    assert not failures
    assert [len(part) for _, part in found] == [len(segment_boxes(regions)[0]) for regions in maps]
    assert encoder.seconds > 0
    for (own, part), image in zip(found, inputs()):
        np.testing.assert_array_equal(own.boxes, image.boxes)
        for index, feature in enumerate(part):
            if pool == 'mask':
                grid = encoder.teacher(torch.from_numpy(image.inputs.copy())).float()
                # every output position is weighted by how much of the segment reads it
                weight = torch.zeros(1, 1, *grid.shape[-2:], requires_grad=True)
                full = torch.nn.functional.interpolate(
                    weight, image.regions.shape, mode='bilinear', align_corners=encoder.teacher.align_corners
                )
                mask = torch.from_numpy(image.regions == index)
                (part_of,) = torch.autograd.grad(full[0, 0][mask].mean(), weight)
                expected = (grid * part_of).sum((0, 2, 3)).numpy()
            else:
                crop = torch.from_numpy(image.inputs[index : index + 1].copy())
                if pool == 'mean':
                    expected = encoder.teacher(crop).mean((2, 3))[0].numpy()
                else:
                    teacher = encoder.teacher
                    with torch.no_grad():
                        tokens = teacher.network.forward_features((crop / 255.0 - teacher.mean) / teacher.std)
                    expected = tokens[0, 0].numpy()
            np.testing.assert_allclose(feature, expected, rtol=1e-3, atol=1e-4)


def test_a_network_without_class_token():
    with pytest.raises(ConfigError, match=r"test_efficientnet has no class token: set pseudo_labels\.pool='mean'"):
        SegmentEncoder(CNN, 'class')
