"""The first automatic regions: provisional, but not anywhere."""

from datetime import UTC, datetime

import numpy as np
import pytest

from dicomnode import analyse, config, group, header, simulate
from dicomnode.measure import regions
from dicomnode.model import FitRecord, Maps, Plane, Roi

PLANE = Plane(64, 64, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 2.0), "1.2")


def flat_maps(shape):
    record = FitRecord("nls", "mono-exponential", "gaussian", True, 1, 0.0, "", {}, "0")
    ones = np.ones(shape, np.float32)
    return Maps(ones, ones, ones, ones, np.zeros(shape, bool), (1.0,), record)


@pytest.mark.parametrize("liver_t2star_ms", [2.2, 6.0, 20.0])
def test_the_tissue_region_of_a_phantom_lies_in_its_liver(tmp_path, liver_t2star_ms):
    plan = simulate.SeriesPlan(
        slices=1, rows=96, columns=128, spacing_mm=(3.1, 3.1, 8.0), liver_t2star_ms=liver_t2star_ms
    )
    simulated = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC))
    images = [image for path in simulate.write(simulated, tmp_path) for image in header.read(path).images]
    (found,) = group.assemble(images, config.GroupingSettings())
    signal, maps = analyse.fit_stack(found.stack, config.FitSettings())
    tissue, body = regions.find(signal, maps, found.stack.planes)
    liver = simulated.truth.regions["liver"].mask
    assert tissue.provisional
    assert body.provisional
    assert (tissue.mask & liver).sum() > 0.95 * tissue.mask.sum()
    assert tissue.mask.sum() > 0.4 * liver.sum()


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.ones((64, 64))])
def test_a_picture_of_nothing_has_no_region(image):
    signal = image.astype(np.float32)[None, ..., None]
    for roi in regions.find(signal, flat_maps((1, 64, 64)), (PLANE,)):
        assert not roi.mask.any()


def test_a_liver_beyond_the_range_casts_doubt_on_what_was_found_instead(tmp_path):
    size = {"slices": 1, "rows": 96, "columns": 128, "spacing_mm": (3.1, 3.1, 8.0)}
    simulated = simulate.make(simulate.SeriesPlan(**size, liver_t2star_ms=0.7), datetime(2026, 1, 1, tzinfo=UTC))
    images = [image for path in simulate.write(simulated, tmp_path) for image in header.read(path).images]
    (found,) = group.assemble(images, config.GroupingSettings())
    signal, maps = analyse.fit_stack(found.stack, config.FitSettings())
    rois = analyse.find_regions(found.stack, signal, maps)
    _, measurements, decays = analyse.measure_regions(rois, found.stack, signal, maps, config.MeasureSettings())
    assert decays[0].r2star_per_s is None
    assert any(flag.startswith("not measurable") and "beyond the range" in flag for flag in measurements[0].flags)
    assert measurements[0].r2star_per_s is None
    assert measurements[0].lic_mg_per_g is None


def test_a_region_mostly_without_a_fit_has_no_number(tmp_path):
    """The few valid voxels of a liver beyond the range are the ones that noise made look mild."""
    size = {"slices": 1, "rows": 96, "columns": 128, "spacing_mm": (3.1, 3.1, 8.0)}
    simulated = simulate.make(simulate.SeriesPlan(**size, liver_t2star_ms=0.7), datetime(2026, 1, 1, tzinfo=UTC))
    images = [image for path in simulate.write(simulated, tmp_path) for image in header.read(path).images]
    (found,) = group.assemble(images, config.GroupingSettings())
    signal, maps = analyse.fit_stack(found.stack, config.FitSettings())
    drawn = Roi("liver", simulated.truth.regions["liver"].mask, automatic=False)
    _, (measured,), _ = analyse.measure_regions((drawn,), found.stack, signal, maps, config.MeasureSettings())
    assert measured.r2star_per_s is None
    assert measured.lic_mg_per_g is None
    assert any(flag.startswith("not measurable") for flag in measured.flags)
