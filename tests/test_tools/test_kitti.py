"""Two real KITTI frames through the same contracts: an info file with `lidar_points` and `images`."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]
FRAMES = Path(os.environ.get('PERIDOT_KITTI', REPO.parent / 'shared' / 'data' / 'kitti'))

CONFIG = """
_base_ = '{repo}/configs/demo/olivine_demo.py'
kitti = dict(
    data_root='{root}',
    ann_file='kitti_infos.pkl',
    data_prefix=dict(_delete_=True, pts='training/velodyne', img='training/image_2'),
    cameras=['CAM2'],
    dataset='kitti',
)
points = dict(type='peridot.LoadPoints', load_dim=4, use_dim=4)
train_pipeline = [points, *_base_.train_pipeline[1:]]
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_dataloader.update(dataset=dict(pipeline=train_pipeline, **kitti))
picture_pipeline = [points, *[t for t in _base_.picture_pipeline[1:] if t['type'] != 'peridot.LoadPointLabels']]
picture_dataset = dict(pipeline=picture_pipeline, **kitti)
train_cfg = dict(max_epochs=2)
val_cfg = val_dataloader = val_evaluator = None
"""


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    lines = [line.split(': ') for line in path.read_text().splitlines() if line]
    return {name: np.array(values.split(), float) for name, values in lines}


def homogeneous(matrix: np.ndarray) -> np.ndarray:
    result = np.eye(4)
    result[: matrix.shape[0], : matrix.shape[1]] = matrix
    return result


@pytest.fixture
def kitti_root(tmp_path) -> Path:
    if not FRAMES.is_dir():
        pytest.skip(f'{FRAMES} is absent: set PERIDOT_KITTI to a KITTI object folder with frames 000000 and 000001')
    root = tmp_path / 'kitti'
    root.mkdir()
    (root / 'training').symlink_to(FRAMES.resolve() / 'training')
    infos = []
    for frame in ('000000', '000001'):
        calibration = read_calibration(root / f'training/calib/{frame}.txt')
        rectify = homogeneous(calibration['R0_rect'].reshape(3, 3))
        lidar2cam = rectify @ homogeneous(calibration['Tr_velo_to_cam'].reshape(3, 4))
        camera = dict(
            img_path=f'{frame}.png', cam2img=homogeneous(calibration['P2'].reshape(3, 4)), lidar2cam=lidar2cam
        )
        infos.append(
            dict(
                sample_idx=int(frame),
                images=dict(CAM2=camera),
                lidar_points=dict(lidar_path=f'{frame}.bin', num_pts_feats=4),
            )
        )
    content = dict(metainfo=dict(dataset='kitti', info_version='1.1'), data_list=infos)
    (root / 'kitti_infos.pkl').write_bytes(pickle.dumps(content))
    return root


def run_tool(tool: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, f'tools/{tool}.py', *arguments], cwd=REPO, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def test_projected_points_lie_on_their_objects(kitti_root):
    """Points inside a labeled 3D box project into the 2D box an annotator drew around the object."""
    from peridot.datasets.projection import project_to_cameras

    with (kitti_root / 'kitti_infos.pkl').open('rb') as file:
        info = pickle.load(file)['data_list'][0]
    points = np.fromfile(kitti_root / 'training/velodyne/000000.bin', np.float32).reshape(-1, 4)
    camera = info['images']['CAM2']
    pairs = project_to_cameras(
        points[:, :3], camera['lidar2cam'][None], camera['cam2img'][None], np.array([[370, 1224]])
    )
    fields = (kitti_root / 'training/label_2/000000.txt').read_text().splitlines()[0].split()
    assert fields[0] == 'Pedestrian'
    left, top, right, bottom, height, width, length, x, y, z, yaw = map(float, fields[4:15])
    in_camera = points[:, :3] @ camera['lidar2cam'][:3, :3].T + camera['lidar2cam'][:3, 3] - (x, y, z)
    along = np.cos(yaw) * in_camera[:, 0] - np.sin(yaw) * in_camera[:, 2]
    across = np.sin(yaw) * in_camera[:, 0] + np.cos(yaw) * in_camera[:, 2]
    inside = (abs(along) < length / 2) & (abs(across) < width / 2) & (in_camera[:, 1] < 0) & (in_camera[:, 1] > -height)
    assert inside.sum() > 100
    row, col = pairs.position[inside[pairs.point.numpy()]].numpy().T
    assert len(row) == inside.sum()
    assert ((col > left - 3) & (col < right + 3) & (row > top - 3) & (row < bottom + 3)).mean() > 0.99


def test_olivine_trains_on_real_frames(kitti_root, tmp_path):
    config = tmp_path / 'olivine_kitti.py'
    config.write_text(CONFIG.format(repo=REPO, root=kitti_root))
    run_tool('make_weak_labels', str(config), '--workers', '1')
    output = run_tool('train', str(config), '--work-dir', str(tmp_path / 'work'))
    assert output.count('loss:') >= 2 and 'nan' not in output.lower()
    assert list((tmp_path / 'work' / 'pictures').glob('*.png'))
