"""Every objective on made-up batches: losses and their gradients.

No draws: objectives are asked for as many pairs as there are, and their order does not matter to them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from peridot.gpu_check.clouds import lidar_points
from peridot.gpu_check.compare import Case, Tensors
from peridot.models.batch import EncodedBatch
from peridot.models.heads import CLASS_TOKEN
from peridot.models.students import VoxelFeatures
from peridot.registry import MODELS
from peridot.structures import Frames, Pairs, Queries

CLASSES = 16
IDS = 60
SEGMENTS = 50
STUDENT, TEACHER = 32, 48
SIZE = (224, 416)
ALL = 10**6
CAMERA = dict(type='peridot.ProjectionHead', channels=64)
LATENT = dict(type='peridot.LatentHead', channels=64)
# head and settings of each objective; `steps` is how often it is called: vMF's first step has no loss
OBJECTIVES = {
    'PointPixelInfoNCE': (CAMERA, dict(num_pairs=ALL), 1),
    'SuperpixelInfoNCE': (CAMERA, dict(), 1),
    'SuperpixelInfoNCE, sample': (CAMERA, dict(ids='sample', within='frame'), 1),
    'SuperpointContrast': (CAMERA, dict(frames=[(0, 1)]), 1),
    'SuperpointContrast, cosine': (CAMERA, dict(frames=[(0, 1)], distance='cosine'), 1),
    'SuperpointContrast, segments': (CAMERA, dict(frames=[(0, 1)], groups=None, unit_means=True), 1),
    'PointSegmentConsistency': (CAMERA, dict(), 1),
    'WeaklySupervisedContrast': (CAMERA, dict(num_pairs=ALL), 1),
    'WeaklySupervisedContrast, sup_out': (CAMERA, dict(num_pairs=ALL, reduction='sup_out'), 1),
    'VMFConsistency': (CAMERA, dict(num_classes=CLASSES, warmup_steps=1, momentum=0.5), 2),
    'FeatureDistance': (dict(type='peridot.DistillationHead'), dict(), 1),
    'FeatureDistance, cosine': (dict(type='peridot.DistillationHead'), dict(distance='cosine'), 1),
    'FeatureDistance, images': (dict(type='peridot.DistillationHead'), dict(mean_over='images'), 1),
    'SceneToken': (dict(type='peridot.DistillationHead', normalize=False), dict(), 1),
    'OccupancyReconstruction': (LATENT, dict(max_neighbors=None), 1),
    'PointClassification': (dict(LATENT, channels=CLASSES), dict(ignore_index=CLASSES), 1),
    'BEVCellContrast': (LATENT, dict(num_cells=ALL), 1),
}


def cases(small: bool) -> dict[str, Case]:
    """A case of every objective by its name."""
    inputs = batch_inputs(*((300, 2) if small else (8000, 6)))
    return {name: _case(name.split(',')[0], *settings, inputs) for name, settings in OBJECTIVES.items()}


def _case(name: str, head: dict, settings: dict, steps: int, inputs: Tensors) -> Case:
    torch.manual_seed(0)
    built = MODELS.build({**head, 'student_channels': STUDENT, 'teacher_channels': TEACHER})
    if name == 'SceneToken':
        built.teacher_layer = CLASS_TOKEN
    objective = MODELS.build(dict(type=f'peridot.{name}', head='head', **settings))
    objective.connect(built.channels)
    module = nn.ModuleDict(dict(heads=nn.ModuleDict(dict(head=built)), objective=objective))

    def run(module: nn.ModuleDict, inputs: Tensors) -> Tensors:
        for _ in range(steps):
            results = module.objective(encoded(inputs, module.heads))
        return results

    # a mean over some thousand losses of float32 products
    return Case(run, inputs, module, values=1e-4, gradients=1e-3)


def batch_inputs(count: int, cameras: int) -> Tensors:
    """Tensors of a batch of two frames, of one if there is one camera, in which every point has one pair."""
    generator = torch.Generator().manual_seed(0)

    def below(limit: int, *shape: int) -> Tensor:
        return torch.randint(limit, shape, generator=generator)

    points = lidar_points(count)
    # the first half of points and cameras belongs to the first frame
    frames = min(2, cameras)
    frame, own = torch.arange(count) * frames // count, cameras // frames
    return dict(
        points=points,
        scan=frame,
        features=torch.randn(count, STUDENT, generator=generator, requires_grad=True),
        teacher_map=torch.randn(cameras, TEACHER, SIZE[0] // 4, SIZE[1] // 4, generator=generator),
        camera=(below(own, count) + frame * own).sort().values,
        position=torch.rand(count, 2, generator=generator) * torch.tensor(SIZE).sub(1),
        label=below(CLASSES + 1, count) - 1,
        superpixels=below(IDS, cameras, 14, 26).repeat_interleave(16, 1).repeat_interleave(16, 2),
        labels=below(CLASSES + 1, count),
        segments=below(SEGMENTS + 1, count) - 1,
        queries=points[:, :3] + torch.randn(count, 3, generator=generator),
        occupied=below(2, count).bool(),
    )


def encoded(inputs: Tensors, heads: nn.ModuleDict) -> EncodedBatch:
    """The batch of these tensors, on their device: one sample, whose scan is taken as frames of one place."""
    points = inputs['points']
    rows = torch.arange(len(points), device=points.device)
    scan = inputs['scan']
    sizes = scan.bincount().tolist()
    images = len(inputs['teacher_map']) // len(sizes)
    frames = Frames.cat([Frames.single(size, images, frame=number) for number, size in enumerate(sizes)])
    queries = Queries(
        position=inputs['queries'],
        occupied=inputs['occupied'],
        intensity=points[:, 3] / 255,
        has_intensity=inputs['occupied'],
        scan=scan,
    )
    feature_map = inputs['teacher_map'].contiguous(memory_format=torch.channels_last)
    return EncodedBatch(
        points=points,
        scan=scan,
        student=VoxelFeatures(inputs['features'], rows),
        frames=frames.to(points.device),
        pairs=Pairs(point=rows, camera=inputs['camera'], position=inputs['position'], label=inputs['label']),
        heads=heads,
        generator=torch.Generator(points.device).manual_seed(0),
        make_teacher_map=lambda: {None: feature_map, CLASS_TOKEN: feature_map.mean((2, 3))},
        image_size=SIZE,
        label_classes=CLASSES,
        maps=dict(superpixels=inputs['superpixels']),
        map_ids=dict(superpixels=IDS),
        queries=queries,
        labels=inputs['labels'],
        segments=inputs['segments'],
        num_segments=SEGMENTS,
    )
