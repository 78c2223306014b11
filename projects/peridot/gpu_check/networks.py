"""Students and teachers: features and gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from peridot.gpu_check.checks import LeftOut, Setup
from peridot.gpu_check.clouds import lidar_points
from peridot.gpu_check.compare import Case, Tensors
from peridot.gpu_check.configs import load_config
from peridot.models.students import WaffleIronStudent
from peridot.models.students.voxelize import running_statistics
from peridot.registry import MODELS

# config that the student of each kind is taken from
STUDENTS = {
    'MinkUNet34': 'olivine_nus',
    'Res16UNet34C': 'olivine_res16unet34_nus',
    'WaffleIron': 'scalr_wi48x256_nus',
    'SECOND': 'olivine_second_kitti-voxels_nus',
    'CenterPoint, voxels': 'olivine_centerpoint_voxel01_nus',
    'CenterPoint, pillars': 'olivine_centerpoint_pillar02_nus',
}
# multiples of patches of 14 and 16 pixels
SIZE, SMALL_SIZE = (224, 448), (112, 112)
DINOV2 = dict(type='peridot.TimmTeacher', model='vit_small_patch14_dinov2.lvd142m', final_norm=False)
TEACHERS = {
    'ResNet-50 of stride 4': dict(type='peridot.TimmTeacher', model='resnet50', output_stride=4),
    'DINOv2 on the grid of its release': dict(DINOV2, position_grid='dinov2'),
    'MaskCLIP': dict(type='peridot.MaskClipTeacher', model='vit_base_patch16_clip_quickgelu_224.openai'),
    'SigLIP': dict(type='peridot.SiglipTeacher', model='vit_base_patch16_siglip_224.v2_webli'),
    'DINOv3': dict(type='peridot.TimmTeacher', model='vit_small_patch16_dinov3_qkvb.lvd1689m'),
}
# layers of WaffleIron: all 48 take the CPU too long
DEPTH = 6


def makers(setup: Setup) -> dict[str, Callable[[], Case]]:
    """Functions that make the case of every student and teacher by its name; building takes a while."""
    students = {f'student {name}': partial(student_case, config, setup) for name, config in STUDENTS.items()}
    return students | {f'teacher {name}': partial(teacher_case, config, setup) for name, config in TEACHERS.items()}


def student_case(name: str, setup: Setup) -> Case:
    """Features of all points of two scans with the student of a config.

    Voxels are cubes: on the border of a cylindrical one a point may fall to either side. Networks of voxels
    normalize by running statistics: deviations of a few deep voxels would blow up every rounding.

    Raises:
        LeftOut: The CPU has no sparse convolutions to compare with.
    """
    torch.manual_seed(0)
    settings = load_config(setup.configs / f'pretrain/{name}.py', setup).model.student
    if 'coordinates' in settings:
        settings.update(coordinates='cartesian', voxel_size=(0.1, 0.1, 0.1))
    if settings.get('backbone', {}).get('type') == 'peridot.WaffleIron':
        settings.backbone.depth = min(DEPTH, settings.backbone.depth)
    student = MODELS.build(settings).train()
    if any(type(module).__module__.startswith('spconv_triton') for module in student.modules()):
        raise LeftOut('spconv-triton computes on GPUs only; part convolutions compares its layers with plain sums')
    count = 300 if setup.small else 4000
    clouds = {name: _with_columns(lidar_points(count, seed=seed), settings) for seed, name in enumerate('ab')}
    return Case(_features, clouds, student, values=1e-4, gradients=3e-2)


def _with_columns(points: torch.Tensor, settings: dict) -> torch.Tensor:
    """Points with the columns that the student reads."""
    points[:, :3] = points[:, :3].clamp(-50, 50)
    more = max(settings.get('feature_columns', (3,))) + 1 - points.shape[1]
    return torch.cat((points, points[:, :1].expand(-1, max(0, more)) / 50), 1)


def _features(student: nn.Module, inputs: Tensors) -> Tensors:
    with running_statistics(student, when=not isinstance(student, WaffleIronStudent)):
        features = student([inputs['a'], inputs['b']])
    rows = torch.arange(len(inputs['a']) + len(inputs['b']), device=inputs['a'].device)
    return dict(features=features.at(rows if features.inside is None else rows[features.inside]))


def teacher_case(settings: dict, setup: Setup) -> Case:
    """The feature map of two images by a teacher with random weights."""
    torch.manual_seed(0)
    size = SMALL_SIZE if setup.small else SIZE
    known = dict(image_size=size) if 'position_grid' in settings else {}
    teacher = MODELS.build(dict(settings, weights=None, **known))
    images = torch.randint(256, (2, 3, *size), dtype=torch.uint8)
    return Case(lambda teacher, inputs: dict(map=teacher(inputs['images'])), dict(images=images), teacher, values=1e-3)
