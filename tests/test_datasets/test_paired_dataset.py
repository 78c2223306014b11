import pickle

import mmengine
import numpy as np
import pytest
from peridot.catalog import CATALOG
from peridot.errors import DataError
from peridot.registry import DATASETS


def error_of(function) -> str:
    with pytest.raises(DataError) as caught:
        function()
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_sample_has_canonical_cameras_and_full_paths(tiny):
    sample = tiny.build([])[1]
    assert sample['cameras'] == ['CAM_FRONT', 'CAM_BACK']
    assert sample['img_paths'][1] == str(tiny.root / 'samples/CAM_BACK/1.jpg')
    assert sample['lidar_path'] == str(tiny.root / 'samples/LIDAR_TOP/1.bin')
    assert sample['img_tokens'] == ['CAM_FRONT-1', 'CAM_BACK-1']
    assert sample['lidar2cam'].shape == sample['cam2img'].shape == (2, 4, 4)
    raw = tiny.content['data_list'][1]['images']['CAM_BACK']
    np.testing.assert_allclose(sample['lidar2cam'][1], raw['lidar2cam'])
    np.testing.assert_allclose(sample['cam2img'][1, :3, :3], raw['cam2img'])
    assert sample['token'] == 'token1'
    assert 'instances' not in sample


def test_chosen_cameras(tiny):
    assert tiny.build([], cameras=['CAM_BACK'])[0]['img_tokens'] == ['CAM_BACK-0']
    assert tiny.build([], cameras=[])[0]['lidar2cam'].shape == (0, 4, 4)
    message = error_of(lambda: tiny.build([], cameras=['CAM_LEFT']))
    assert 'CAM_LEFT' in message and 'token0' in message and 'infos.pkl' in message


def test_indices_and_test_mode(tiny):
    dataset = tiny.build([], indices=[2], test_mode=True)
    assert len(dataset) == 1
    assert dataset[0]['token'] == 'token2'
    assert dataset[0]['eval_ann_info'] == {}


def test_lidarseg_classes_agree_with_the_devkit():
    from nuscenes.eval.lidarseg.utils import LidarsegClassMapper
    from nuscenes.utils.color_map import get_colormap

    class Stub:
        lidarseg_name2idx_mapping = {name: i for i, name in enumerate(get_colormap())}

    mapper = LidarsegClassMapper(Stub())
    meta = CATALOG['nuscenes'].segmentation_meta()
    theirs = mapper.fine_idx_2_coarse_idx_mapping
    # the devkit's 0 is ignored and its classes begin at 1; here they begin at 0 and 16 is ignored
    assert meta['seg_label_mapping'] == {raw: (label - 1) % 17 for raw, label in theirs.items()}
    coarse = mapper.coarse_name_2_coarse_idx_mapping
    assert list(meta['classes']) == sorted(coarse, key=coarse.get)[1:]
    assert meta['ignore_index'] == 16


def test_metainfo_of_segmentation(tiny):
    dataset = tiny.build([])
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 16
    table = dataset[0]['seg_label_mapping']
    assert table.shape == (32,)
    assert table[[17, 24, 0, 31]].tolist() == [3, 10, 16, 16]
    own = tiny.build([], metainfo=dict(classes=['all'], ignore_index=1, seg_label_mapping={17: 0}))
    assert own.metainfo['classes'] == ['all']
    assert own[0]['seg_label_mapping'].tolist() == [-1] * 17 + [0]


def test_missing_data_root_says_how_to_get_data(tmp_path):
    config = dict(type='peridot.PairedDataset', data_root=str(tmp_path / 'nowhere'), ann_file='x.pkl', pipeline=[])
    message = error_of(lambda: DATASETS.build(config))
    for part in ('nowhere', 'tools/make_demo_data.py --out data/demo', '--data-root data/demo', 'create_data.py'):
        assert part in message


def test_missing_info_file(tiny):
    message = error_of(lambda: tiny.build([], ann_file='other.pkl'))
    assert 'other.pkl' in message and 'tools/create_data.py nuscenes' in message


@pytest.mark.parametrize(
    'content, part',
    [
        ([dict(image={}, point_cloud={})], 'mmdet3d 0.x'),
        (dict(infos=[], metadata={}), 'mmdet3d 0.x'),
        (dict(something=1), 'not an mmdet3d info file'),
        (dict(metainfo=dict(dataset='nuscenes', info_version='2.0'), data_list=[{}]), 'info version 2.0'),
        (dict(metainfo=dict(dataset='kitti', info_version='1.1'), data_list=[{}]), "'kitti'"),
        (dict(metainfo=dict(dataset='nuscenes', info_version='1.1'), data_list=[]), 'no sample'),
        (dict(metainfo=dict(dataset='nuscenes'), data_list=[dict(token='abc')]), 'abc'),
    ],
)
def test_info_file_of_another_version(tiny, content, part):
    mmengine.dump(content, tiny.root / 'infos.pkl')
    message = error_of(lambda: tiny.build([], dataset='nuscenes'))
    assert part in message and 'infos.pkl' in message


def test_truncated_info_file(tiny):
    data = pickle.dumps(tiny.content)
    (tiny.root / 'infos.pkl').write_bytes(data[: len(data) // 2])
    assert 'cannot be read' in error_of(lambda: tiny.build([]))


@pytest.mark.parametrize('key', ['lidar2cam', 'cam2img'])
@pytest.mark.parametrize('value', [None, 'absent', [[1, 2], [3, 4]], np.full((4, 4), np.nan).tolist()])
def test_camera_without_calibration_is_named(tiny, key, value):
    camera = tiny.content['data_list'][2]['images']['CAM_BACK']
    camera.pop(key)
    if value != 'absent':
        camera[key] = value
    tiny.write_infos()
    message = error_of(lambda: tiny.build([]))
    for part in ('CAM_BACK', 'token2', key, 'infos.pkl'):
        assert part in message


def test_kitti_infos(tiny):
    """mmdet3d's KITTI infos: only CAM2 has an image, no tokens, a matrix among the cameras, 4x4 intrinsics."""
    info = tiny.content['data_list'][0]
    front = info['images']['CAM_FRONT']
    intrinsic = np.eye(4)
    intrinsic[:3, :3], intrinsic[:3, 3] = front['cam2img'], (45.0, -0.3, 0.005)
    info = dict(
        sample_idx=7,
        lidar_points=dict(lidar_path='0.bin', num_pts_feats=4),
        images=dict(
            CAM0=dict(cam2img=intrinsic.tolist()),
            CAM2=dict(img_path='0.jpg', cam2img=intrinsic.tolist(), lidar2cam=front['lidar2cam']),
            R0_rect=np.eye(4).tolist(),
        ),
    )
    tiny.content = dict(metainfo=dict(dataset='kitti', info_version='1.1'), data_list=[info])
    tiny.write_infos()
    sample = tiny.build([], data_prefix=dict(pts='samples/LIDAR_TOP', img='samples/CAM_FRONT'))[0]
    assert sample['cameras'] == ['CAM2']
    assert sample['img_paths'] == [str(tiny.root / 'samples/CAM_FRONT/0.jpg')]
    assert sample['token'] == '0'
    np.testing.assert_allclose(sample['cam2img'][0], intrinsic)
