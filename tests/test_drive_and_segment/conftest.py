import pytest
from peridot.drive_and_segment.proposals import Sensor


@pytest.fixture
def sensor() -> Sensor:
    return Sensor(columns=540, ring_column=4)
