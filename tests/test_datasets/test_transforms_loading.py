import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample
from peridot.errors import ConfigError, DataError
from peridot.labels.convert_maps import convert_maps
from peridot.maps import write_map
from peridot.maps.manifest import RUNS
from peridot.models.pretrainer import _data_counts
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
    message = error_of(tiny.build(LOAD))
    assert 'not finite in 1 of 600 points' in message and "set nonfinite='drop' of LoadPoints" in message
    path.unlink()
    assert '0.bin cannot be read' in error_of(tiny.build(LOAD))


def test_points_that_are_finite_but_not_their_sum_are_read(tiny):
    cloud = tiny.cloud(0)
    cloud[3:6, 0] = 3e38
    cloud.tofile(tiny.root / 'samples/LIDAR_TOP/0.bin')
    np.testing.assert_array_equal(tiny.build(LOAD[:1])[0]['points'].tensor.numpy(), cloud[:, :4])
    cloud[4:6, 0] = np.inf, -np.inf
    cloud.tofile(tiny.root / 'samples/LIDAR_TOP/0.bin')
    assert 'not finite in 2 of 600 points' in error_of(tiny.build(LOAD[:1]))


@pytest.fixture
def lost_returns(tiny):
    """Rows of the first cloud that are not finite, in columns that are kept."""
    cloud = tiny.cloud(0)
    cloud[3, 1], cloud[7], cloud[20, 3] = np.nan, np.nan, np.inf
    # the ring number, which is not kept
    cloud[30, 4] = np.nan
    cloud.tofile(tiny.root / 'samples/LIDAR_TOP/0.bin')
    return [3, 7, 20]


def test_lost_returns_are_dropped_with_their_labels(tiny, lost_returns, monkeypatch):
    lines = []
    monkeypatch.setattr('peridot.datasets.transforms.loading.print_log', lambda line, *_: lines.append(line))
    raw = np.fromfile(tiny.root / 'lidarseg/v1.0-mini/0_lidarseg.bin', np.uint8)
    steps = [dict(type='peridot.LoadPoints', nonfinite='drop'), *SEGMENTATION[1:], dict(type='peridot.PackPaired')]
    dataset = tiny.build(steps, test_mode=True)
    sample, whole = dataset[0], dataset[1]
    kept = np.delete(np.arange(600), lost_returns)
    np.testing.assert_array_equal(sample['inputs']['points'].numpy(), tiny.cloud(0)[kept, :4])
    labels = sample['data_samples'].gt_pts_seg.pts_semantic_mask.numpy()
    np.testing.assert_array_equal(labels, dataset.get_data_info(0)['seg_label_mapping'][raw][kept])
    np.testing.assert_array_equal(sample['data_samples'].eval_ann_info['pts_semantic_mask'], labels)
    assert [item['data_samples'].metainfo['dropped_points'] for item in (sample, whole)] == [3, 0]
    assert len(lines) == 1 and '0.bin: 3 of 600 points are not finite' in lines[0]
    # the label file still has to be as long as the point file
    path = tiny.root / 'lidarseg/v1.0-mini/0_lidarseg.bin'
    raw[kept].tofile(path)
    assert '597 bytes' in error_of(dataset)


def test_pairs_refer_to_the_points_that_are_left(tiny, lost_returns):
    steps = [dict(type='peridot.LoadPoints', nonfinite='drop'), *LOAD[1:]]
    sample = tiny.build(steps)[0]
    kept = np.delete(np.arange(600), lost_returns)
    finite = tiny.cloud(0)
    finite[lost_returns] = 0
    finite[lost_returns, 2] = 1e6
    finite[:, 4] = 0
    finite.tofile(tiny.root / 'samples/LIDAR_TOP/0.bin')
    whole = tiny.build(LOAD)[0]['pairs']
    np.testing.assert_array_equal(kept[sample['pairs'].point.numpy()], whole.point.numpy())


def test_a_file_without_any_finite_point(tiny):
    np.full((600, 5), np.nan, np.float32).tofile(tiny.root / 'samples/LIDAR_TOP/0.bin')
    message = error_of(tiny.build([dict(type='peridot.LoadPoints', nonfinite='drop')]))
    assert 'not finite in 600 of 600 points' in message


@pytest.mark.parametrize('settings', [dict(nonfinite='keep'), dict(dtype='float16')])
def test_other_words_are_config_errors(tiny, settings):
    with pytest.raises(ConfigError, match=r"choose 'float32' or 'float64', and 'error' or 'drop'"):
        tiny.build([dict(type='peridot.LoadPoints', **settings)])


def test_training_logs_how_many_points_were_dropped():
    samples = [Det3DDataSample(metainfo=dict(dropped_points=count, skipped=0)) for count in (2, 3)]
    assert _data_counts(samples) == {'data/skipped': 0, 'data/dropped_points': 5}
    assert _data_counts([Det3DDataSample()]) == {}


def test_a_file_in_another_layout_is_recognized(tiny, demo_root):
    """A real scan's 5 float32 in a config for 4, in double precision, and cut."""
    scan = np.fromfile(next((demo_root / 'samples/LIDAR_TOP').iterdir()), np.float32).reshape(-1, 5)
    scan = scan[: len(scan) // 8 * 8]
    path = tiny.root / 'samples/LIDAR_TOP/0.bin'
    for info in tiny.content['data_list']:
        del info['lidar_points']['num_pts_feats']
    tiny.write_infos()
    four = tiny.build([dict(type='peridot.LoadPoints', load_dim=4)])
    scan.tofile(path)
    message = error_of(four)
    assert '0.bin does not look like 4 float32 per point' in message and "set load_dim=5 and dtype='float32'" in message
    scan.astype(np.float64).tofile(path)
    assert "set load_dim=5 and dtype='float64'" in error_of(tiny.build([dict(type='peridot.LoadPoints')]))
    read = tiny.build([dict(type='peridot.LoadPoints', dtype='float64')])[0]['points'].tensor
    np.testing.assert_array_equal(read.numpy(), scan[:, :4])
    assert read.dtype == torch.float32
    scan[:-1].tofile(path)
    message = error_of(tiny.build([dict(type='peridot.LoadPoints', load_dim=4)]))
    assert 'multiple of 16' in message and "restore it or set load_dim=5 and dtype='float32' of LoadPoints" in message
    # looked at once: later files cost nothing
    dataset = tiny.build([dict(type='peridot.LoadPoints')])
    dataset[1]
    scan.tofile(path)
    dataset[0]
    step = dataset.pipeline.transforms[0]
    step._likely = None
    dataset[2]


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
    with pytest.raises(DataError, match=r'1 of 4 samples of .* lack point labels \(token0\): unpack'):
        tiny.build(SEGMENTATION, missing='error')


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


@pytest.mark.parametrize('name', ['labels', 'superpixels'])
@pytest.mark.parametrize('array', [np.zeros((45, 80)), np.full((90, 160), 9500), b'half'])
def test_bad_map_of_runs(tiny, name, array):
    convert_maps(tiny.root / name, RUNS)
    path = tiny.root / f'{name}/samples/CAM_BACK/0.runs'
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        write_map(path, array, np.uint16)
    message = error_of(tiny.build([*LABELS, dict(type='peridot.LoadViewMaps')]))
    reason = {45: '45x80', 90: '9500'}.get(len(array), 'cannot be decoded (not a map of runs)')
    assert 'CAM_BACK/0.runs' in message and reason in message


@pytest.mark.parametrize('resize', ['RandomResizedCropViews', 'ResizeViews'])
def test_a_sample_is_the_same_with_either_form_of_its_maps(tiny, resize):
    steps = [dict(type=f'peridot.{resize}', size=(40, 60)), dict(type='peridot.RandomFlipViews')]
    views = dict(type='peridot.LoadViewMaps', names=['superpixels', 'labels'])

    def inputs() -> dict:
        dataset = tiny.build([*LABELS, views, *steps, dict(type='peridot.PackPaired')])
        np.random.seed(0)
        return dataset[1]['inputs']

    images = inputs()
    for name in ('labels', 'superpixels'):
        convert_maps(tiny.root / name, RUNS)
        assert not list((tiny.root / name).rglob('*.png'))
    runs = inputs()
    assert (runs['pairs'].label >= 0).any() and (runs['maps']['superpixels'] == -1).any()
    assert torch.equal(runs['pairs'].label, images['pairs'].label)
    assert torch.equal(runs['pairs'].position, images['pairs'].position)
    assert torch.equal(runs['images'], images['images'])
    assert all(torch.equal(runs['maps'][name], images['maps'][name]) for name in ('superpixels', 'labels'))


def test_view_maps_mark_pixels_without_id(tiny):
    maps = [*LOAD, dict(type='peridot.LoadViewMaps', names=['superpixels', 'labels'])]
    sample = tiny.build(maps)[0]
    raw = np.array(Image.open(tiny.root / 'superpixels/samples/CAM_FRONT/0.png')).astype(int)
    expected = np.where(raw == 65535, -1, raw)
    np.testing.assert_array_equal(sample['views'].maps['superpixels'][0], expected)
    assert (expected == -1).sum() == 4 * 160
    assert sample['map_ids'] == dict(superpixels=9000, labels=3)
