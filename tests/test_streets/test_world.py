import pytest
from streets.world import choose


@pytest.mark.parametrize('draw, row', [(0.0, ('tree',)), (0.19, ('tree',)), (0.21, ('sign', 2)), (0.49, ('sign', 2))])
def test_rows_are_chosen_by_their_ratio(draw, row):
    table = ((0.2, 'tree'), (0.3, 'sign', 2))
    assert choose(draw, table) == row
    assert choose(0.51, table) is None
