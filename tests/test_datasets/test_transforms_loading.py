import numpy as np
import pytest
import torch
from peridot.errors import ConfigError, DataError
from peridot.maps.folder import write_map
from peridot.structures import NO_LABEL
from PIL import Image

LOAD = [dict(type='peridot.LoadPoints'), dict(type='peridot.LoadImageViews'), dict(type='peridot.ProjectPoints')]
LABELS = [*LOAD, dict(type='peridot.LoadPairLabels')]
SEGMENTATION = [dict(type='peridot.LoadPoints'), dict(type='peridot.LoadPointLabels')]


def error_of(dataset, index: int = 0, kind: type = DataError) -> str:
    with pytest.raises(kind) as caught:
        dataset[index]
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_points_keep_the_chosen_columns(tiny):
    points = tiny.build(LOAD)[0]['points']
    np.testing.assert_array_equal(points.tensor.numpy(), tiny.cloud(0)[:, :4])
    two = tiny.build([dict(type='peridot.LoadPoints', use_dim=[0, 1, 2, 4])])[0]['points']
    np.testing.assert_array_equal(two.tensor.numpy(), tiny.cloud(0)[:, [0, 1, 2, 4]])
    scaled = tiny.build([dict(type='peridot.LoadPoints', intensity_scale=255.0)])[0]['points']
    expected = tiny.cloud(0)[:, :4] / np.array([1, 1, 1, 255], np.float32)
    np.testing.assert_array_equal(scaled.tensor.numpy(), expected)


@pytest.mark.parametrize('cut, part', [(-1, 'multiple of 20'), (-8, 'multiple of 20'), (None, '0 bytes')])
def test_point_file_of_a_wrong_length(tiny, cut, part):
    path = tiny.root / 'samples/LIDAR_TOP/0.bin'
    path.write_bytes(path.read_bytes()[:cut] if cut else b'')
    message = error_of(tiny.build(LOAD))
    assert '0.bin' in message and part in message


def test_point_file_absent_or_not_finite(tiny):
    path = tiny.root / 'samples/LIDAR_TOP/0.bin'
    cloud = tiny.cloud(0)
    cloud[3, 1] = np.nan
    cloud.tofile(path)
    assert 'not finite' in error_of(tiny.build(LOAD))
    path.unlink()
    assert '0.bin cannot be read' in error_of(tiny.build(LOAD))


def test_load_dim_of_another_dataset(tiny):
    message = error_of(tiny.build([dict(type='peridot.LoadPoints', load_dim=4)]), kind=ConfigError)
    assert 'load_dim=5' in message


def test_point_labels_are_mmdet3ds(tiny):
    theirs = tiny.build(
        [
            dict(
                type='mmdet3d.LoadAnnotations3D',
                with_bbox_3d=False,
                with_label_3d=False,
                with_seg_3d=True,
                seg_3d_dtype='np.uint8',
            ),
            dict(type='mmdet3d.PointSegClassMapping'),
        ],
        test_mode=True,
    )[0]
    ours = tiny.build(SEGMENTATION, test_mode=True)[0]
    np.testing.assert_array_equal(ours['pts_semantic_mask'], theirs['pts_semantic_mask'])
    assert ours['eval_ann_info']['pts_semantic_mask'] is ours['pts_semantic_mask']
    assert set(ours['pts_semantic_mask']) == set(range(17))


def test_bad_point_labels(tiny):
    path = tiny.root / 'lidarseg/v1.0-mini/0_lidarseg.bin'
    dataset = tiny.build(SEGMENTATION)
    path.write_bytes(path.read_bytes()[:-1])
    assert '599 bytes' in error_of(dataset)
    np.full(600, 32, np.uint8).tofile(path)
    assert 'label 32' in error_of(dataset)
    path.unlink()
    assert '0_lidarseg.bin' in error_of(dataset)
    del tiny.content['data_list'][0]['pts_semantic_mask_path']
    tiny.write_infos()
    assert 'token0' in error_of(tiny.build(SEGMENTATION))


@pytest.mark.parametrize('damage', ['absent', 'truncated'])
def test_bad_image_is_named(tiny, damage):
    path = tiny.root / 'samples/CAM_BACK/0.jpg'
    data = path.read_bytes()
    path.unlink()
    if damage == 'truncated':
        path.write_bytes(data[: len(data) // 2])
    assert 'CAM_BACK/0.jpg' in error_of(tiny.build(LOAD))


def test_pair_labels_are_read_at_the_rounded_pixel(tiny):
    sample = tiny.build(LABELS)[0]
    pairs = sample['pairs']
    expected = []
    for camera, (row, column) in zip(pairs.camera.tolist(), pairs.position.tolist()):
        name = sample['cameras'][camera]
        value = np.array(Image.open(tiny.root / f'labels/samples/{name}/0.png'))[round(row), round(column)]
        expected.append(NO_LABEL if value == 200 else int(value))
    assert pairs.label.tolist() == expected
    assert set(expected) == {0, 1, 2, NO_LABEL}
    assert pairs.label.dtype == torch.int64
    assert sample['label_classes'] == 3


@pytest.mark.parametrize('size, value, part', [((45, 80), 0, '90x160'), ((90, 160), 3, '3'), ((90, 160), 255, '255')])
def test_bad_label_map(tiny, size, value, part):
    path = tiny.root / 'labels/samples/CAM_BACK/0.png'
    write_map(path, np.full(size, value, np.uint8))
    message = error_of(tiny.build(LABELS))
    assert 'CAM_BACK/0.png' in message and part in message


def test_view_maps_mark_pixels_without_id(tiny):
    maps = [*LOAD, dict(type='peridot.LoadViewMaps', names=['superpixels', 'labels'])]
    sample = tiny.build(maps)[0]
    raw = np.array(Image.open(tiny.root / 'superpixels/samples/CAM_FRONT/0.png')).astype(int)
    expected = np.where(raw == 65535, -1, raw)
    np.testing.assert_array_equal(sample['views'].maps['superpixels'][0], expected)
    assert (expected == -1).sum() == 4 * 160
    assert sample['map_ids'] == dict(superpixels=9000, labels=3)
