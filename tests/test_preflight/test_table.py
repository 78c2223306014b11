import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from peridot.visualization.overlays import frames_from_above
from PIL import Image


@pytest.fixture
def root(demo_root, tmp_path) -> Path:
    """A copy of the demo whose files may be removed or replaced."""
    return Path(shutil.copytree(demo_root, tmp_path / 'streets', copy_function=os.link))


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.fixture
def defects(root) -> Path:
    """The demo with ten defects."""
    path = root / 'nuscenes_infos_train.pkl'
    infos = pickle.loads(path.read_bytes())
    samples = infos['data_list']
    points = [root / 'samples/LIDAR_TOP' / sample['lidar_points']['lidar_path'] for sample in samples]
    front = [root / 'samples/CAM_FRONT' / sample['images']['CAM_FRONT']['img_path'] for sample in samples]
    labels = [root / 'lidarseg/v1.0-mini' / sample['pts_semantic_mask_path'] for sample in samples]
    points[0].unlink()
    front[1].unlink()
    labels[2].unlink()
    cloud = np.frombuffer(points[3].read_bytes(), np.float32).reshape(-1, 5).copy()
    rewrite(points[3], (cloud * np.float32([1, 1, 1, 100, 1])).tobytes())
    cloud = np.frombuffer(points[4].read_bytes(), np.float32).reshape(-1, 5).copy()
    rewrite(points[4], (cloud * np.float32([1000, 1000, 1000, 1, 1])).tobytes())
    rewrite(points[5], points[5].read_bytes()[:-3])
    front[6].unlink()
    Image.new('RGB', (100, 60)).save(front[6])
    rewrite(front[7], front[7].read_bytes()[:100])
    mirror, skyward = np.diag([1.0, 1, -1, 1]), np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    for number, matrix in ((8, mirror), (9, skyward)):
        camera = samples[number]['images']['CAM_BACK']
        camera['lidar2cam'] = (matrix @ np.array(camera['lidar2cam'])).tolist()
    rewrite(path, pickle.dumps(infos))
    return root


def test_ten_defects_are_named(defects, run_tool, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run_tool('check_data', 'configs/demo/ppkt_demo.py', '--data-root', defects, '--out', tmp_path)
    text = capsys.readouterr().out
    names = [info['token'] for info in pickle.loads((defects / 'nuscenes_infos_train.pkl').read_bytes())['data_list']]
    assert 'problems, see above' in str(stop.value)
    assert 'problem, training: 1 of 16 files with points that were looked for do not exist' in text
    assert 'problem, training: 1 of 96 files with images that were looked for do not exist' in text
    assert 'problem, fit of the probe: 1 of 16 files with labels that were looked for do not exist' in text
    unusual = [line for line in text.splitlines() if line.startswith('unusual, training')]
    for kind, name in {
        'intensities outside 0 to 255': names[3],
        'points farther than 1000 m': names[4],
        'lidar2cam is not a rotation': f'CAM_BACK of {names[8]}',
        'of the points fall on the image': f'CAM_BACK of {names[9]}',
        'images of CAM_FRONT not of 198x352': '(60x100)',
    }.items():
        assert any(kind in line and name in line for line in unusual), (kind, unusual)
    unread = next(line for line in unusual if 'cannot be read: 4' in line)
    assert 'LIDAR_TOP' in unread and 'restore' in unread


def test_sound_data_has_a_table_and_pictures(root, run_tool, tmp_path, capsys):
    run_tool('check_data', 'configs/demo/ppkt_demo.py', '--data-root', root, '--out', tmp_path, '--check', 'all')
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith('| training') and 'images' in line)
    assert [cell.strip() for cell in row.split('|')[1:-1]] == ['training', '16', '16', 'images', '96', '0', '']
    assert 'problem' not in text and 'unusual' not in text
    picture = np.asarray(Image.open(tmp_path / 'training.png'))
    assert picture.shape == (1080, 2880, 3) and picture.std() > 10
    assert (tmp_path / 'picture.png').is_file()
    assert not (tmp_path / 'training_frames.png').exists()


def test_scans_of_several_frames_are_drawn_before_and_after_the_poses(root, run_tool, tmp_path):
    run_tool('check_data', 'configs/demo/bevcontrast_demo.py', '--data-root', root, '--out', tmp_path)
    assert np.asarray(Image.open(tmp_path / 'training_frames.png')).shape == (600, 1206, 3)


def test_what_stands_still_lies_on_itself_once_the_poses_have_moved_it():
    rng, turn = np.random.default_rng(0), np.deg2rad(20)
    first = rng.uniform([-30, -30, 0], [30, 30, 2], (500, 3))
    to_first = np.eye(4)
    to_first[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    to_first[:2, 3] = 3, 1
    second = (first - to_first[:3, 3]) @ to_first[:3, :3]
    figure = frames_from_above([first, second], [np.eye(4), to_first])
    drawn = [(half.max(2) > 50).sum() for half in (figure[:, :600], figure[:, 606:])]
    assert drawn[1] < 0.6 * drawn[0]
