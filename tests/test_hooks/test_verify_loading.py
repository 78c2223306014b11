"""Verified loading: what arrives passes, everything else is one clear line."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_checkpoint
from peridot.errors import CheckpointError, ConfigError
from peridot.hooks import VerifyLoadingHook, export_backbone
from peridot.models.students import DetectorTrunk, SparseUNetStudent
from peridot.registry import HOOKS, MODELS
from peridot.weights import other_intensities, sparse_kernels, verify_loading
from safetensors.torch import save_file
from tiny import CENTERPOINT, SECOND, SETTINGS, backbone, randomize, segmentor, trunk_and_detector


@pytest.fixture
def exported(student, tmp_path) -> str:
    export_backbone(student, tmp_path / 'backbone.pth', source='')
    return str(tmp_path / 'backbone.pth')


@pytest.fixture
def trap(student, tmp_path) -> str:
    """The student's weights without spconv's metadata, which mmdet3d permutes."""
    torch.save(dict(state_dict=dict(student.state_dict())), tmp_path / 'trap.pth')
    return str(tmp_path / 'trap.pth')


def loaded(path: str, **settings) -> torch.nn.Module:
    model = segmentor(**settings)
    load_checkpoint(model, path, map_location='cpu')
    return model


def complaint(model: torch.nn.Module, path: str, **kwargs) -> str:
    with pytest.raises(CheckpointError) as error:
        verify_loading(model, path, **kwargs)
    assert '\n' not in str(error.value) and path in str(error.value)
    return str(error.value)


def test_all_weights_of_a_segmentor_arrive(student, exported):
    model = loaded(exported)
    for name, value in student.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    report = verify_loading(model, exported)
    assert report.fraction == 1 and report.total == len(student.state_dict())
    assert report.elements == report.elements_arrived == sum(v.numel() for v in student.state_dict().values())
    assert report.missing == ['decode_head.conv_seg.weight', 'decode_head.conv_seg.bias']
    assert re.search(rf'backbone +{report.total} +0 +0 +0 +0 +0\n', report.table())


@pytest.mark.parametrize('path, sparse', [(SECOND, 12), (CENTERPOINT, 21)])
def test_all_weights_of_a_detector_arrive(path, sparse, tmp_path):
    trunk, detector = trunk_and_detector(path)
    export_backbone(trunk, tmp_path / 'backbone.pth', source='')
    load_checkpoint(detector, str(tmp_path / 'backbone.pth'), map_location='cpu')
    for name, value in trunk.state_dict().items():
        assert torch.equal(detector.state_dict()[name], value), name
    report = verify_loading(detector, tmp_path / 'backbone.pth')
    assert report.total == len(report.arrived) == len(trunk.state_dict())
    assert len(sparse_kernels(trunk) & set(report.arrived)) == sparse


def test_init_cfg_of_a_module_loads_all_sparse_weights(exported):
    init = dict(type='Pretrained', checkpoint=exported, prefix='backbone.')
    model = segmentor(backbone(init_cfg=init))
    assert 'values differ' in complaint(model, exported)
    model.init_weights()
    assert verify_loading(model, exported).fraction == 1


def test_init_cfg_of_a_detector_and_of_its_dense_modules(tmp_path):
    trunk, detector = trunk_and_detector(SECOND)
    path = str(tmp_path / 'backbone.pth')
    export_backbone(trunk, path, source='')
    for part in ('backbone', 'neck'):
        getattr(detector, part).init_cfg = dict(type='Pretrained', checkpoint=path, prefix=f'{part}.')
        getattr(detector, part).init_weights()
    line = complaint(detector, path)
    assert '72 of 72 tensors of middle_encoder.* did not arrive' in line and 'backbone.*' not in line
    detector.init_cfg = dict(type='Pretrained', checkpoint=path)
    detector._is_init = False
    detector.init_weights()
    assert verify_loading(detector, path).fraction == 1


def test_layout_trap_fails_loudly(student, trap):
    """Only batch normalization loads, and mmengine goes on."""
    model = loaded(trap)
    kernels = sparse_kernels(student)
    state = model.state_dict()
    equal = {name for name, value in student.state_dict().items() if torch.equal(state[name], value)}
    assert equal == student.state_dict().keys() - kernels
    line = complaint(model, trap)
    assert f'{len(kernels)} of {len(student.state_dict())} tensors of backbone.* did not arrive' in line
    assert 'layout trap' in line and 'tools/export_backbone.py' in line


def test_one_changed_number_is_found(exported):
    model = loaded(exported)
    model.backbone.decoder[3][1][0].bn2.running_var[0] += 1
    report = verify_loading(model, exported, min_fraction=0.9)
    assert report.changed == ['backbone.decoder.3.1.0.bn2.running_var']
    assert '1 of ' in complaint(model, exported)


def test_file_that_was_not_loaded(exported):
    assert 'values differ' in complaint(randomize(segmentor(), seed=1), exported)


def test_part_of_a_student_is_not_the_student(student, exported, tmp_path):
    content = torch.load(exported)
    half = {name: value for name, value in content['state_dict'].items() if '.decoder.' not in name}
    torch.save(dict(content, state_dict=half), tmp_path / 'encoder.pth')
    model = loaded(str(tmp_path / 'encoder.pth'))
    lacking = (
        len(content['state_dict'])
        - len(half)
        - sum('.decoder.' in n and 'num_batches' in n for n in student.state_dict())
    )
    line = complaint(model, str(tmp_path / 'encoder.pth'))
    assert f'{lacking} of ' in line and 'has no backbone.decoder.0' in line
    assert verify_loading(model, tmp_path / 'encoder.pth', min_fraction=0.1).absent


def test_weights_of_another_network(exported, tmp_path):
    line = complaint(loaded(exported, network=backbone(base=8)), exported)
    assert 'backbone.conv_input.0.0.weight is (3, 3, 3, 1, 4) in the file and (8, 3, 3, 3, 1) in the network' in line

    names = dict(state_dict={'middle_encoder.conv_input.0.weight': torch.ones(3)})
    torch.save(names, tmp_path / 'second.pth')
    line = complaint(loaded(exported), str(tmp_path / 'second.pth'))
    assert 'no middle_encoder.conv_input.0.weight (it has backbone, decode_head)' in line

    torch.save(dict(state_dict={'student.backbone.weight': torch.ones(3)}), tmp_path / 'epoch_1.pth')
    assert 'tools/export_backbone.py' in complaint(loaded(exported), str(tmp_path / 'epoch_1.pth'))

    torch.save(dict(state_dict={}), tmp_path / 'empty.pth')
    assert 'holds no weights' in complaint(loaded(exported), str(tmp_path / 'empty.pth'), min_fraction=0)


@pytest.mark.parametrize(
    'settings, text',
    [
        (dict(voxel_size=(0.1, 0.5, 0.5)), r'voxel_size was \[0.5, 0.5, 0.5\] .* and is \[0.1, 0.5, 0.5\] here'),
        (dict(coordinates='cylindrical'), 'coordinates was cartesian in pre-training and is cylindrical here'),
        (dict(feature_columns=[2]), r'set model.data_preprocessor.feature_columns=\[3\]'),
    ],
)
def test_other_input_settings(settings, text, exported):
    line = complaint(loaded(exported, **settings), exported)
    assert re.search(text, line) and "settings='warn'" in line
    report = verify_loading(loaded(exported, **settings), exported, settings='warn')
    assert report.fraction == 1


def test_other_number_of_input_columns_names_both(exported):
    line = complaint(loaded(exported, network=backbone(columns=4), feature_columns=(0, 1, 2, 3)), exported)
    assert 'feature_columns was [3] in pre-training and is [0, 1, 2, 3] here' in line


def test_other_range_of_a_detector(tmp_path):
    trunk, detector = trunk_and_detector(SECOND)
    export_backbone(trunk, tmp_path / 'backbone.pth', source='')
    load_checkpoint(detector, str(tmp_path / 'backbone.pth'), map_location='cpu')
    detector.data_preprocessor.voxel_layer.point_cloud_range = [0, -40, -3, 70.4, 40, 2]
    line = complaint(detector, str(tmp_path / 'backbone.pth'))
    assert 'set model.data_preprocessor.voxel_layer.point_cloud_range=[0, -40, -3, 70.4, 40, 1]' in line
    assert 'voxel_size' not in line


def test_voxels_of_mmdet3ds_own_segmentor(exported):
    model = loaded(exported)
    layer = dict(max_num_points=-1, point_cloud_range=[-9] * 3 + [9] * 3, voxel_size=[0.5] * 3, max_voxels=(-1, -1))
    own = dict(type='Det3DDataPreprocessor', voxel=True, voxel_type='minkunet', voxel_layer=layer)
    model.data_preprocessor = MODELS.build(own)
    assert verify_loading(model, exported).fraction == 1
    layer['voxel_size'] = [0.05] * 3
    model.data_preprocessor = MODELS.build(own)
    assert 'set model.data_preprocessor.voxel_layer.voxel_size=[0.5, 0.5, 0.5]' in complaint(model, exported)


@pytest.mark.parametrize('arguments', [dict(min_fraction=98), dict(settings='ignore')])
def test_wrong_arguments(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        VerifyLoadingHook(**arguments)


class Scans(torch.utils.data.Dataset):
    """Two scans of random points with labels."""

    metainfo = {}

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        from mmdet3d.structures import Det3DDataSample, PointData

        points = torch.rand(200, 4, generator=torch.Generator().manual_seed(index)) * 9
        labels = PointData(pts_semantic_mask=(points[:, 0] > 4).long())
        return dict(inputs=dict(points=points), data_samples=Det3DDataSample(gt_pts_seg=labels))


@pytest.fixture
def run(tmp_path):
    """A run of one iteration an epoch with `VerifyLoadingHook`, in folder run1, run2, ...; returns its log."""
    runs = []

    def start(load_from: str | None, hook: dict | None = None, network: dict | None = None, **kwargs) -> str:
        runs.append(load_from)
        loader = dict(batch_size=2, num_workers=0, dataset=Scans(), collate_fn=dict(type='pseudo_collate'))
        runner = Runner(
            segmentor(network),
            work_dir=str(tmp_path / f'run{len(runs)}'),
            train_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            train_cfg=dict(by_epoch=True, max_epochs=kwargs.pop('epochs', 1)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='peridot.VerifyLoadingHook', **(hook or {}))],
            load_from=load_from,
            experiment_name=f'{tmp_path.name}_{len(runs)}',
            default_scope='mmdet3d',
            **kwargs,
        )
        runner.train()
        return next((tmp_path / f'run{len(runs)}').glob('*/*.log')).read_text()

    return start


def test_run_from_weights_and_its_resumption(run, exported, tmp_path):
    assert 'numbers are in the network, compared by value' in run(exported)
    # the trained weights differ from the file's, and need not be compared with it
    assert 'compared by value' not in run(str(tmp_path / 'run1' / 'epoch_1.pth'), resume=True, epochs=2)


@pytest.mark.parametrize('learned, warned', [((0, 255), True), ((0, 1), True), ((0, 10), False), (None, False)])
def test_run_on_intensities_of_another_scale(student, run, learned, warned, tmp_path):
    """The clouds have intensities up to 9."""
    features = dict(dataset='x', columns=['intensity'], intensity_range=learned, normalization='none, as in the files')
    export_backbone(student, tmp_path / 'backbone.pth', '', features)
    log = run(str(tmp_path / 'backbone.pth'), epochs=2)
    assert log.count('the largest of the first batch is') == warned
    assert log.count('scale them (LoadPoints intensity_scale)') == warned


FEATURES = dict(columns=['x', 'intensity'], intensity_range=[0, 255], normalization='none, values as in the files')


@pytest.mark.parametrize(
    'features, points, end',
    [
        (FEATURES, [torch.ones(2, 4)], 255),
        (FEATURES, torch.ones(3, 2, 4), 255),
        (FEATURES | dict(normalization='intensity / 255'), [torch.full((2, 4), 200.0)], 1),
        (FEATURES | dict(normalization='intensity / 255'), [torch.ones(2, 4)], None),
        (FEATURES | dict(normalization='intensity / 0.00392157'), [torch.ones(2, 4)], 65025),
        (FEATURES | dict(normalization='tanh(intensity / 255)'), [torch.full((2, 4), 200.0)], None),
        (FEATURES | dict(columns=['x', 'y', 'z']), [torch.ones(2, 4)], None),
        (FEATURES, [torch.ones(2, 3)], None),
        (FEATURES, [torch.ones(0, 4)], None),
        (FEATURES, [torch.ones(0, 4), torch.ones(2, 4)], 255),
        (FEATURES, (), None),
        (dict(datasets=[FEATURES]), [torch.ones(2, 4)], None),
        (None, [torch.ones(2, 4)], None),
    ],
)
def test_scale_of_intensities(features, points, end):
    text = other_intensities(features, points)
    assert text is None if end is None else f'intensities up to {end}, ' in text


@pytest.mark.parametrize(
    'inputs, warned',
    [(dict(points=torch.ones(2, 3, 4)), 1), (dict(points=[]), 0), (dict(img=[]), 0), ([torch.ones(3, 4)], 0)],
)
def test_batches_of_other_forms(inputs, warned, monkeypatch):
    lines = []
    monkeypatch.setattr('peridot.hooks.verify_loading.print_log', lambda *args: lines.append(args))
    hook = VerifyLoadingHook()
    hook._features = FEATURES
    hook.before_train_iter(None, 0, dict(inputs=inputs))
    assert len(lines) == warned and hook._features is None


def test_run_from_safetensors(run, exported, tmp_path):
    path = tmp_path / 'backbone.pth'
    save_file(torch.load(exported)['state_dict'], path)
    log = run(str(path))
    assert re.search(r'(\d+) of \1 tensors \(100 %\) and (\d+) of \2 numbers are in the network', log)


def test_run_stops_before_its_first_iteration(run, trap, tmp_path):
    with pytest.raises(CheckpointError, match='layout trap'):
        run(trap)
    assert not (tmp_path / 'run1' / 'epoch_1.pth').exists()


def test_run_from_init_cfg(run, exported, trap):
    def network(path: str) -> dict:
        return backbone(init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))

    assert 'compared by value' in run(None, dict(checkpoint=exported), network(exported))
    with pytest.raises(CheckpointError, match='layout trap'):
        run(None, dict(checkpoint=trap), network(trap))


def test_run_from_random_weights_says_so(run, exported):
    log = run(None)
    assert 'starts from random' in log and 'init_cfg' not in log.split('starts from random')[1]


def test_random_start_with_the_rates_of_a_pretrained_one(run):
    protocol = dict(random_init_options={'optim_wrapper.optimizer.lr': 0.05, 'optim_wrapper.paramwise_cfg': None})
    optimizer = dict(type='SGD', lr=0.02)
    log = run(None, cfg=dict(protocol, optim_wrapper=dict(optimizer=optimizer, paramwise_cfg=dict(custom_keys={}))))
    wanted = '--cfg-options optim_wrapper.optimizer.lr=0.05 optim_wrapper.paramwise_cfg=None'
    assert f'random starts have other settings in this protocol: add {wanted}' in log
    log = run(None, cfg=dict(protocol, optim_wrapper=dict(optimizer=dict(optimizer, lr=0.05), paramwise_cfg=None)))
    assert 'random starts' not in log


def test_test_of_weights_without_a_head(student, exported, tmp_path):
    """A test, unlike a training, wants the head from the file."""

    def test(path: str) -> None:
        name = f'{tmp_path.name}_{Path(path).stem}'
        runner = Runner(segmentor(), str(tmp_path), load_from=path, default_scope='mmdet3d', experiment_name=name)
        hook = VerifyLoadingHook()
        runner.register_hook(hook)
        runner.load_or_resume()
        hook.before_test(runner)

    with pytest.raises(CheckpointError, match=r'has no decode_head\.conv_seg.weight'):
        test(exported)
    whole = str(tmp_path / 'whole.pth')
    torch.save(dict(state_dict=randomize(segmentor()).state_dict()), whole)
    test(whole)


def test_absent_and_damaged_files(run, exported, tmp_path):
    with pytest.raises(CheckpointError, match=r'nothing\.pth not found'):
        run(str(tmp_path / 'nothing.pth'))
    content = Path(exported).read_bytes()
    (tmp_path / 'half.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r'half\.pth cannot be read'):
        run(str(tmp_path / 'half.pth'))
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match=r'list\.pth holds no state dict but a list: get'):
        run(str(tmp_path / 'list.pth'))


def test_settings_of_the_fixture_are_those_of_the_student(student):
    assert student.input_settings() == dict(
        voxel_size=list(SETTINGS['voxel_size']),
        coordinates='cartesian',
        feature_columns=[3],
        rounding='floor',
        origin='grid',
    )


def test_configs_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[2] / 'docs' / 'weights.md').read_text()
    segmentation, detection = re.findall(r'```python\n(_base_ = .+?)```', text, re.DOTALL)
    config = Config.fromstring(segmentation, '.py')
    assert HOOKS.build(config.custom_hooks[0]).min_fraction == 1
    # fewer blocks and channels than MinkUNet34
    config.model.backbone.update(backbone())
    config.model.decode_head.channels = 8
    export_backbone(SparseUNetStudent(config.model.backbone, **config.voxels), tmp_path / 'unet.pth', '')
    export_backbone(DetectorTrunk(SECOND, read_after='middle_encoder'), tmp_path / 'trunk.pth', '')
    for settings, file in ((config, 'unet.pth'), (Config.fromstring(detection, '.py'), 'trunk.pth')):
        model = MODELS.build(settings.model)
        load_checkpoint(model, str(tmp_path / file), map_location='cpu')
        assert verify_loading(model, tmp_path / file).fraction == 1
