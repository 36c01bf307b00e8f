"""The colour pages: the right colours in the right place, and nothing of the patient."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from dicomnode.model import Plane
from dicomnode.report import pictures
from dicomnode.report.pictures import R2STAR, T2STAR


def test_each_slice_has_a_page_of_plain_rgb(everything):
    assert [d.InstanceNumber for d in everything["picture"]] == [1, 2, 3]
    for d in everything["picture"]:
        assert (d.PhotometricInterpretation, d.PlanarConfiguration, d.BitsAllocated) == ("RGB", 0, 8)
        assert d.pixel_array.shape == (960, 1280, 3)


def test_annotation_is_declared(everything):
    assert everything["picture"][0].BurnedInAnnotation == "YES"


def test_colours_are_the_values(bench):
    draft = bench.draft(replace(bench.result(), rois=(), measurements=(), decays=()))
    shown = pictures.page(draft, 1)[:, :640].reshape(-1, 3)
    for value in draft.result.maps.t2star_ms[1, 10, 5:20]:
        colour = np.array(mpl.colormaps["viridis"](T2STAR.norm()(value))[:3]) * 255
        assert np.abs(shown - colour).max(axis=1).min() < 1.5


def test_the_range_does_not_follow_the_data(bench):
    result = bench.result()
    doubled = replace(result.maps, t2star_ms=result.maps.t2star_ms * 2, r2star_per_s=result.maps.r2star_per_s / 2)
    one, other = (pictures.page(bench.draft(r), 0) for r in (result, replace(result, maps=doubled)))
    bar = (slice(120, 600), slice(530, 600))
    np.testing.assert_array_equal(one[bar], other[bar])


@pytest.mark.parametrize("scale", [T2STAR, R2STAR])
def test_values_beyond_the_range_take_its_ends(scale):
    norm = scale.norm()
    assert norm(scale.highest * 10) == 1
    assert norm(scale.lowest - 1 if not scale.logarithmic else 1.0) == 0


def test_colours_rise_in_brightness_so_that_grey_and_colour_blind_readers_see_the_same_order():
    rgb = mpl.colormaps["viridis"](np.linspace(0, 1, 64))[:, :3]
    assert (np.diff(rgb @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_a_region_is_outlined_in_white_on_black_where_it_lies(bench):
    draft = bench.draft()
    without = bench.draft(replace(draft.result, rois=(), measurements=(), decays=()))
    changed = (pictures.page(draft, 0) != pictures.page(without, 0)).any(axis=2)[100:620, :530]
    rows, columns = np.nonzero(changed)
    assert changed.any()
    assert rows.min() > 50
    assert columns.max() < 440


def test_the_patient_is_not_on_the_page(bench, scan):
    plain = pictures.page(bench.draft(bench.result()), 0)
    named = bench.result(scan(header={"PatientName": "Somebody^Else", "PatientID": "OTHER"}))
    np.testing.assert_array_equal(pictures.page(bench.draft(named), 0), plain)


@pytest.mark.filterwarnings("error")
def test_names_the_font_cannot_draw_do_not_stop_the_page(bench):
    result = bench.result()
    odd = replace(result.rois[0], name="肝臓 $x^2$")
    assert pictures.page(bench.draft(replace(result, rois=(odd, result.rois[1]))), 0).any()
    assert pictures.drawable("肝 ok") == "? ok"


def test_more_regions_than_there_is_room_for_are_counted(bench):
    result = bench.result()
    many = replace(result, rois=result.rois * 12, measurements=result.measurements * 12, decays=())
    assert pictures.page(bench.draft(many), 0).any()


@pytest.mark.parametrize(
    ("direction", "side"),
    [((1, 0, 0), "L"), ((-1, 0, 0), "R"), ((0, 1, 0), "P"), ((0, 0, -1), "F"), ((0.8, 0.48, 0.36), "LPH")],
)
def test_sides_are_the_patient_s(direction, side):
    assert pictures.side(np.array(direction, float)) == side


def test_pixels_that_are_not_square_keep_their_shape(bench):
    draft = bench.draft()
    plane = draft.source.slices[0].plane
    assert isinstance(plane, Plane)
    page = pictures.page(draft, 0)[100:620, :530]
    rows, columns = np.nonzero(page.any(axis=2))
    shape = (np.ptp(rows) + 1) * plane.columns * 1.5 / ((np.ptp(columns) + 1) * plane.rows * 1.75)
    assert shape == pytest.approx(1.0, abs=0.05)
