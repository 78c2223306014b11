import pytest
import torch
from mmdet3d.structures import Det3DDataSample, PointData
from mmengine.runner.checkpoint import load_state_dict
from peridot.models.segmentors import PointSegHead, SegPreprocessor
from peridot.registry import MODELS

BACKBONE = dict(
    type='MinkUNetBackbone',
    in_channels=1,
    num_stages=4,
    base_channels=8,
    encoder_channels=[8, 8, 16, 16],
    encoder_blocks=[1, 1, 1, 1],
    decoder_channels=[16, 16, 8, 8],
    decoder_blocks=[1, 1, 1, 1],
    block_type='basic',
    sparseconv_backend='spconv',
)
VOXELS = dict(voxel_size=(0.3, 2.0, 0.3), coordinates='cylindrical', feature_columns=(3,))
CLASSES, IGNORE = 5, 5


def make_scans(*sizes: int) -> dict:
    g = torch.Generator().manual_seed(0)
    points = [
        torch.rand(n, 4, generator=g) * torch.tensor([20.0, 20, 3, 1]) - torch.tensor([10.0, 10, 2, 0]) for n in sizes
    ]
    samples = []
    for cloud in points:
        sample = Det3DDataSample()
        labels = torch.randint(0, CLASSES + 1, (len(cloud),), generator=g)
        sample.gt_pts_seg = PointData(pts_semantic_mask=labels)
        samples.append(sample)
    return dict(inputs=dict(points=points), data_samples=samples)


def make_segmentor(kind: str = 'mmdet3d.MinkUNet') -> torch.nn.Module:
    torch.manual_seed(0)
    head = dict(
        type='peridot.PointSegHead',
        channels=8,
        num_classes=CLASSES,
        ignore_index=IGNORE,
        dropout_ratio=0,
        loss_decode=dict(type='mmdet.CrossEntropyLoss', avg_non_ignore=True),
    )
    return MODELS.build(
        dict(
            type=kind,
            data_preprocessor=dict(type='peridot.SegPreprocessor', **VOXELS),
            backbone=BACKBONE,
            decode_head=head,
            train_cfg=dict(),
            test_cfg=dict(),
        )
    )


def test_loss_and_gradient_match_the_released_function(golden):
    arrays = golden('cross_entropy_plus_lovasz')
    logits = torch.from_numpy(arrays['logits']).requires_grad_()
    sample = Det3DDataSample(gt_pts_seg=PointData(voxel_semantic_mask=torch.from_numpy(arrays['labels'])))
    head = PointSegHead(
        channels=4,
        num_classes=17,
        ignore_index=int(arrays['ignore_index']),
        loss_decode=dict(type='mmdet.CrossEntropyLoss', avg_non_ignore=True),
    )
    loss = sum(head.loss_by_feat(logits, [sample]).values())
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays['loss']), rel=1e-6)
    torch.testing.assert_close(logits.grad, torch.from_numpy(arrays['grad_logits']), rtol=1e-5, atol=1e-8)


def test_a_batch_without_labels_costs_nothing():
    head = PointSegHead(channels=4, num_classes=CLASSES, ignore_index=IGNORE)
    sample = Det3DDataSample(gt_pts_seg=PointData(voxel_semantic_mask=torch.full((3,), IGNORE)))
    logits = torch.randn(3, CLASSES, requires_grad=True)
    loss = sum(head.loss_by_feat(logits, [sample]).values())
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_voxels_are_those_of_the_student_and_carry_their_first_points_label():
    data = make_scans(400, 3, 500)
    preprocessor = SegPreprocessor(**VOXELS, feature_offset=1.0)
    result = preprocessor(data)
    voxels = result['inputs']['voxels']
    start = 0
    for number, (points, sample) in enumerate(zip(data['inputs']['points'], result['data_samples'])):
        rows = (voxels['coors'][:, 0] == number).nonzero()[:, 0]
        labels = sample.gt_pts_seg
        for row in rows.tolist():
            own = (sample.point2voxel_map == row - start).nonzero()[:, 0]
            assert voxels['voxels'][row, 0] == points[own[0], 3] + 1.0
            assert labels.voxel_semantic_mask[row - start] == labels.pts_semantic_mask[own[0]]
        assert (sample.batch_idx == number).all() and len(sample.batch_idx) == len(rows)
        start += len(rows)


def test_the_segmentor_sees_the_features_that_were_pre_trained():
    data = make_scans(600, 400)
    segmentor = make_segmentor().eval()
    student = MODELS.build(dict(type='peridot.SparseUNetStudent', backbone=BACKBONE, **VOXELS)).eval()
    load_state_dict(student, segmentor.state_dict())
    with torch.no_grad():
        batch = segmentor.data_preprocessor(data)
        predicted = segmentor(**batch, mode='predict')
        rows = torch.arange(1000)
        logits = segmentor.decode_head.conv_seg(student(data['inputs']['points']).at(rows)).split([600, 400])
    for sample, wanted in zip(predicted, logits):
        torch.testing.assert_close(sample.pts_seg_logits.pts_seg_logits.T, wanted)


def test_linear_probing_leaves_backbone_and_its_statistics_alone():
    segmentor = make_segmentor('peridot.LinearProbeSegmentor')
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    optimizer = torch.optim.SGD(segmentor.parameters(), lr=0.1)
    segmentor.train()
    batch = segmentor.data_preprocessor(make_scans(600, 400), True)
    for _ in range(2):
        optimizer.zero_grad()
        sum(segmentor(**batch, mode='loss').values()).backward()
        optimizer.step()
    changed = {name for name, value in segmentor.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {'decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'}


def test_fine_tuning_changes_everything():
    segmentor = make_segmentor()
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    batch = segmentor.data_preprocessor(make_scans(600, 400), True)
    optimizer = torch.optim.SGD(segmentor.parameters(), lr=0.1)
    sum(segmentor.train()(**batch, mode='loss').values()).backward()
    optimizer.step()
    same = [name for name, value in segmentor.state_dict().items() if torch.equal(value, before[name])]
    assert same == []
