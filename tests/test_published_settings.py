"""Configs on the published networks have the published settings; a change anywhere in their bases shows here."""

from pathlib import Path

import pytest
from mmengine.config import Config

REPO = Path(__file__).resolve().parents[1]
SLIDR = dict(
    epochs=50,
    batch_size=4,
    drop_last=True,
    optimizer=dict(type='SGD', lr=0.5, momentum=0.9, dampening=0.1, weight_decay=1e-4),
    schedule=[dict(type='CosineAnnealingLR', T_max=50, eta_min=0.0, by_epoch=True)],
    norm_momentum=0.05,
    voxels=((0.1, 1.0, 0.1), 'cylindrical'),
    base_batch_size=4,
)
ALSO = dict(
    epochs=200,
    batch_size=16,
    drop_last=False,
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    schedule=[],
    norm_momentum=0.1,
    voxels=((0.1, 0.1, 0.1), 'cartesian'),
    base_batch_size=16,
)
PRETRAINING = {
    'slidr': dict(SLIDR, split='nuscenes_slidr_parametrizing_100pct'),
    'ppkt': dict(SLIDR, split='nuscenes_slidr_parametrizing_100pct'),
    'olivine': dict(SLIDR, split=None, base_batch_size=16),
    'also': dict(ALSO, split='nuscenes_also_100pct'),
}
OBJECTIVES = {
    'slidr': [('peridot.SuperpixelInfoNCE', dict(head='instance'))],
    'ppkt': [('peridot.PointPixelInfoNCE', dict(head='instance'))],
    'olivine': [
        ('peridot.PointPixelInfoNCE', dict(head='instance', loss_weight=0.5)),
        ('peridot.WeaklySupervisedContrast', dict(head='semantic', loss_weight=0.5)),
        ('peridot.VMFConsistency', dict(head='semantic', num_classes=17, warmup_steps=10001, loss_weight=1.0)),
    ],
    'also': [('peridot.OccupancyReconstruction', dict(head='occupancy', radius=1.0, max_neighbors=32))],
}
# epochs, batch size, whether the last batch is dropped, learning rate and its factor for the head, momentum of batch
# normalization, learning rate of random starts
SEGMENTATION = dict(optimizer=dict(type='SGD', momentum=0.9, dampening=0.1, weight_decay=1e-4))
FINE_TUNING = {
    **{f'res16unet34_nus/{part}pct': (100, 16, True, 0.02, 100.0, 0.02, 0.05) for part in (1, 5, 10, 25, 100)},
    'res16unet34_nus/linear-probe': (100, 16, True, 0.05, None, 0.02, 0.05),
    'res16unet34_semantickitti/1pct': (100, 10, True, 0.05, 40.0, 0.02, 0.05),
    'res16unet34_semantickitti/100pct': (100, 10, True, 0.05, 40.0, 0.02, 0.05),
}
ALSO_EPOCHS = {'0.1pct': 1000, '1pct': 500, '10pct': 100, '50pct': 50, '100pct': 30}


def read(path: str) -> Config:
    return Config.fromfile(REPO / 'configs' / f'{path}.py')


def split_of(config: Config) -> str | None:
    split = config.train_dataloader.dataset.get('split')
    return Path(split).stem if split else None


def intensity_scale(pipeline: list) -> float:
    return next(step for step in pipeline if step.type == 'peridot.LoadPoints').get('intensity_scale', 1)


@pytest.mark.parametrize('method', PRETRAINING)
def test_pretraining(method):
    config = read(f'pretrain/{method}_res16unet34_nus')
    loader, student = config.train_dataloader, config.model.student
    assert (
        dict(
            epochs=config.train_cfg.max_epochs,
            batch_size=loader.batch_size,
            drop_last=loader.drop_last,
            optimizer=config.optim_wrapper.optimizer.to_dict(),
            schedule=[scheduler.to_dict() for scheduler in config.param_scheduler or []],
            norm_momentum=student.backbone.get('norm_momentum', 0.05),
            voxels=(tuple(student.voxel_size), student.coordinates),
            base_batch_size=config.auto_scale_lr.base_batch_size,
            split=split_of(config),
        )
        == PRETRAINING[method]
    )
    assert student.backbone.type == 'peridot.Res16UNet' and tuple(student.feature_columns) == (3,)
    found = [{**objective} for objective in config.model.objectives.values()]
    assert [(objective.pop('type'), objective) for objective in found] == OBJECTIVES[method]


def test_also_reads_intensities_up_to_1():
    pretraining, finetuning = read('pretrain/also_res16unet34_nus'), read('finetune/res16unet34_nus/also-1pct')
    pipelines = [
        pretraining.train_dataloader.dataset.dataset.pipeline,
        pretraining.val_dataloader.dataset.pipeline,
        pretraining.val_cfg.fit_dataloader.dataset.pipeline,
        finetuning.train_dataloader.dataset.dataset.pipeline,
        finetuning.val_dataloader.dataset.pipeline,
        finetuning.test_dataloader.dataset.pipeline,
    ]
    assert {intensity_scale(pipeline) for pipeline in pipelines} == {255}
    (queries,) = (step for step in pipelines[0] if step.type == 'peridot.SampleOccupancyQueries')
    assert queries.num_queries == 2048 and queries.get('intensity_scale', 1) == 1


@pytest.mark.parametrize('protocol', FINE_TUNING)
def test_finetuning(protocol):
    config = read(f'finetune/{protocol}')
    loader, optimizer = config.train_dataloader, config.optim_wrapper.optimizer.to_dict()
    keys = (config.optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys', {})
    rate = optimizer.pop('lr')
    random = config.random_init_options
    assert (
        config.train_cfg.max_epochs,
        loader.batch_size,
        loader.drop_last,
        rate,
        keys.get('decode_head', {}).get('lr_mult'),
        config.model.backbone.norm_momentum,
        random['optim_wrapper.optimizer.lr'],
    ) == FINE_TUNING[protocol]
    assert random['optim_wrapper.paramwise_cfg'] is None
    assert {'optimizer': optimizer} == SEGMENTATION
    assert [s.to_dict() for s in config.param_scheduler] == [
        dict(type='CosineAnnealingLR', T_max=100, eta_min=0.0, by_epoch=True)
    ]
    preprocessor = config.model.data_preprocessor
    assert (tuple(preprocessor.voxel_size), preprocessor.coordinates) == ((0.1, 1.0, 0.1), 'cylindrical')
    assert preprocessor.get('feature_offset', 0) == ('kitti' in protocol)
    name, part = protocol.split('/')
    split = f'{name.removeprefix("res16unet34_").replace("nus", "nuscenes")}_slidr_{part}'
    assert split_of(config) == (split if part not in ('100pct', 'linear-probe') else None)


@pytest.mark.parametrize('part', ALSO_EPOCHS)
def test_finetuning_of_also(part):
    config = read(f'finetune/res16unet34_nus/also-{part}')
    epochs = ALSO_EPOCHS[part]
    assert (config.train_cfg.max_epochs, config.param_scheduler[0].T_max) == (epochs, epochs)
    assert config.train_dataloader.batch_size == 8 and not config.train_dataloader.get('drop_last', False)
    assert config.optim_wrapper.optimizer.to_dict() == dict(type='AdamW', lr=1e-3, weight_decay=0.01)
    assert split_of(config) == f'nuscenes_also_{part}'
    assert config.model.decode_head.loss_lovasz.loss_weight == 0
    assert config.model.backbone.norm_momentum == 0.1
