"""dwv, which knows nothing but images, shows the maps, the pages and the region."""

import numpy as np
import pytest

from tests.acceptance.viewers.conftest import grey_of

pytestmark = [pytest.mark.peer, pytest.mark.timeout(400)]

MAPS = ["mr_map_r2star", "mr_map_t2star"]


@pytest.fixture(scope="module")
def seen(simulated, shelf, look):
    study = shelf.put(simulated)
    points = [study.point(voxel) for voxel in study.landmarks]
    loads = {kind: [shelf.files(study, kind)] for kind in MAPS}
    loads["segmentation"] = [shelf.files(study, "mr_map_t2star"), shelf.files(study, "segmentation")]
    loads["picture"] = [shelf.files(study, "picture")[:1]]  # pages have no place: dwv shows them one by one
    steps = [
        {"name": f"dwv-{kind}", "loads": files, "points": [] if kind == "picture" else points}
        for kind, files in loads.items()
    ]
    shown = look("dwv.mjs", {}, steps)
    return {kind: shown[f"dwv-{kind}"] for kind in loads}


@pytest.mark.parametrize("kind", MAPS)
def test_the_value_under_a_known_position_is_in_the_unit_of_the_map(simulated, seen, kind):
    expected = [float(simulated.in_units(kind)[voxel]) for voxel in simulated.landmarks]
    assert seen[kind].told["values"] == pytest.approx(expected)


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_opens_in_its_own_window(simulated, seen, kind):
    image = simulated.objects(kind)[simulated.shown]
    for (_, row, column), colour in zip(simulated.landmarks, seen[kind].colours(), strict=True):
        assert np.allclose(colour, grey_of(image, image.pixel_array[row, column]), atol=8), (row, column)


def test_the_segmentation_lies_over_the_map(simulated, seen):
    for voxel, (red, green, blue) in zip(simulated.landmarks, seen["segmentation"].colours(), strict=True):
        assert (max(red, green, blue) - min(red, green, blue) > 25) == simulated.measured[voxel], voxel


def test_the_colour_page_is_in_colour(seen):
    coloured = np.ptp(seen["picture"].picture.astype(int), axis=2) > 80
    assert coloured.mean() > 0.02
