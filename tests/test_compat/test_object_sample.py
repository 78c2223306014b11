import numpy as np
import pytest
from mmdet3d.datasets.transforms import dbsampler
from peridot.compat import object_sample


def test_only_the_samplers_numpy_has_the_type():
    assert dbsampler.np.long is np.int64 and dbsampler.np.concatenate is np.concatenate
    if np.__version__ < '2':
        with pytest.raises(AttributeError):
            np.long  # noqa: B018  (delete object_sample.py once numpy 2 is required)
    else:
        assert dbsampler.np is np


def test_a_sound_module_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / 'sound.py').write_text('import numpy as np\n')
    monkeypatch.syspath_prepend(tmp_path)
    import sound

    object_sample.repair(sound)
    assert sound.np is np
