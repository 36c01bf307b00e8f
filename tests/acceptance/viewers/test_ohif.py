"""OHIF shows every result of a scan, in the right place."""

import re
from itertools import combinations

import numpy as np
import pytest

from tests.acceptance.viewers.conftest import deepest, grey_of

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

PRODUCTS = {
    # step: (tour of ohif.mjs, kind of object, kind of the map it is shown on)
    "r2star": ("map", "mr_map_r2star", "mr_map_r2star"),
    "t2star": ("map", "mr_map_t2star", "mr_map_t2star"),
    "segmentation": ("segmentation", "segmentation", "mr_map_t2star"),
    "report": ("report", "structured_report", "mr_map_t2star"),
    "parametric-map": ("overlay", "parametric_map_r2star", "mr_map_r2star"),
    "colour-page": ("page", "picture", "picture"),
}
PROBE = re.compile(r"\((\d+), (\d+), \d+\)\s*([\d.,]+)")


@pytest.fixture(scope="module", params=["simulated", "real"])
def scan(request, shelf):
    return shelf.put(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def seen(scan, look):
    """One session at the viewer: a screenshot, and what was read, of every product."""
    name = "simulated" if scan.truth else "real"
    steps = {product: {"name": f"ohif-{name}-{product}", **step(scan, *way)} for product, way in PRODUCTS.items()}
    series = 1 + len({one["kind"] for one in scan.series["outputs"]})
    shown = look("ohif.mjs", {"study": scan.uid, "series": series}, list(steps.values()))
    return {product: shown[one["name"]] for product, one in steps.items()}


def step(scan, tour, kind, shown_on):
    wanted = {"tour": tour, "series": int(scan.objects(kind)[0].SeriesNumber), "fresh": tour in ("report", "page")}
    wanted["title"] = str(scan.objects(shown_on)[0].SeriesDescription)
    wanted["points"] = [scan.point(voxel) for voxel in scan.landmarks]
    wanted["pixels"] = [[column, row] for row, column in flat_places(scan.objects("picture")[0].pixel_array)]
    wanted["deep"] = [scan.point(voxel) for voxel in on_every_slice(scan)]
    return {**wanted, "upper": 50000}


def on_every_slice(scan):
    return [deepest(scan.measured, k) for k in range(len(scan.measured)) if scan.measured[k].any()]


def flat_places(page):
    """Places of a page, one per colour, that lie in the middle of 15 × 15 pixels alike."""
    rows, columns = np.mgrid[20 : page.shape[0] - 20 : 10, 20 : page.shape[1] - 20 : 10]
    places = {}
    for row, column in zip(rows.ravel(), columns.ravel(), strict=True):
        around = page[row - 7 : row + 8, column - 7 : column + 8].reshape(-1, 3)
        if around.max() > 60 and np.ptp(around, axis=0).max() <= 6:
            places.setdefault(tuple(page[row, column] // 32), (int(row), int(column)))
    return list(places.values())[:6]


@pytest.mark.parametrize("product", ["r2star", "t2star"])
def test_the_probe_reads_the_value_under_a_known_position_in_the_unit_of_the_map(scan, seen, product):
    values = scan.in_units(f"mr_map_{product}")
    said = {(int(c), int(r)): float(v.replace(",", "")) for c, r, v in PROBE.findall(seen[product].text)}
    expected = {(c, r): float(values[k, r, c]) for k, r, c in scan.landmarks}
    assert said == pytest.approx(expected, rel=5e-3)  # it prints three digits


@pytest.mark.parametrize("product", ["r2star", "t2star"])
def test_a_map_opens_in_its_own_window(scan, seen, product):
    image = scan.objects(f"mr_map_{product}")[scan.shown]
    for (_, row, column), colour in zip(scan.landmarks, seen[product].colours(), strict=True):
        assert np.allclose(colour, grey_of(image, image.pixel_array[row, column]), atol=8), (row, column)


def test_the_values_are_those_of_the_tissue(simulated):
    for voxel in simulated.landmarks:
        known = simulated.truth.r2star_per_s[voxel]
        assert simulated.values("mr_map_r2star")[voxel] == pytest.approx(known, rel=0.1), voxel


def test_the_parametric_map_lies_over_the_map(scan, seen):
    overlay, stored = seen["parametric-map"], scan.values("mr_map_r2star").astype(int)
    # OHIF shows a hundredfold of the values of a Parametric Map.
    assert np.array(overlay.told["values"]) / 100 == pytest.approx([stored[v] for v in on_every_slice(scan)], abs=0.51)
    values = [stored[voxel] for voxel in scan.landmarks]
    for (one, here), (other, there) in combinations(zip(values, overlay.colours(), strict=True), 2):
        assert abs(one - other) < 50 or np.abs(np.subtract(here, there)).max() > 20


def test_the_segmentation_covers_what_was_measured_and_nothing_else(scan, seen):
    shown = seen["segmentation"]
    for voxel, (red, green, blue) in zip(scan.landmarks, shown.colours(), strict=True):
        coloured = max(red, green, blue) - min(red, green, blue) > 40
        assert coloured == scan.measured[voxel], voxel
    (segmentation,) = scan.objects("segmentation")
    assert shown.told["labels"] == [one.SegmentLabel for one in segmentation.SegmentSequence]


def test_the_report_lists_its_numbers_with_units(scan, seen):
    (roi, *_) = scan.series["rois"]
    text = seen["report"].text
    assert f"R2*: {roi['r2star_per_s']['median']:.2f} /s" in text
    assert f"T2*: {roi['t2star_ms']['median']:.2f} ms" in text
    assert f": {roi['lic_mg_per_g']:.2f} mg/g" in text


def test_the_colour_page_shows_its_colours(scan, seen):
    page = scan.objects("picture")[0].pixel_array
    places = flat_places(page)
    assert len(places) >= 3
    for (row, column), colour in zip(places, seen["colour-page"].colours(), strict=True):
        assert np.allclose(colour, page[row, column], atol=14), (row, column)
