import numpy as np
import pytest
from streets.mesh import Material
from streets.shapes import box, cylinder, frustum


@pytest.mark.parametrize(
    'mesh',
    [
        box((1, 2, 3), (0.5, 0, 0), Material.PAINT, (1, 0, 0)),
        frustum((-1, 1), (-1, 1), (0, 1), Material.WINDOW, (1, 0, 0), top_x=(-0.5, 0.5)),
        cylinder((1, 0.5), (0, 2), Material.PAINT, (1, 0, 0)),
        cylinder((0.4, 0.4), (-0.1, 0.1), Material.RUBBER, (1, 0, 0), at=(1, 0.4), axis='y'),
    ],
)
def test_shapes_are_closed_and_face_outward(mesh):
    corner = mesh.vertices.astype(float)
    volume = np.einsum('fi,fi->f', corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]).sum(0)
    assert volume > 0  # outward winding
    assert np.allclose(area, 0, atol=1e-5)  # closed surface
    outward = ((corner.mean(1) - corner.mean((0, 1))) * mesh.normal).sum(1)
    assert (outward > 0).all()
