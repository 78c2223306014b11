from collections import Counter

import numpy as np
from mmdet3d.datasets import CBGSDataset
from mmengine.dataset import BaseDataset


class Frames(BaseDataset):
    """Frames with the categories of their objects; -1 is an object of no class."""

    METAINFO = dict(classes=('car', 'tram', 'bicycle'))

    def load_data_list(self) -> list[dict]:
        return [dict(categories=c) for c in ({0}, {0}, {0, 2}, {-1}, {0})]

    def get_cat_ids(self, index: int) -> set[int]:
        return self.get_data_info(index)['categories']


def test_a_class_without_samples_is_left_out_of_the_balance():
    np.random.seed(0)
    drawn = CBGSDataset(Frames()).sample_indices
    # 5 frames of objects over 3 classes: one each for the two classes that have some
    assert len(drawn) == 2 and drawn[1] == 2 and drawn[0] in (0, 1, 2, 4)


def test_with_all_classes_it_draws_as_before():
    class Whole(Frames):
        METAINFO = dict(classes=('car', 'tram', 'bicycle'))

        def load_data_list(self) -> list[dict]:
            return [dict(categories=c) for c in [{0}] * 27 + [{1}] * 2 + [{2}]]

    np.random.seed(0)
    counts = Counter(np.minimum(CBGSDataset(Whole()).sample_indices, 28).tolist())
    cars = sum(count for index, count in counts.items() if index < 27)
    assert 9 <= cars <= 10 and 18 <= sum(counts.values()) - cars <= 20
