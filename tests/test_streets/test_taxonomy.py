from nuscenes.utils import splits
from streets.taxonomy import SCENES, VAL_SCENES, visibility_token


def test_scenes_are_those_of_nuscenes_mini():
    assert set(SCENES) - set(VAL_SCENES) == set(splits.mini_train) and set(VAL_SCENES) == set(splits.mini_val)


def test_visibility_levels():
    assert [visibility_token(fraction) for fraction in (0.0, 0.39, 0.4, 0.6, 0.79, 0.8, 1.0)] == list('1123344')
