"""The example of docs/frames.md: an objective over frames costs a file, a config and a test; this is the test."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from peridot.registry import DATASETS, MODELS
from peridot.structures import Frames
from tiny import make_batch
from torch import nn

REPO = Path(__file__).resolve().parents[2]
OBJECTIVE, CONFIG = re.findall(r'```python\n(.*?)```', (REPO / 'docs/frames.md').read_text(), re.S)[-2:]


@pytest.fixture(scope='module')
def objective():
    """The class of the page, which is registered once in a process."""
    if 'FrameConsistency' not in MODELS.module_dict:
        exec(OBJECTIVE, {})
    return MODELS.get('FrameConsistency')


class Features(nn.Module):
    """Gives unit features as they are."""

    channels = 2

    def embed_student(self, features):
        return features


def two_frames():
    """Two places, seen from the origin and from 10 m ahead; the second scan has a third point."""
    key = torch.tensor([[12.0, 0, 0], [15, 3, 0]])
    later = torch.tensor([[5.0, 3, 0], [2, 0, 0], [30, 0, 0]])
    ahead = torch.eye(4)
    ahead[0, 3] = 10
    frames = Frames.batch([Frames.cat([Frames.single(2), Frames.single(3, frame=1, time=1.0, to_sample=ahead)])])
    features = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1], [1, 0]])
    return make_batch(
        torch.cat([key, later]), features, {'instance': Features()}, scan=torch.tensor([0, 0, 1, 1, 1]), frames=frames
    )


def test_places_are_found_in_the_other_frame(objective):
    # the first place has another feature there, the second the same
    results = objective()(two_frames())
    assert results['loss'] == pytest.approx(0.5) and results['places'] == 2


def test_without_other_frames_there_is_nothing_to_learn(objective):
    batch = make_batch(torch.rand(5, 3), torch.rand(5, 2), {'instance': Features()})
    results = objective()(batch)
    assert results['loss'] == 0 and results['places'] == 0


def test_the_config_trains(objective, demo_root, tmp_path):
    path = tmp_path / 'frames_demo.py'
    path.write_text(CONFIG.replace('./ppkt_demo.py', str(REPO / 'configs/demo/ppkt_demo.py')))
    config = Config.fromfile(path)
    settings = config.train_dataloader.dataset
    settings.update(data_root=str(demo_root), cameras=['CAM_FRONT'])
    dataset = DATASETS.build(settings)
    row = next(row for row in range(len(dataset)) if dataset.get_data_info(row)['frames'])
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    results = model(**model.data_preprocessor(pseudo_collate([dataset[row]]), True), mode='loss')
    assert results['frames/places'] > 1000 and 0 < results['frames/loss'] < 2
    sum(value for name, value in results.items() if 'loss' in name).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
