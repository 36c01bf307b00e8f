"""The pages: the right colours in the right place, nothing cut off, nothing over anything else."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from dicomnode.config import ReportSettings
from dicomnode.measure.organs import LIVER
from dicomnode.model import Drawn, Grade, Plane
from dicomnode.report import colours, figures, pictures, wording
from dicomnode.report.sheet import Box
from tests.unit.dicomnode.report.conftest import DOUBT


def words(sheet):
    return " ".join(text.text for text in sheet.texts())


def test_each_slice_has_a_page_of_plain_rgb(everything):
    assert [d.InstanceNumber for d in everything["picture"]] == [1, 2, 3]
    for d in everything["picture"]:
        assert (d.PhotometricInterpretation, d.PlanarConfiguration, d.BitsAllocated) == ("RGB", 0, 8)
        assert d.pixel_array.shape == (960, 1280, 3)


def test_colours_are_the_values(bench):
    draft = bench.draft(replace(bench.result(), rois=(), measurements=(), decays=()))
    shown = {tuple(pixel) for pixel in pictures.page(draft, 1).reshape(-1, 3)}
    for value in draft.result.maps.r2star_per_s[1, 10, 5:20]:
        assert tuple(colours.table()[round(float(colours.position(value)) * 255)]) in shown


def test_the_range_does_not_follow_the_data(bench):
    result = bench.result()
    faster = {"t2star_ms": result.maps.t2star_ms / 2, "r2star_per_s": result.maps.r2star_per_s * 2}
    maps = replace(result.maps, values={**result.maps.values, **faster})
    one, other = (pictures.page(bench.draft(r), 0) for r in (result, replace(result, maps=maps)))
    bar = (slice(150, 600), slice(1090, 1280))
    np.testing.assert_array_equal(one[bar], other[bar])


def test_severe_is_at_the_same_end_of_the_colours_in_both_units():
    for fast, slow in zip(colours.R2STAR_TICKS, colours.T2STAR_TICKS, strict=True):
        assert 1000.0 / fast == pytest.approx(float(slow))
    assert np.all(np.diff(colours.position(np.array(colours.R2STAR_TICKS, np.float32))) > 0)


def test_values_outside_the_colours_take_their_ends():
    assert colours.position(1e6) == 1
    assert colours.position(0.0) == 0


def test_colours_rise_in_brightness_so_that_grey_and_colour_blind_readers_see_the_same_order():
    assert (np.diff(colours.table() @ [0.2126, 0.7152, 0.0722]) > -0.5).all()


def test_what_is_beyond_the_range_is_bright_and_never_black_nor_the_colour_of_a_value(bench):
    page = pictures.page(bench.draft(replace(bench.result(), rois=(), measurements=(), decays=())), 1)
    striped = (page == colours.BEYOND[1]).all(axis=2)[:, : pictures.BAR]
    assert striped[pictures.IMAGES_TOP : 560].sum() > 500
    assert not (colours.table() == colours.BEYOND[1]).all(axis=1).any()
    assert np.mean(colours.BEYOND @ np.array([0.2126, 0.7152, 0.0722])) > 130


def test_a_region_beyond_the_range_is_so_in_every_voxel_without_a_fit(bench):
    result = bench.result()
    lost = replace(result.maps, valid=result.maps.valid & ~result.rois[1].mask)  # its signal is lost in the noise
    page = pictures.page(bench.draft(replace(result, maps=lost)), 1)
    plain = pictures.page(bench.draft(result), 1)
    assert (page == colours.BEYOND[1]).all(axis=2).sum() > (plain == colours.BEYOND[1]).all(axis=2).sum() + 1000


def test_a_region_is_outlined_on_the_magnitude_and_on_the_map(bench):
    draft = bench.draft()
    without = bench.draft(replace(draft.result, rois=(), measurements=(), decays=()))
    changed = (pictures.page(draft, 0) != pictures.page(without, 0)).any(axis=2)[180:500]
    left, right = changed[:, :530], changed[:, 540:1050]
    assert left.any()
    assert right.any()
    assert (left[:, 20:520] != right[:, :500]).mean() < 1e-3  # the map is white itself here and there


def test_without_the_first_echo_the_signal_at_time_zero_shows_the_anatomy(bench):
    assert "Signal at TE 0" in words(pictures.sheet(bench.draft(replace(bench.result(), anatomy=None)), 0))


def test_identity_accession_and_study_date_are_on_the_page(bench):
    said = words(pictures.sheet(bench.draft(), 0))
    for fact in ("Iron, Ida", "LIC-1", "born 1970-01-02, F", "study 2026-03-04", "accession A-77", "Slice 1 of 3"):
        assert fact in said


def test_a_drawing_has_pages_of_the_slices_it_lies_on(bench):
    result = cases(bench)["drawn"]
    one = replace(result, rois=result.rois[:1], measurements=result.measurements[:1])
    [page] = bench.write(one, ("pictures",))["picture"]
    assert page.InstanceNumber == 1
    assert "Liver iron in the drawn region" in words(pictures.sheet(bench.draft(one), 0))


def test_where_the_site_forbids_it_the_patient_is_not_on_the_page(bench, scan, everything):
    class Silent(ReportSettings):
        identity_on_pages: bool = False

    draft = replace(bench.draft(), settings=Silent())
    plain = pictures.page(draft, 0)
    other = bench.result(scan(header={"PatientName": "Somebody^Else", "PatientID": "OTHER"}))
    np.testing.assert_array_equal(pictures.page(replace(bench.draft(other), settings=Silent()), 0), plain)
    assert pictures.build(draft, {})[0].BurnedInAnnotation == "NO"
    assert everything["picture"][0].BurnedInAnnotation == "YES"


def test_the_answer_is_the_largest_thing_on_the_page(bench):
    texts = sorted(pictures.sheet(bench.draft(), 0).texts(), key=lambda text: -text.size)
    assert texts[0].text == "Liver iron 3.1 mg/g dry weight"
    assert min(text.size for text in texts) >= 18.75  # 1.5 times what it was: read in half a viewport


def test_flags_are_told_apart_without_colour(bench):
    sheet = pictures.sheet(bench.draft(), 0)
    assert "▲" in words(sheet)
    assert f"Low confidence: {DOUBT.sentence}" in words(sheet)


def test_notes_that_take_nothing_from_the_number_are_counted_and_left_to_the_report(bench):
    result = bench.result()
    note = replace(DOUBT, code="note", grade=Grade.INFO, sentence="a thing to be known")
    noted = replace(result.measurements[0], flags=(DOUBT, note))
    said = words(pictures.sheet(bench.draft(replace(result, measurements=(noted, result.measurements[1]))), 0))
    assert "1 more note: see the report" in said
    assert note.sentence not in said


def many(bench, n):
    """As many regions with as many long flags as nobody has."""
    result = bench.result()
    flags = tuple(replace(DOUBT, code=f"f{i}", sentence="a sentence that goes on for long " * 4) for i in range(n))
    rois = tuple(replace(result.rois[0], name=f"region number {i} of a long name") for i in range(n))
    measured = replace(result.measurements[0], flags=flags)
    return replace(result, rois=rois, measurements=(measured,) * n, decays=result.decays[:1])


def cases(bench):
    result = bench.result()
    severe, beyond = result.measurements
    empty = replace(result.rois[0], mask=np.zeros_like(result.rois[0].mask))
    drawn = Drawn("1.2.840.10008.5.1.4.1.1.66.4", "1.2.3", "Reader^Rita", "A viewer")
    return {
        "number": result,
        "beyond": replace(result, rois=result.rois[::-1], measurements=(beyond, severe), decays=()),
        "nothing": replace(result, rois=(empty,), measurements=(replace(beyond, at_least=None),), decays=()),
        "no region": replace(result, rois=(), measurements=(), decays=()),
        "many": many(bench, 12),
        "drawn": replace(result, drawn=drawn),
    }


@pytest.mark.parametrize("case", ["number", "beyond", "nothing", "no region", "many", "drawn"])
def test_no_word_leaves_the_page_or_lies_on_another(bench, case):
    sheet = pictures.sheet(bench.draft(cases(bench)[case]), 0)
    assert_tidy(sheet, Box(0, 0, pictures.WIDTH, pictures.HEIGHT))


def assert_tidy(sheet, room):
    texts = [text for text in sheet.texts() if not text.halo and text.text]
    for text in texts:
        box = text.box
        assert room.x <= box.x, text
        assert box.right <= room.right, text
        assert box.bottom <= room.bottom, text
    for one, other in combinations(texts, 2):
        assert not one.box.overlaps(other.box), (one.text, other.text)


def test_more_regions_and_flags_than_there_is_room_for_are_counted(bench):
    said = words(pictures.sheet(bench.draft(many(bench, 12)), 0))
    assert "more in the report" in said
    assert "more notes: see the report" in said


def test_a_page_without_a_number_says_how_to_get_one(bench):
    said = words(pictures.sheet(bench.draft(cases(bench)["nothing"]), 0))
    assert "No liver iron value" in said
    assert wording.how_to_draw(LIVER) in said
    assert "provisional" not in said


@pytest.mark.filterwarnings("error")
def test_names_the_font_cannot_draw_do_not_stop_the_page(bench):
    result = bench.result()
    odd = replace(result.rois[0], name="肝臓 $x^2$")
    assert "?? $x^2$" in words(pictures.sheet(bench.draft(replace(result, rois=(odd, result.rois[1]))), 0))


@pytest.mark.parametrize(
    ("direction", "side"),
    [((1, 0, 0), "L"), ((-1, 0, 0), "R"), ((0, 1, 0), "P"), ((0, 0, -1), "F"), ((0.8, 0.48, 0.36), "LPH")],
)
def test_sides_are_the_patient_s(direction, side):
    assert figures.side(np.array(direction, float)) == side


def test_pixels_that_are_not_square_keep_their_shape(bench):
    draft = bench.draft()
    plane = draft.source.slices[0].plane
    assert isinstance(plane, Plane)
    view = figures.View.of(draft.result)
    panel = figures.Panel.within(Box(0, 0, 500, 400), view, plane)
    high, wide = view.shape_mm(plane)
    assert panel.box.width / panel.box.height == pytest.approx(wide / high, rel=0.01)


def test_an_outline_lies_around_its_voxels_on_the_panel(bench):
    draft = bench.draft()
    plane = draft.source.slices[0].plane
    panel = figures.Panel.within(Box(0, 0, 480, 420), figures.View((0, 24), (0, 32)), plane)
    [points] = figures.traced(draft.result, 0)[0]
    x, y = np.array(panel.place(points)).T
    assert (x.min(), x.max()) == pytest.approx((5 / 32 * panel.box.width, 12 / 32 * panel.box.width))
    assert (y.min(), y.max()) == pytest.approx((6 / 24 * panel.box.height, 14 / 24 * panel.box.height))


@pytest.mark.parametrize("last", [0.013, 1.0, 5.2, 5.75, 9.99, 57.5, 99.9, 2117.9])
def test_an_axis_of_any_length_has_a_few_round_numbers(last):
    ticks = figures.ticks(last)
    assert 3 <= len(ticks) <= 6
    assert ticks[0] == 0
    assert ticks[-1] <= last
