"""The four circles lie in the patient, whichever way the picture does."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.compare import circles
from dicomnode.model import Plane

AXIAL = Plane(100, 200, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.5, 2.5), "1")


def trunk():
    body = np.zeros((1, 100, 200), bool)
    body[0, 10:90, 40:160] = True
    return body


def test_circles_have_their_diameter_and_follow_the_patients_right_and_back():
    turned = replace(AXIAL, orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    here, there = (circles.place(trunk(), (plane,))[0] for plane in (AXIAL, turned))
    assert [roi.name for roi in here] == list(circles.CENTRES)
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.mask, other.mask[:, ::-1, ::-1])
        assert one.mask.sum() * 2.5**2 == pytest.approx(np.pi * 20**2, rel=0.05)


def test_an_arm_that_touches_the_trunk_moves_no_circle():
    with_arm = trunk()
    with_arm[0, 40:65, 5:38] = True
    with_arm[0, 50:54, 38:40] = True
    masks = [[roi.mask for roi in circles.place(body, (AXIAL,))[0]] for body in (trunk(), with_arm)]
    assert np.mean(np.array(masks[0]) == np.array(masks[1])) > 0.99


def test_there_are_no_circles_in_other_planes_or_without_a_body():
    coronal = replace(AXIAL, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    assert circles.place(trunk(), (coronal,)) == ((), circles.NOT_AXIAL)
    assert circles.place(~trunk() & False, (AXIAL,)) == ((), circles.NO_BODY)
