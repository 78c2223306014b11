import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmseg')

from mmengine.registry import DefaultScope
from peridot.catalog import class_colors
from peridot.drive_and_segment.segmentor import segment_images
from peridot.drive_and_segment.segmentor.segment_images import ImageSegmentor, class_palette, cluster_palette
from peridot.errors import CheckpointError, DataError
from peridot.registry import MODELS

REPO = Path(__file__).resolve().parents[2]
SIZE = (40, 56)
CONFIG = f"""
_base_ = {str(REPO / 'configs' / 'drive_and_segment' / 'eval_cityscapes.py')!r}
model = dict(
    backbone=dict(embed_dims=8, num_layers=1, num_heads=1),
    decode_head=dict(in_channels=8, channels=8, embed_dims=8, num_heads=1, num_classes=5),
    test_cfg=dict(crop_size=(32, 32), stride=(16, 16)),
)
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """Config and checkpoint of a tiny network whose clusters differ between pixels."""
    folder = tmp_path_factory.mktemp('network')
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    config.write_text(CONFIG)
    torch.manual_seed(5)
    with DefaultScope.overwrite_default_scope('mmseg'):
        content = Config.fromfile(config)
        state = MODELS.build(content.model).state_dict()
    state = {name: torch.randn_like(tensor) for name, tensor in state.items()}
    # all in one file: it is read for every call
    content.dump(config)
    torch.save({'state_dict': {**state, 'teacher.steps': torch.zeros(1)}}, checkpoint)
    return config, checkpoint


@pytest.fixture
def pictures(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ('a.png', 'deep/b.jpg'):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(path)
    return tmp_path / 'in'


@pytest.fixture
def matching(tmp_path) -> Path:
    path = tmp_path / 'matching.json'
    content = dict(classes=['road', 'car'], palette=[[128, 64, 128], [0, 0, 142]], matching=[1, -1, 0, -1, 1])
    path.write_text(json.dumps(content))
    return path


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_pictures_of_a_folder(trained, pictures, matching, tmp_path, run_tool):
    out = tmp_path / 'out'
    run_tool('segment_images', *trained, pictures, out, '--matching', matching, '--opacity', 1)
    segmentor = ImageSegmentor(Config.fromfile(trained[0]), str(trained[1]))
    for name in ('a.png', 'deep/b.jpg'):
        clusters = segmentor(read(pictures / name))
        assert clusters.shape == SIZE and len(np.unique(clusters)) > 1
        place = Path(name).with_suffix('.png')
        np.testing.assert_array_equal(read(out / 'clusters' / place), class_colors(5)[clusters])
        colors = np.array([[0, 0, 142], [0, 0, 0], [128, 64, 128], [0, 0, 0], [0, 0, 142]])
        np.testing.assert_array_equal(read(out / 'classes' / place), colors[clusters])
    # what exists stays; what is lost comes back
    (out / 'clusters' / 'a.png').unlink()
    (out / 'clusters' / 'deep' / 'b.png').write_bytes(b'kept')
    run_tool('segment_images', *trained, pictures, out)
    assert (out / 'clusters' / 'a.png').is_file() and (out / 'clusters' / 'deep' / 'b.png').read_bytes() == b'kept'


def test_an_image_that_cannot_be_read(trained, pictures, tmp_path, run_tool):
    (pictures / 'a.png').write_bytes(b'no image')
    with pytest.raises(
        SystemExit, match=r'error: .*a\.png is not an image or is damaged.* \(1 images were left out'
    ) as end:
        run_tool('segment_images', *trained, pictures, tmp_path / 'out')
    # a text ends the process with status 1
    assert isinstance(end.value.code, str)
    assert [path.name for path in (tmp_path / 'out').rglob('*.png')] == ['b.png']


def test_an_image_that_exhausts_memory(trained, pictures, tmp_path, run_tool, monkeypatch):
    segment = ImageSegmentor.__call__

    def exhausted(self, image):
        if image.shape[0] > SIZE[0]:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return segment(self, image)

    Image.new('RGB', (90, 60)).save(pictures / 'large.png')
    # the program imports the module in this process
    monkeypatch.setattr(ImageSegmentor, '__call__', exhausted)
    arguments = ['segment_images', *trained, pictures, tmp_path / 'out']
    with pytest.raises(SystemExit, match=r'error: image .*large\.png needs more memory .*\(1 images were left out'):
        run_tool(*arguments)
    assert sorted(path.name for path in (tmp_path / 'out').rglob('*.png')) == ['a.png', 'b.png']
    monkeypatch.undo()
    run_tool(*arguments)
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 3


def test_a_video(trained, tmp_path, monkeypatch, matching, run_tool):
    video, frames = tmp_path / 'drive.avi', 3
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE[::-1])
    for number in range(frames):
        writer.write(np.full((*SIZE, 3), 60 * number, np.uint8))
    writer.release()
    run_tool('segment_images', *trained, video, tmp_path / 'out', '--matching', matching)
    for name in ('drive_clusters.mp4', 'drive_classes.mp4'):
        reader = cv2.VideoCapture(str(tmp_path / 'out' / name))
        assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == frames and reader.get(cv2.CAP_PROP_FPS) == 10
        assert reader.read()[1].shape == (*SIZE, 3)
    assert len(list((tmp_path / 'out').iterdir())) == 2
    monkeypatch.setattr(segment_images.cv2, 'VideoCapture', None)
    run_tool('segment_images', *trained, video, tmp_path / 'out', '--matching', matching)


def test_a_damaged_video(trained, tmp_path, run_tool):
    (tmp_path / 'drive.mp4').write_bytes(b'no video')
    with pytest.raises(SystemExit, match=r'error: the video .*drive\.mp4 cannot be read: convert it'):
        run_tool('segment_images', *trained, tmp_path / 'drive.mp4', tmp_path / 'out')
    assert not list((tmp_path / 'out').iterdir())


def test_colors_over_the_image():
    image, clusters = np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]])
    painted = cluster_palette(2).paint(image, clusters, 0.25)
    np.testing.assert_array_equal(painted, np.rint(75 + 0.25 * class_colors(2)[clusters]))


def test_inputs_that_are_none(trained, pictures, matching, tmp_path, run_tool):
    with pytest.raises(SystemExit, match='nowhere is neither a folder of images nor a video'):
        run_tool('segment_images', *trained, tmp_path / 'nowhere', tmp_path / 'out')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit, match='empty holds no image'):
        run_tool('segment_images', *trained, tmp_path / 'empty', tmp_path / 'out')
    with pytest.raises(SystemExit, match=r'--opacity 2\.0 must be above 0'):
        run_tool('segment_images', *trained, pictures, tmp_path / 'out', '--opacity', 2)
    (pictures / 'a.jpg').write_bytes((pictures / 'a.png').read_bytes())
    with pytest.raises(SystemExit, match=r'a\.jpg and .*a\.png would be written to one file: rename one'):
        run_tool('segment_images', *trained, pictures, tmp_path / 'out')
    with pytest.raises(DataError, match='is of 5 clusters, the network has 31'):
        class_palette(str(matching), 31)
    with pytest.raises(DataError, match=r'the matching .*none\.json cannot be read .* writes matching\.json'):
        class_palette(str(tmp_path / 'none.json'), 31)


def test_a_checkpoint_of_another_network(trained, tmp_path):
    state = torch.load(trained[1], weights_only=True)['state_dict']
    state['decode_head.cls_emb'] = torch.zeros(1, 7, 8)
    torch.save({'state_dict': state}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r"is of another network \(1 tensors differ, first 'decode_head\.cls_emb"):
        ImageSegmentor(Config.fromfile(trained[0]), str(tmp_path / 'other.pth'))
