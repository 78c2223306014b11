"""How often a training step makes the host wait for the device: where it cannot be avoided, and nowhere else.

Counted on the CPU, by the operators that wait on a GPU, in a step after the first ones. Not counted are those inside
spconv and inside the optimizer.
"""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from peridot.cli import set_data_root
from peridot.models.counter import Counter
from peridot.models.functional import contrast
from peridot.models.functional.pairs_in_radius import CHUNK
from peridot.options import override
from peridot.registry import MODELS
from synchronizations import counted
from test_configs import ALL, data_roots, moco_file, small_config, small_data  # noqa: F401 (a fixture)
from torch import nn

# the extent of the clouds and the number of voxels
VOXELS = 2
# the grid and the number of scans: two for mmdet3d's network, one for ours
MINKUNET, RES16UNET = VOXELS + 2, VOXELS + 1
# tokens within the range and their number in every scan; scans and their tokens again, and the sizes of the planes;
# the pairs of those tokens
WAFFLEIRON = 6
# mmdet3d's voxelization (3) and sparse encoder (3), one voxel or several, the cells around the pairs' points (twice),
# the pairs within the range
CENTERPOINT = 10
# all losses and numbers for the log, in one copy
LOG = 1
WAITS = {
    'ppkt_demo': MINKUNET + LOG,
    # superpixels with points
    'slidr_demo': MINKUNET + LOG + 1,
    'slidr_res16unet18_demo': RES16UNET + LOG + 1,
    'slidr_centerpoint_demo': CENTERPOINT + LOG + 1,
    # superpixels with points, superpoints in both frames of two objectives
    'superflow_demo': MINKUNET + LOG + 3,
    # superpixels with points, points in segments once for two objectives, segments in both frames
    'seal_demo': MINKUNET + LOG + 3,
    # pairs with a label, once for two objectives
    'olivine_demo': MINKUNET + LOG + 1,
    'scalr_demo': WAFFLEIRON + LOG,
    # candidates, their blocks, those that are near (twice), crowded queries, drawn pairs, distinct supports
    'also_demo': MINKUNET + LOG + 7,
    # distinct cells, those that both scans have, those that are read
    'bevcontrast_demo': MINKUNET + LOG + 3,
    # as ALSO; the queries of the next frame, and a pair so near to the radius that it is looked at again
    'hilda_demo': MINKUNET + LOG + 7 + 2,
    # labeled points, their smallest and largest class; mmdet3d's Lovasz loss looks at each of 16 classes
    'supervised_demo': MINKUNET + LOG + 2 + 18,
}


@pytest.mark.parametrize('name', WAITS)
def test_a_step_waits_where_it_must(name, request, moco_file, tmp_path, monkeypatch):  # noqa: F811
    init_default_scope('mmdet3d')
    monkeypatch.setattr(contrast, 'BY_CLASS', set())
    monkeypatch.setitem(CHUNK, 'cpu', CHUNK['cuda'])
    path = next(path for path in ALL if path.stem == name)
    config = Config.fromfile(small_config(path, moco_file, tmp_path))
    options = [*small_data(config), 'train_dataloader.num_workers=0']
    if 'vmf' in config.model.objectives:
        options.append('model.objectives.vmf.warmup_steps=2')
    override(config, dict(option.split('=', 1) for option in options))
    set_data_root(config, data_roots(config, request))
    loader = dict(config.train_dataloader, batch_size=1, persistent_workers=False)
    (batch,) = Runner.build_dataloader(loader, seed=0)
    model = MODELS.build(config.model).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-4))
    for _ in range(3):
        model.train_step(batch, optimizer)
    with counted() as found:
        model.train_step(batch, optimizer)
    assert sum(found.values()) == WAITS[name], '\n'.join(f'{number} {line}' for line, number in found.items())


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.long().unique(),
        lambda x: torch.bincount(x.long().abs()),
        lambda x: x.repeat_interleave(torch.ones(len(x), dtype=torch.int64)),
    ],
)
def test_waiting_is_noticed(wait):
    with counted() as found:
        wait(torch.randn(5))
    assert sum(found.values()) >= 1


def test_a_counter_goes_on_where_a_checkpoint_ended():
    counter = Counter()
    for _ in range(3):
        counter.advance()
    assert int(counter) == int(counter.count) == 3
    owner, other = nn.Module(), nn.Module()
    owner.steps, other.steps = counter, Counter()
    other.load_state_dict(owner.state_dict())
    assert int(other.steps) == 3
    other.steps.set(2)
    assert int(other.steps) == int(other.steps.count) == 2
    other.steps.count.fill_(5)
    other.steps.read()
    assert int(other.steps) == 5
