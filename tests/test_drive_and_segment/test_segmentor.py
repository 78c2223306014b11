from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from oracles import pool_regions
from peridot.errors import CheckpointError, ConfigError
from peridot.hooks import EMATeacherHook
from peridot.models.functional import distributed

pytest.importorskip('mmseg', reason='mmsegmentation is optional')
from peridot.drive_and_segment.segmentor import segmentor as module
from peridot.drive_and_segment.segmentor.segmentor import (
    DistillSegmentor,
    LabeledPixelLoss,
    PackDistillInputs,
    SegmenterViT,
    distillation_loss,
)

CLASSES = 5


def network_settings(**changes) -> dict:
    """A tiny Segmenter."""
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[120.0, 110, 100], std=[60.0, 50, 40], bgr_to_rgb=True, size=(32, 32)
        ),
        backbone=dict(
            type='peridot.SegmenterViT',
            img_size=(32, 32),
            patch_size=8,
            embed_dims=16,
            num_layers=1,
            num_heads=2,
            final_norm=True,
            drop_rate=0.5,
        ),
        decode_head=dict(
            type='SegmenterMaskTransformerHead',
            in_channels=16,
            channels=16,
            embed_dims=16,
            num_classes=CLASSES,
            num_layers=1,
            num_heads=2,
            dropout_ratio=0.0,
            loss_decode=dict(type='peridot.LabeledPixelLoss'),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
        **changes,
    )


def build(settings: dict) -> torch.nn.Module:
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(deepcopy(settings))
        model.init_weights()
    return model


@pytest.fixture
def teacher_file(tmp_path):
    """Checkpoint of a trained network."""
    torch.manual_seed(7)
    path = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': build(network_settings()).state_dict()}, path)
    return path


@pytest.fixture
def student(teacher_file):
    def make(**settings) -> DistillSegmentor:
        torch.manual_seed(0)
        changes = dict(teacher=str(teacher_file), momentum=0.75, **settings)
        return build({**network_settings(**changes), 'type': 'peridot.DistillSegmentor'})

    return make


def batch_of(sizes=((32, 32), (24, 32)), seed=0) -> dict:
    rng, items = np.random.default_rng(seed), []
    for size in sizes:
        results = dict(
            img=rng.integers(0, 255, (*size, 3), np.uint8),
            teacher_view=rng.integers(0, 255, (*size, 3), np.uint8),
            gt_region_map=rng.integers(0, 4, size).astype(np.int32),
            gt_seg_map=rng.choice([0, 1, 4, 255], size).astype(np.uint8),
            img_shape=size,
            ori_shape=size,
        )
        items.append(PackDistillInputs().transform(results))
    return dict(inputs=[i['inputs'] for i in items], data_samples=[i['data_samples'] for i in items])


def test_loss_counts_labeled_pixels_alone():
    for count in (1, 7, 64):
        labels = torch.full((1, 8, 8), 255)
        labels.view(-1)[:count] = torch.arange(count) % 31
        logits = torch.zeros(1, 31, 8, 8, requires_grad=True)
        loss = LabeledPixelLoss()(logits, labels)
        assert loss.item() == pytest.approx(np.log(31), abs=1e-5)
        loss.backward()
        assert (logits.grad.abs().sum(1).view(-1) > 0).tolist() == [True] * count + [False] * (64 - count)


def test_loss_without_labels_is_zero_with_gradient():
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    loss = LabeledPixelLoss()(logits, torch.full((2, 3, 3), 255))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    loss = distillation_loss(logits, torch.rand(2, 4, 3, 3), torch.full((2, 3, 3), -1))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_losses_are_float32():
    logits = 30 * torch.randn(1, 31, 6, 6)
    labels = torch.randint(0, 31, (1, 6, 6))
    expected = LabeledPixelLoss()(logits.half().float(), labels)
    assert LabeledPixelLoss()(logits.half(), labels).equal(expected)
    regions = torch.zeros(1, 6, 6, dtype=torch.int64)
    assert distillation_loss(logits.half(), logits.softmax(1), regions).dtype == torch.float32


@pytest.mark.parametrize('balance', [0.0, 0.5, 1.0])
def test_balanced_loss_equals_its_definition(balance):
    torch.manual_seed(0)
    logits = torch.randn(2, CLASSES, 6, 7)
    labels = torch.randint(0, 3, (2, 6, 7))
    labels[0, :2] = 255
    total = weights = 0.0
    for image, row, column in (labels != 255).nonzero().tolist():
        label = labels[image, row, column]
        weight = (labels == label).sum().item() ** -balance
        total -= weight * logits[image, :, row, column].log_softmax(0)[label].item()
        weights += weight
    assert LabeledPixelLoss(balance)(logits, labels).item() == pytest.approx(total / weights, rel=1e-5)


def test_balance_has_limits():
    with pytest.raises(ConfigError, match='balance=2 must lie between 0 and 1'):
        LabeledPixelLoss(2)


@pytest.mark.parametrize('loss_of', ['soft', 0.0, 0.5])
def test_two_processes_with_one_image_are_one_with_two(loss_of, monkeypatch):
    torch.manual_seed(0)
    logits = torch.randn(2, CLASSES, 6, 7)
    labels = torch.randint(0, CLASSES, (2, 6, 7))
    labels[0, :4] = 255
    regions = torch.where(labels == 255, -1, labels)
    probabilities = torch.rand(2, CLASSES, 6, 7).softmax(1)

    def loss(rows: slice) -> torch.Tensor:
        if loss_of == 'soft':
            return distillation_loss(logits[rows], probabilities[rows], regions[rows])
        return LabeledPixelLoss(loss_of)(logits[rows], labels[rows])

    def reduced(own: torch.Tensor) -> torch.Tensor:
        """Of both processes: pixels of each class, or the sum of their weights."""
        pixels = torch.bincount(labels[labels != 255], minlength=CLASSES)
        return pixels if own.ndim else (pixels * pixels.clamp(min=1) ** -(0.0 if loss_of == 'soft' else loss_of)).sum()

    together = loss(slice(2))
    monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
    for where in (module, distributed):
        monkeypatch.setattr(where, 'reduce_sum', reduced)
    # processes average their gradients
    torch.testing.assert_close((loss(slice(0, 1)) + loss(slice(1, 2))) / 2, together)


def test_soft_loss_equals_its_definition():
    torch.manual_seed(0)
    logits, probabilities = torch.randn(2, CLASSES, 6, 7, requires_grad=True), torch.rand(2, CLASSES, 6, 7).softmax(1)
    regions = torch.randint(-1, 5, (2, 6, 7))
    pooled = pool_regions(probabilities, regions)
    expected = F.cross_entropy(logits, pooled, reduction='none')[regions >= 0].mean()
    loss = distillation_loss(logits, probabilities, regions)
    torch.testing.assert_close(loss, expected)
    ours, naive = (torch.autograd.grad(value, logits)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, naive)
    # never below the entropy of the targets, and equal where the student agrees
    entropy = -(pooled * pooled.clamp(min=1e-9).log()).sum(1)[regions >= 0].mean()
    assert loss > entropy
    torch.testing.assert_close(distillation_loss(pooled.clamp(min=1e-9).log(), probabilities, regions), entropy)


def test_soft_loss_of_one_hot_targets_is_the_hard_loss():
    logits, regions = torch.randn(1, CLASSES, 6, 6), torch.randint(0, 3, (1, 6, 6))
    labels = torch.tensor([4, 0, 2])[regions]
    targets = F.one_hot(labels, CLASSES).movedim(-1, 1).float()
    torch.testing.assert_close(distillation_loss(logits, targets, regions), LabeledPixelLoss()(logits, labels))


def test_teacher_sees_undistorted_crops_and_the_student_learns(student):
    model = student(partial_weight=0.5).train()
    batch = batch_of()
    data = model.data_preprocessor(deepcopy(batch), training=True)
    torch.manual_seed(1)
    losses = model.loss(**data)
    # by hand: the teacher's probabilities of its views, pooled; the student's logits under the same dropout
    mean, std = (torch.tensor(v)[:, None, None] for v in ([120.0, 110, 100], [60.0, 50, 40]))
    views, regions = torch.zeros(2, 3, 32, 32), torch.full((2, 32, 32), -1)
    for row, sample in enumerate(batch['data_samples']):
        height = sample.teacher_view.data.shape[1]
        views[row, :, :height] = (sample.teacher_view.data[[2, 1, 0]] - mean) / std
        regions[row, :height] = sample.gt_region_map.data[0]
    with torch.no_grad():
        probabilities = F.interpolate(model.teacher.module._forward(views), (32, 32), mode='bilinear').softmax(1)
    torch.manual_seed(1)
    logits = F.interpolate(model._forward(data['inputs']), (32, 32), mode='bilinear')
    targets = pool_regions(probabilities, regions)
    expected = F.cross_entropy(logits, targets, reduction='none')[regions >= 0].mean()
    torch.testing.assert_close(losses['loss_distill'], expected)
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data['data_samples']])
    torch.testing.assert_close(losses['loss_partial'], 0.5 * F.cross_entropy(logits, labels, ignore_index=255))
    sum(losses.values()).backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith('teacher.'))
    assert all(p.grad is None for p in model.teacher.parameters())


def test_teacher_follows_the_student(student):
    model = student()
    before = deepcopy(model.teacher.module.state_dict())
    for parameter in model.backbone.parameters():
        parameter.data.add_(1)
    for _ in range(3):
        model.update_teacher()
    for name, value in model.teacher.module.named_parameters():
        expected = before[name] * 0.75**3 + model.state_dict()[name] * (1 - 0.75**3)
        torch.testing.assert_close(value.data, expected)
    assert model.train().training and not any(part.training for part in model.teacher.modules())


def test_training_steps_update_the_teacher_by_the_hook_alone(student):
    model = student()
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1), accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    runner, updates = SimpleNamespace(model=model, optim_wrapper=wrapper), []
    before = deepcopy(model.teacher.module.state_dict())
    model.update_teacher = lambda: updates.append(wrapper._inner_count)
    for step in range(4):
        model.train_step(batch_of(seed=step), wrapper)
        EMATeacherHook().after_train_iter(runner, step)
    assert updates == [2, 4]
    assert all(value.equal(before[name]) for name, value in model.teacher.module.state_dict().items())
    assert not model.state_dict()['decode_head.cls_emb'].equal(before['decode_head.cls_emb'])


def test_checkpoints_hold_the_student_under_plain_names(student, teacher_file):
    model, plain = student(), build(network_settings())
    state = model.state_dict()
    assert set(plain.state_dict()) == {name for name in state if not name.startswith('teacher.')}
    released = torch.load(teacher_file)['state_dict']
    for name, value in released.items():
        assert state[name].equal(value) and state[f'teacher.module.{name}'].equal(value)
    # the student's own start; the teacher has its file all the same
    own = student(start='own').state_dict()
    assert not own['decode_head.cls_emb'].equal(released['decode_head.cls_emb'])
    assert own['teacher.module.decode_head.cls_emb'].equal(released['decode_head.cls_emb'])
    # a resumed run has the teacher that was saved
    model.update_teacher()
    other = student()
    other.load_state_dict(model.state_dict())
    assert other.teacher.steps == 2


def test_bad_teachers(student, teacher_file, tmp_path):
    with pytest.raises(ConfigError, match=r'model\.teacher is not set.*--cfg-options model\.teacher=work_dirs'):
        build({**network_settings(), 'type': 'peridot.DistillSegmentor'})
    settings = network_settings(teacher=str(teacher_file))
    settings['decode_head']['num_classes'] = 4
    problem = r'epoch_1\.pth: \d+ of \d+ tensors fit the network \(first other \'decode_head.cls_emb\'\): give'
    with pytest.raises(CheckpointError, match=problem):
        build({**settings, 'type': 'peridot.DistillSegmentor'})
    with pytest.raises(CheckpointError, match=r'nothing\.pth not found'):
        build({**network_settings(teacher=str(tmp_path / 'nothing.pth')), 'type': 'peridot.DistillSegmentor'})
    for settings, problem in (({'start': 'x'}, "start='x' must be one of teacher, own"), ({'momentum': 1}, 'momentum')):
        with pytest.raises(ConfigError, match=problem):
            DistillSegmentor(**settings)


@pytest.fixture
def dino(tmp_path):
    """A transformer with the names of DINO's release, and its file."""
    torch.manual_seed(0)
    settings = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0)
    network = timm.models.VisionTransformer(**settings).eval()
    for parameter in network.parameters():
        parameter.data.normal_(std=0.2)
    path = tmp_path / 'dino.pth'
    torch.save(network.state_dict(), path)
    return network, path


def vit(path, **settings) -> SegmenterViT:
    same = dict(img_size=(32, 32), patch_size=8, embed_dims=16, num_layers=2, num_heads=2)
    same |= dict(final_norm=True, patch_bias=True, norm_cfg=dict(type='LN', eps=1e-6))
    backbone = SegmenterViT(str(path), **{**same, **settings})
    backbone.init_weights()
    backbone.eval()  # mmsegmentation's returns nothing
    return backbone


@pytest.mark.parametrize('training', [False, True])
def test_dino_gives_the_same_features(dino, training):
    network, path = dino
    if training:
        state = {f'module.backbone.{name}': value for name, value in network.state_dict().items()}
        torch.save({'student': {}, 'teacher': {**state, 'module.head.last_layer.weight': torch.zeros(2)}}, path)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        tokens = network.forward_features(image)[:, 1:]
        (found,) = vit(path)(image)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=1e-5)


def test_dino_comes_to_another_grid(dino):
    network, path = dino
    found = vit(path, img_size=(64, 48)).pos_embed
    old = network.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    expected = F.interpolate(old, (8, 6), mode='bicubic').flatten(2).transpose(1, 2)
    torch.testing.assert_close(found[:, 1:], expected)
    assert found[:, :1].equal(network.pos_embed[:, :1])


def test_other_files_than_dino(dino, tmp_path):
    _, path = dino
    with pytest.raises(CheckpointError, match=r'dino\.pth: \d+ of \d+ tensors fit the image network \(first other'):
        vit(path, num_layers=3)
    with pytest.raises(CheckpointError, match=r"first other 'layers\.1\.ln1\.weight'"):
        vit(path, num_layers=1)
    with pytest.raises(CheckpointError, match=r"first other 'patch_embed\.projection\.bias'"):
        vit(path, patch_bias=False)
    with pytest.raises(CheckpointError, match=r'dino\.pth: 0 of \d+ tensors fit'):
        vit(path, embed_dims=32)
    with pytest.raises(CheckpointError, match=r'dino_deitsmall16_pretrain\.pth not found: download'):
        vit(tmp_path / 'dino_deitsmall16_pretrain.pth')
