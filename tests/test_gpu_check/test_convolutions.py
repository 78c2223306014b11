import pytest
import spconv.pytorch.ops as ops
import torch
from peridot.gpu_check import convolutions
from peridot.gpu_check.checks import Differs, run_part


def test_all_layers_equal_the_plain_sum(small):
    rows = list(run_part('convolutions', convolutions.checks, small))
    assert [(row.check, row.error) for row in rows if row.status != 'ok'] == []
    assert len(rows) == 1 + len(convolutions.LAYERS) * len(convolutions.MODES)
    assert rows[0].values['build'] == 'wheel for the CPU'
    assert all(row.values['voxels'] > 100 for row in rows[1:])


def test_a_wrong_result_is_refused_by_the_exact_modes(small, monkeypatch):
    right = ops.indice_conv
    monkeypatch.setattr(ops, 'indice_conv', lambda *args, **kwargs: right(*args, **kwargs) * 1.001)
    grid, layer = convolutions.voxels(300), convolutions.LAYERS['strided k3']
    with pytest.raises(Differs, match=r'^output differ by 0\.001'):
        convolutions.compare_layer(layer, 'float32', grid, 'cpu')
    assert convolutions.compare_layer(layer, 'bfloat16', grid, 'cpu')['output'] == pytest.approx(1e-3, rel=0.1)


def test_a_wrong_gradient_is_refused(small, monkeypatch):
    right = ops.indice_conv_backward

    def without_last_offset(*args, **kwargs):
        features, weight = right(*args, **kwargs)
        weight.flatten(1, 3)[:, -1] = 0
        return features, weight

    monkeypatch.setattr(ops, 'indice_conv_backward', without_last_offset)
    with pytest.raises(Differs, match=r'^gradient of weight differ'):
        convolutions.compare_layer(convolutions.LAYERS['inverse k2'], 'bfloat16', convolutions.voxels(300), 'cpu')


def test_missing_voxels_are_refused(small, monkeypatch):
    monkeypatch.setattr(convolutions, '_coarse', lambda layer, grid: torch.zeros(1, 4, dtype=torch.int32))
    with pytest.raises(Differs, match='voxels in the output, expected 1'):
        convolutions.compare_layer(convolutions.LAYERS['strided k2'], 'float32', convolutions.voxels(300), 'cpu')
