import numpy as np
import pytest

from dicomnode.measure.liver.views import view_of
from dicomnode.model import Plane


def plane(row, column, spacing=(2.0, 1.0)):
    return Plane(3, 5, (0.0, 0.0, 0.0), (*row, *column), spacing, "1.2.3")


L, P, H = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
FEET, RIGHT, FRONT = (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)


@pytest.mark.parametrize(
    ("row", "column", "kind"), [(L, P, "axial"), (L, FEET, "coronal"), (P, FEET, "sagittal"), (P, L, "axial")]
)
def test_the_kind_is_that_of_the_nearest_plane(row, column, kind):
    assert view_of(plane(row, column)).kind == kind


def test_an_image_already_as_anatomists_look_stays():
    image = np.arange(15).reshape(3, 5)
    for row, column in ((L, P), (L, FEET), (P, FEET)):
        assert np.array_equal(view_of(plane(row, column)).turn(image), image)


def test_rows_towards_the_right_are_reversed_and_transposed_images_swapped():
    image = np.arange(15).reshape(3, 5)
    assert np.array_equal(view_of(plane(RIGHT, P)).turn(image), image[:, ::-1])
    assert np.array_equal(view_of(plane(L, FRONT)).turn(image), image[::-1])
    swapped = view_of(plane(P, L))
    assert np.array_equal(swapped.turn(image), image.T)
    assert swapped.spacing_mm == (1.0, 2.0)


def test_turning_back_undoes_turning():
    image = np.arange(15).reshape(3, 5)
    for row in (L, P, H, FEET, RIGHT, FRONT):
        for column in (L, P, H, FEET, RIGHT, FRONT):
            if abs(np.dot(row, column)) < 0.5:
                view = view_of(plane(row, column))
                assert np.array_equal(view.turn_back(view.turn(image)), image)


def test_a_tilted_plane_says_by_how_much():
    tilted = (0.0, np.cos(0.3), np.sin(0.3))
    assert view_of(plane(L, tilted)).tilt_degrees == pytest.approx(np.degrees(0.3))
