import cv2
import numpy as np
import pytest
from mmengine.fileio import dump

CAMERAS = ('CAM_FRONT', 'CAM_BACK')


def street_image(rng, height=90, width=160) -> np.ndarray:
    """Sky over road with a few boxes, slightly noisy: (height, width, 3) uint8."""
    image = np.empty((height, width, 3), np.float32)
    horizon = height // 2
    image[:horizon], image[horizon:] = (120, 170, 230), (90, 90, 95)
    for _ in range(3):
        left, top = rng.integers(0, width - 30), rng.integers(horizon - 20, horizon)
        image[top : top + 25, left : left + 28] = rng.integers(0, 255, 3)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def street(tmp_path):
    """A dataset of 4 samples with 2 cameras each: data root with images, info file and `config.py`."""
    rng = np.random.default_rng(0)
    samples = []
    for index in range(4):
        images = {}
        for camera in CAMERAS:
            path = tmp_path / 'samples' / camera / f'{index}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), street_image(rng)[..., ::-1])
            images[camera] = {
                'img_path': path.name,
                'cam2img': np.eye(3).tolist(),
                'lidar2cam': np.eye(4).tolist(),
                'sample_data_token': f'{camera}-{index}',
            }
        lidar = {'lidar_path': f'{index}.bin', 'num_pts_feats': 5}
        samples.append({'token': f'token{index}', 'lidar_points': lidar, 'images': images})
    dump(
        {'metainfo': {'dataset': 'nuscenes', 'info_version': '1.1'}, 'data_list': samples},
        tmp_path / 'infos.pkl',
    )
    (tmp_path / 'config.py').write_text(
        'train_dataloader = dict(dataset=dict(\n'
        f"    type='peridot.PairedDataset', data_root={str(tmp_path)!r}, ann_file='infos.pkl',\n"
        "    data_prefix=dict(CAM_FRONT='samples/CAM_FRONT', CAM_BACK='samples/CAM_BACK'),\n"
        "    pipeline=[dict(type='peridot.NeedsTheMapsThatAreMadeHere')]))\n"
    )
    return tmp_path
