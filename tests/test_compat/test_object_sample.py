import numpy as np
import pytest
from mmdet3d.datasets.transforms import dbsampler
from peridot.compat import object_sample


def test_only_the_samplers_numpy_has_the_type():
    assert dbsampler.np.long is np.int64 and dbsampler.np.concatenate is np.concatenate
    with pytest.raises(AttributeError):
        np.long  # noqa: B018  (numpy 2 has it again: delete object_sample.py once numpy 2 is required)


def test_a_sound_module_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / 'sound.py').write_text('import numpy as np\n')
    monkeypatch.syspath_prepend(tmp_path)
    import sound

    object_sample._repair(sound)
    assert sound.np is np
