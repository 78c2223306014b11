import pytest
from peridot.drive_and_segment import Sensor


@pytest.fixture
def sensor() -> Sensor:
    return Sensor(columns=540, ring_column=4)
