import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from peridot.catalog import CATALOG
from peridot.errors import ConfigError, DataError
from peridot.evaluation.discovery import DiscoveryLoop, fit_foreground_head
from peridot.evaluation.foreground_metric import ForegroundMetric, binary_truth
from peridot.evaluation.found import background_patches, class_attention, find_background
from peridot.models.students import VoxelFeatures
from peridot.models.teachers import TimmTeacher
from peridot.registry import MODELS
from peridot.visualization.figures import TopView
from peridot.visualization.foreground import PALETTE, foreground_figure
from PIL import Image
from torch import nn

NETWORK = dict(type='peridot.TimmTeacher', model='test_vit', weights=None, final_norm=False)
SIZE = (48, 80)


@MODELS.register_module(force=True)
class DiscoveryTestStudent(nn.Linear):
    out_channels = 8

    def __init__(self):
        super().__init__(4, 8)

    def forward(self, points):
        flat = super().forward(torch.cat(points))
        return VoxelFeatures(flat, torch.arange(len(flat)))


def test_background_patches_equal_the_formula():
    g = torch.Generator().manual_seed(0)
    images, heads, patches, channels = 3, 4, 12, 5
    attention = torch.rand(images, heads, patches, generator=g).square()
    keys = torch.randn(images, heads, patches, channels, generator=g)
    seeds, background = background_patches(attention, keys, 0.2)
    for m in range(images):
        a, k = attention[m].tolist(), keys[m].tolist()
        mean = sum(map(sum, a)) / (heads * patches)
        q = [sum(value > mean for value in row) / patches for row in a]
        beta = [math.log(sum(x + 1e-10 for x in q) / (q[h] + 1e-10)) for h in range(heads)]
        scores = [sum(beta[h] * a[h][p] for h in range(heads)) for p in range(patches)]
        seed = scores.index(min(scores))
        described = [[beta[h] * x for h in range(heads) for x in k[h][p]] for p in range(patches)]
        lengths = [math.sqrt(sum(x * x for x in row)) for row in described]
        cosine = [
            sum(x * y for x, y in zip(row, described[seed])) / (length * lengths[seed])
            for row, length in zip(described, lengths)
        ]
        assert int(seeds[m]) == seed
        assert background[m].tolist() == [value > 0.2 for value in cosine]
    assert background.any() and not background.all()


def test_attention_is_that_of_the_last_block():
    torch.manual_seed(0)
    teacher = TimmTeacher('test_vit', weights=None, final_norm=False, out_index=2)
    block = teacher.network.blocks[2]
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.2)
    images = torch.rand(2, 3, *SIZE)
    inputs, outputs = [], []
    block.attn.proj.register_forward_pre_hook(lambda _, args: outputs.append(args[0]))
    block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    seen = class_attention(teacher, images)
    features = teacher(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(seen.features, F.normalize(features, dim=2))
    _, _, value = block.attn.qkv(inputs[0]).unflatten(2, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    # what the network itself mixes for the class token
    own = 1 - seen.attention.sum(2, keepdim=True)
    mixed = torch.cat([own, seen.attention], 2)[:, :, None] @ value
    torch.testing.assert_close(mixed.transpose(1, 2).flatten(2)[:, 0], outputs[0][:, 0], atol=1e-5, rtol=1e-4)
    assert seen.attention.shape == (2, block.attn.num_heads, 15)
    assert seen.keys.shape == (2, block.attn.num_heads, 15, value.shape[3])


def test_seeds_are_background():
    torch.manual_seed(0)
    teacher = MODELS.build(NETWORK)
    features, background, seeds = find_background(teacher, torch.rand(3, 3, *SIZE), 0.3)
    assert all(is_background[(f @ s).argmax()] for f, is_background, s in zip(features, background, seeds))


@pytest.mark.parametrize(
    'teacher', [dict(NETWORK, model='resnet18'), dict(type='peridot.StoredTeacher', teacher=NETWORK, out_channels=64)]
)
def test_teachers_without_attention(teacher):
    with pytest.raises(ConfigError, match=r'class token.*model\.teacher'):
        class_attention(MODELS.build(teacher), torch.rand(1, 3, *SIZE))


def test_attention_with_rotated_positions_is_refused():
    """Without the rotation the attention would be another one."""
    teacher = MODELS.build(dict(NETWORK, model='vit_small_patch16_dinov3', out_index=0))
    with pytest.raises(ConfigError, match=r'DINOv3.*set model\.teacher\.model'):
        class_attention(teacher, torch.rand(1, 3, *SIZE))


def test_head_learns_which_patches_are_foreground():
    g = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(4000, 16, generator=g), dim=1)
    direction = F.normalize(torch.randn(16, generator=g), dim=0)
    foreground = features @ direction > 0.2
    first, second = (fit_foreground_head(features[:3000], foreground[:3000], batch_size=500) for _ in range(2))
    right = (first(features[3000:])[:, 0] > 0) == foreground[3000:]
    assert right.float().mean() > 0.97
    assert torch.equal(first.weight, second.weight) and not first.weight.requires_grad


def scan(truth, **predicted):
    return dict(
        eval_ann_info=dict(pts_semantic_mask=np.array(truth)),
        pred_foreground={name: torch.tensor(values, dtype=torch.bool) for name, values in predicted.items()},
    )


def metric(meta, **settings):
    found = ForegroundMetric(prefix='discovery', **settings)
    found.dataset_meta = meta
    return found


def test_metrics_of_a_small_scan():
    meta = {**CATALOG['nuscenes'].segmentation_meta(), 'dataset': 'nuscenes'}
    car, road, ignored = meta['classes'].index('car'), meta['classes'].index('driveable_surface'), 16
    evaluator = metric(meta)
    # 3 of 4 foreground points found, one background point taken for foreground; ignored ones count nowhere
    evaluator.process({}, [scan([car, car, road, ignored], **{'head': [1, 1, 1, 1], 'seed@0.1': [0, 0, 0, 0]})])
    evaluator.process({}, [scan([car, car, road, road], **{'head': [1, 0, 0, 0], 'seed@0.1': [0, 0, 0, 0]})])
    found = evaluator.evaluate(8)
    expected = dict(iou_fg=3 / 5, iou_bg=2 / 4, iou_mean=0.55, f1_fg=6 / 8, accuracy=5 / 7)
    assert found == pytest.approx(
        {**{f'discovery/head/{key}': value for key, value in expected.items()}, 'discovery/seed@0.1/iou_mean': 3 / 14}
    )


def test_foreground_of_known_datasets():
    nuscenes = {**CATALOG['nuscenes'].segmentation_meta(), 'dataset': 'nuscenes'}
    assert binary_truth(np.arange(18), nuscenes).tolist() == [1] * 10 + [0] * 6 + [-1, -1]
    kitti = {**CATALOG['semantickitti'].segmentation_meta(), 'dataset': 'semantickitti'}
    assert binary_truth(np.arange(-1, 20), kitti).tolist() == [-1] + [1] * 8 + [0] * 11 + [-1]
    assert set(CATALOG['nuscenes'].foreground) < set(nuscenes['classes'])


def test_foreground_that_is_not_known():
    meta = dict(classes=('car', 'road'), ignore_index=2, dataset='own')
    with pytest.raises(ConfigError, match=r"'own' is not known.*val_evaluator.foreground.*car, road"):
        metric(meta).process({}, [scan([0, 1], head=[1, 0])])
    with pytest.raises(ConfigError, match="'bus' is not among"):
        metric(meta, foreground=['bus']).process({}, [scan([0, 1], head=[1, 0])])
    evaluator = metric(meta, foreground=['car'])
    evaluator.process({}, [scan([2, 2], head=[1, 0])])
    with pytest.raises(DataError, match='no point'):
        evaluator.evaluate(2)


def make_runner(root, folder, *, images=True, **model) -> Runner:
    dataset = dict(
        type='peridot.PairedDataset',
        data_root=str(root),
        ann_file='nuscenes_infos_val.pkl',
        data_prefix=dict(
            pts='samples/LIDAR_TOP',
            pts_semantic_mask='lidarseg/v1.0-mini',
            CAM_FRONT='samples/CAM_FRONT',
            CAM_BACK='samples/CAM_BACK',
        ),
        cameras=['CAM_FRONT', 'CAM_BACK'],
        dataset='nuscenes',
        indices=2,
        serialize_data=False,
        test_mode=True,
        pipeline=[
            dict(type='peridot.LoadPoints', load_dim=5, use_dim=4),
            dict(type='peridot.LoadPointLabels'),
            dict(type='peridot.LoadImageViews'),
            dict(type='peridot.ProjectPoints'),
            dict(type='peridot.ResizeViews', size=SIZE),
            dict(type='peridot.PackPaired'),
        ],
    )
    loader = dict(
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dataset,
    )
    without = dict(dataset, cameras=[], pipeline=[*dataset['pipeline'][:2], dataset['pipeline'][-1]])
    settings = dict(
        type='peridot.Pretrainer',
        student=dict(type='peridot.DiscoveryTestStudent'),
        teacher=NETWORK,
        heads=dict(distill=dict(type='peridot.DistillationHead')),
        objectives=dict(distance=dict(type='peridot.FeatureDistance')),
    )
    return Runner(
        model={**settings, **model},
        work_dir=str(folder),
        val_dataloader=loader if images else dict(loader, dataset=without),
        val_cfg=dict(type='peridot.DiscoveryLoop', fit_dataloader=loader, fit_samples=1, sweep=(-1.0, 0.5)),
        val_evaluator=dict(type='peridot.ForegroundMetric', prefix='discovery'),
        default_scope='mmdet3d',
        default_hooks=dict(checkpoint=None),
        experiment_name=folder.name,
        randomness=dict(seed=0),
    )


@pytest.mark.parametrize('images', [True, False])
def test_loop_reports_both_ways(demo_root, tmp_path, images):
    runner = make_runner(demo_root, tmp_path, images=images)
    found = runner.val()
    assert set(found) == {
        *(f'discovery/{way}/{key}' for way in ('head', 'seed') for key in FORMULAS),
        'discovery/seed@-1/iou_mean',
        'discovery/seed@0.5/iou_mean',
    }
    # no point has a cosine similarity below -1, so none is foreground
    truth = [
        binary_truth(sample['data_samples'].gt_pts_seg.pts_semantic_mask.numpy(), META) for sample in samples(runner)
    ]
    background = np.mean(np.concatenate(truth)[np.concatenate(truth) >= 0] == 0)
    assert found['discovery/seed@-1/iou_mean'] == pytest.approx(background / 2)
    loop = runner.val_loop
    assert float(loop.mean_seed.norm()) == pytest.approx(1) and [
        len(b['data_samples']) for b in loop.fit_dataloader
    ] == [1]
    # 2 images of the sample with 3 x 5 patches: the memory does not follow from the number of evaluated scans
    with torch.no_grad():
        assert [part.shape for part in loop._collect()] == [(2 * 15, 64), (2 * 15,), (2, 64)]
    picture = np.asarray(Image.open(tmp_path / 'pictures' / 'discovery_epoch_0.png'))
    assert picture.shape[1] == 3 * 600
    # what the loop sees of a scan, once more by hand
    model = runner.model
    inputs = model.data_preprocessor(dict(inputs={k: [v] for k, v in samples(runner)[0]['inputs'].items()}))['inputs']
    (embedded,) = model.embed_points(inputs['points'], 'distill')
    u = F.normalize(
        model.heads['distill'].student(model.student(inputs['points']).at(torch.arange(len(embedded)))), dim=1
    )
    torch.testing.assert_close(embedded, u)
    prototypes = find_background(model.teacher, inputs['images'], 0.3)[2] if images else loop.mean_seed
    predicted = loop.predict(embedded, prototypes)
    cosine = torch.stack([u @ p for p in prototypes]).max(0).values
    assert torch.equal(predicted['seed@0.5'], cosine <= 0.5) and torch.equal(predicted['seed'], cosine <= 0.3)
    assert torch.equal(predicted['head'], loop.classifier(u)[:, 0].sigmoid() > 0.5)


FORMULAS = ('iou_fg', 'iou_bg', 'iou_mean', 'f1_fg', 'accuracy')
META = {**CATALOG['nuscenes'].segmentation_meta(), 'dataset': 'nuscenes'}


def samples(runner):
    dataset = runner.val_loop.dataloader.dataset
    return [dataset[index] for index in range(len(dataset))]


def test_models_that_discovery_cannot_use(demo_root, tmp_path):
    with pytest.raises(ConfigError, match='ResNet does not have'):
        make_runner(demo_root, tmp_path, teacher=dict(NETWORK, model='resnet18')).val()
    heads = dict(distill=dict(channels=8))
    with pytest.raises(ConfigError, match=r"'distill' of type peridot\.DistillationHead.*val_cfg\.head"):
        make_runner(demo_root, tmp_path, heads=heads).val()


def test_picture_shows_foreground_above_background():
    xyz = np.array([[0.0, 5.0, 0.0], [0.0, 5.0, 2.0], [-5.0, 0.0, 0.0]])
    picture = foreground_figure(xyz, np.array([1, 0, 2]), {'head': np.array([False, True, True])}, TopView(10, 100))
    assert picture.shape[1] == 200 and (picture[25, 50] == PALETTE[1]).all()
    assert (picture[25, 150] == PALETTE[1]).all()
    # points without ground truth are dark in every picture
    assert (picture[50, 25] == picture[50, 125]).all() and not (picture[50, 25] == PALETTE[1]).all()


def test_loop_is_registered():
    from peridot.registry import LOOPS

    assert LOOPS.get('peridot.DiscoveryLoop') is DiscoveryLoop
