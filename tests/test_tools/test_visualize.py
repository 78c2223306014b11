import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.cli import set_data_root
from peridot.registry import MODELS
from peridot.visualization.scenes import Scenes
from PIL import Image

REPO = Path(__file__).resolve().parents[2]
SEGMENTOR = REPO / 'configs/demo/minkunet18_100pct_demo.py'
DETECTOR = 'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py'


@pytest.fixture
def visualize(run_tool, capsys, demo_root, tmp_path):
    """Run the tool in this process; returns its pictures by name."""

    def call(kind: str, config, checkpoint, *arguments: str) -> dict[str, np.ndarray]:
        out = tmp_path / 'pictures'
        run_tool('visualize', kind, config, checkpoint, '--data-root', demo_root, '--out', out, *arguments)
        printed = [Path(line) for line in capsys.readouterr().out.splitlines() if line.endswith('.png')]
        assert printed and set(printed) <= set(out.iterdir())
        return {path.stem: np.asarray(Image.open(path)) for path in printed}

    return call


@pytest.fixture
def random_weights(tmp_path):
    def save(config) -> Path:
        init_default_scope('mmdet3d')
        torch.manual_seed(0)
        path = tmp_path / 'weights.pth'
        torch.save(dict(state_dict=MODELS.build(Config.fromfile(config).model).state_dict(), meta={}), path)
        return path

    return save


def test_features_of_a_pretraining(visualize, random_weights):
    config = REPO / 'configs/demo/olivine_demo.py'
    arguments = ['--samples', '1', '--point', '0', '10', '--per-class', '8']
    pictures = visualize('features', config, random_weights(config), *arguments)
    kinds = sorted(name.rsplit('_', 1)[1] for name in pictures)
    assert kinds == ['pca', 'similarity', 'tsne']
    assert all(picture.std() > 5 for picture in pictures.values())


def test_segmentation_and_features_of_a_segmentor(visualize, random_weights):
    weights = random_weights(SEGMENTOR)
    (picture,) = visualize('seg', SEGMENTOR, weights, '--samples', '1').values()
    # six cameras although the segmentor's dataset has none
    assert picture.shape[1] == 540 + 3 * 480
    reds = [(picture[540 * i : 540 * (i + 1)] == (255, 45, 45)).all(-1).sum() for i in range(3)]
    assert reds[2] > 1000 > 100 > max(reds[:2])
    assert len(visualize('features', SEGMENTOR, weights, '--samples', '1', '--per-class', '5')) == 2


def test_detections_of_an_mmdet3d_config(visualize, random_weights, tmp_path):
    config = tmp_path / 'centerpoint.py'
    # mmdet3d's own config, with a threshold that lets a random network find something
    config.write_text(f"_base_ = '{DETECTOR}'\nmodel = dict(test_cfg=dict(pts=dict(score_threshold=0.0)))\n")
    (picture,) = visualize('det', config, random_weights(config), '--samples', '1', '--score-thr', '0').values()
    assert picture.shape[1] == 1080 + 2 * 640
    assert (abs(picture.astype(int) - (70, 230, 100)) < 30).all(-1).sum() > 500


def test_page_of_a_segmentor(run_tool, random_weights, demo_root, tmp_path, capsys):
    page, weights = tmp_path / 'page.html', random_weights(SEGMENTOR)
    explore = ['explore', SEGMENTOR, weights, '--data-root', demo_root, '--out', page]
    run_tool(*explore, '--indices', 1, 0, '--points', 3000)
    assert re.search(rf'{page}: \d\.\d MB, samples: 2, cosines off by at most 0\.0', capsys.readouterr().out)
    samples = re.findall(
        '<script type="application/json" class="sample" data-name="(.): [^>]*>(.*)</script>', page.read_text()
    )
    assert [row for row, _ in samples] == ['1', '0']
    content = json.loads(samples[0][1])
    assert len(content['cameras']) == 6
    assert [coloring['title'] for coloring in content['colorings']] == ['class', 'prediction', 'height', 'intensity']
    assert len(zlib.decompress(base64.b64decode(content['xyz']))) == 3000 * 3 * 2
    with pytest.raises(
        SystemExit, match=r'^error: .*nuscenes_infos_val.pkl has no sample 99: give indices from 0 to \d+$'
    ):
        run_tool(*explore, '--indices', 99)
    with pytest.raises(SystemExit, match=r'^error: --points 0: give at least 1$'):
        run_tool(*explore, '--points', 0)


@pytest.mark.parametrize(
    'kind, config, weights, message',
    [
        ('seg', 'configs/demo/olivine_demo.py', None, 'is not a segmentor but a Pretrainer'),
        ('seg', SEGMENTOR, 'absent.pth', 'checkpoint absent.pth not found'),
        ('seg', SEGMENTOR, 'configs/demo/olivine_demo.py', 'checkpoint of another network'),
        ('det', SEGMENTOR, None, 'is not a detector but a MinkUNet'),
    ],
)
def test_errors_are_one_line(visualize, random_weights, kind, config, weights, message):
    config = REPO / config
    if weights is None:
        weights = random_weights(config)
    elif weights.endswith('.py'):
        weights = random_weights(REPO / weights)
    with pytest.raises(SystemExit, match=message) as error:
        visualize(kind, config, weights)
    assert str(error.value).startswith('error: ') and '\n' not in str(error.value)


def test_cameras_are_those_of_the_sample(demo_root):
    """Points of objects keep their place on resized images."""
    config = Config.fromfile(SEGMENTOR)
    set_data_root(config, str(demo_root))
    scenes = Scenes(config, 2)
    assert len(scenes.rows) == 2
    _, sample, row = next(iter(scenes))
    xyz = sample['inputs']['points'][:, :3].numpy()
    small, large = (scenes.cameras(row, 0, narrow=width) for width in (176, 352))
    assert small.images.shape == (6, 99, 176, 3) and large.images.shape == (6, 198, 352, 3)
    assert large.front[2, 1] > 0.99  # the front camera looks along y

    def places(cameras) -> dict[tuple[int, int], torch.Tensor]:
        pairs = cameras.pairs(xyz)
        return dict(zip(zip(pairs.point.tolist(), pairs.camera.tolist()), pairs.position))

    once, twice = places(small), places(large)
    both = [(position, twice[key]) for key, position in once.items() if key in twice]
    small_at, large_at = (torch.stack(side) for side in zip(*both))
    assert len(both) > 1000
    torch.testing.assert_close((large_at + 0.5) / 2 - 0.5, small_at, atol=1e-2, rtol=0)


def test_missing_images_are_named(demo_root, tmp_path):
    config = Config.fromfile(SEGMENTOR)
    set_data_root(config, str(demo_root))
    scenes = Scenes(config, 1)
    scenes.dataset.data_root = str(tmp_path)
    with pytest.raises(Exception, match=r'image .* of CAM_FRONT_LEFT is not below .*: set data_prefix\.CAM_FRONT_LEFT'):
        scenes.cameras(0, 0, 100)
