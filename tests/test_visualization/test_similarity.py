import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from peridot.cli import set_data_root
from peridot.errors import ConfigError
from peridot.hooks import FeaturePictureHook
from peridot.models.students import VoxelFeatures
from peridot.registry import DATASETS, MODELS
from peridot.structures import Pairs
from peridot.text.embeddings import TextEmbeddings
from peridot.text.prompts import read_prompts
from peridot.visualization.colors import heat_colors
from peridot.visualization.figures import DARK, Cloud, TopView
from peridot.visualization.similarity import Scan, correlation, correlation_figure, text_figure
from PIL import Image
from torch import nn

REPO = Path(__file__).resolve().parents[2]
VIOLET, YELLOW = (68, 1, 84), (253, 231, 36)


def scan(name, *features, cameras=0):
    """Points along y, one every 6 m."""
    xyz = np.array([[0.0, 6.0 * i, 0] for i in range(len(features))])
    pairs = Pairs(point=torch.tensor([0]), camera=torch.tensor([0]), position=torch.tensor([[20.0, 30.0]]))
    images = np.zeros((cameras, 40, 80, 3), np.uint8)
    cloud = Cloud(xyz, images, pairs if cameras else Pairs.empty(), TopView(20, 100))
    return Scan(name, cloud, torch.tensor(features))


def test_correlation_is_the_cosine():
    features = torch.tensor([[2.0, 0], [0, 3], [-1, 0], [1, 1]])
    torch.testing.assert_close(correlation(features[0], features), torch.tensor([1, 0, -1, 0.5**0.5]))
    assert heat_colors(torch.tensor([0.1, 0.3, -5, 9]), 0.1, 0.3).tolist() == [
        list(color) for color in (VIOLET, YELLOW, VIOLET, YELLOW)
    ]


def test_one_point_lights_up_its_like_in_every_scan():
    first = scan('one', [5.0, 0], [0, 1], cameras=1)
    second = scan('two', [0.0, 2], [0, 3], [0.1, 0])
    figure = correlation_figure([first, second], 0)
    # the scan without camera is as wide as its view, the rest is black
    assert figure.shape == (200, 300, 3) and not figure[100:, 100:].any()
    at = [100 + 50 - 15 * i for i in range(3)]
    assert [tuple(figure[row, 50]) for row in at] == [VIOLET, VIOLET, YELLOW]
    assert tuple(figure[35, 50]) == VIOLET  # the first scan's other point
    # the cross is in the first scan only
    reds = (figure == (255, 60, 60)).all(-1)
    assert reds[:100].any() and not reds[100:].any()
    assert first.cloud.nearest(1, 5) == 1


def test_one_scan_at_a_time_is_in_memory():
    alive = weakref.WeakSet()

    def scans():
        for number in range(6):
            new = scan(str(number), [5.0, 0], [0, 1])
            alive.add(new.features)
            yield new
            del new
            # the one that has just been drawn
            assert len(alive) <= 1

    assert len(correlation_figure(scans(), 0)) == 600


def test_features_of_two_networks_do_not_compare():
    with pytest.raises(ConfigError, match='scan two has features of 3 channels, one of 2'):
        correlation_figure([scan('one', [5.0, 0]), scan('two', [0.0, 2, 1])], 0)


def test_text_picture_says_what_the_colors_mean():
    plain = scan('one', [5.0, 0], [0, 1])
    figure = text_figure(plain.cloud, torch.tensor([0.1, 0.3]), 'a car', (0.1, 0.3))
    assert tuple(figure[50, 50]) == VIOLET and tuple(figure[35, 50]) == YELLOW
    assert (figure[:20] > 200).all(-1).any() and not (figure[60:] != DARK).any()


@MODELS.register_module()
class CorrelationStudent(nn.Module):
    out_channels = 6

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(4, 6)

    def forward(self, points):
        flat = torch.cat(points)
        return VoxelFeatures(self.backbone(flat / 20).tanh(), torch.arange(len(flat)))


@MODELS.register_module()
class CorrelationTeacher(nn.Module):
    out_channels, align_corners = 4, True


@pytest.fixture
def pretraining(demo_root, tmp_path):
    """Config and random weights of a pre-training on the demo."""
    config = tmp_path / 'scalr.py'
    config.write_text(
        f"_base_ = ['{REPO}/configs/_base_/datasets/demo_paired.py', '{REPO}/configs/_base_/default_runtime.py']\n"
        "model = dict(type='peridot.Pretrainer', student=dict(type='peridot.CorrelationStudent'),\n"
        "    teacher=dict(type='peridot.CorrelationTeacher'),\n"
        "    objectives=dict(distance=dict(type='peridot.FeatureDistance')),\n"
        "    heads=dict(distill=dict(type='peridot.DistillationHead')))\n"
    )
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    state = MODELS.build(Config.fromfile(config).model).state_dict()
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'weights.pth')
    return config, tmp_path / 'weights.pth'


@pytest.fixture
def visualize(run_tool, capsys, demo_root, pretraining, tmp_path):
    def call(kind, *arguments):
        run_tool('visualize', kind, *pretraining, '--data-root', demo_root, '--out', tmp_path / 'out', *arguments)
        printed = [Path(line) for line in capsys.readouterr().out.splitlines() if line.endswith('.png')]
        return {path.stem: np.asarray(Image.open(path)) for path in printed}

    return call


@pytest.fixture
def texts(tmp_path):
    prompts = read_prompts('nuscenes')
    vectors = nn.functional.normalize(torch.randn(sum(map(len, prompts.values())), 4), dim=1)
    TextEmbeddings(prompts, vectors, ('a {}.',), 'model').save(tmp_path / 'text.safetensors')
    return tmp_path / 'text.safetensors'


def test_figures_of_texts(visualize, texts):
    pictures = visualize('text', '--embeddings', texts, '--texts', 'car', 'traffic sign', '--samples', '1')
    assert [name.rsplit('_', 1)[0].split('_')[:2] for name in pictures] == [['text', 'car'], ['text', 'traffic-sign']]
    assert all(figure.std() > 5 for figure in pictures.values())


def test_any_text_with_a_text_model(visualize, monkeypatch):
    asked = []
    encoder = lambda model: lambda texts: asked.append((model, texts)) or torch.randn(len(texts), 4)  # noqa: E731
    monkeypatch.setattr('peridot.scene_figures.TextEncoder', encoder)
    (name,) = visualize('text', '--model', 'some/clip', '--texts', 'a Unicorn!', '--samples', '1')
    assert name.startswith('text_a-unicorn_')
    ((model, texts),) = asked
    assert model == 'some/clip' and 'a photo of a a Unicorn!.' in texts


def test_figures_of_correlation_over_two_configs(visualize, pretraining, demo_root):
    also = f'{pretraining[0]}={demo_root}'
    (figure,) = visualize('correlation', '--point', '0', '10', '--samples', '1', '--also', also).values()
    first, second = np.split(figure, 2)
    # the same sample twice, the second time without the cross
    assert first.std() > 5 and 0 < (first != second).any(-1).mean() < 0.01


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['text', '--texts', 'unicorn'], r"no embedding of 'unicorn': give --model for any text, or one of "),
        (['text', '--texts', 'car', '--head', 'x'], r"Pretrainer has no head 'x' \(it has distill\)"),
        (['correlation', '--point', '0', '1', '--head', 'x'], r"no head 'x': it has distill"),
        (['correlation', '--point', '0', '1', '--also', 'absent.py'], r'config absent\.py not found'),
    ],
)
def test_errors_are_one_line(visualize, texts, arguments, message):
    kind, *rest = arguments
    source = ['--embeddings', texts] if kind == 'text' else []
    with pytest.raises(SystemExit, match=message) as error:
        visualize(kind, *rest, *source, '--samples', '1')
    assert '\n' not in str(error.value)


def test_hook_draws_the_front_camera_up(pretraining, demo_root, tmp_path, monkeypatch):
    config = Config.fromfile(pretraining[0])
    set_data_root(config, str(demo_root))
    init_default_scope('mmdet3d')
    dataset = DATASETS.build(config.picture_dataset)
    model, seen = MODELS.build(config.model), []
    monkeypatch.setattr(
        'peridot.hooks.feature_picture.feature_figure', lambda *a: seen.append(a) or np.zeros((4, 4, 3), np.uint8)
    )
    # a lidar frame that looks along x, as KITTI's
    turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    original = type(dataset).get_data_info
    for matrix, forward in ((np.eye(4), (0.0, 1.0)), (turn, (1.0, 0.0))):
        monkeypatch.setattr(
            type(dataset),
            'get_data_info',
            lambda self, i, m=matrix: {**(info := original(self, i)), 'lidar2cam': info['lidar2cam'] @ m},
        )
        visualizer = SimpleNamespace(add_image=lambda *a, **k: None)
        runner = SimpleNamespace(
            hooks=[],
            work_dir=str(tmp_path),
            epoch=len(seen),
            iter=1,
            rank=0,
            model=model,
            cfg=config,
            visualizer=visualizer,
        )
        FeaturePictureHook().after_val(runner)
        assert seen[-1][1].view.forward == forward
