import numpy as np
import pydicom
import pytest

from solver import fit_t2star

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def abdomen(shared_data):
    """The first slice of the coronal 3 T series, and its echo times."""
    found = {}
    for path in sorted((shared_data / "dicom" / "ge_mr750_12echo_abdomen").rglob("*")):
        if path.is_file() and path.suffix == ".dcm":
            image = pydicom.dcmread(path)
            if image[0x0043, 0x102F].value == 0:
                found[float(image.SliceLocation), float(image.EchoTime)] = image.pixel_array
    first = min(place for place, _ in found)
    times = sorted(time for place, time in found if place == first)
    return np.stack([found[first, time] for time in times], axis=-1), times


@pytest.fixture(scope="module")
def axial(shared_data):
    with np.load(shared_data / "arrays" / "axial_liver_2.895T_12echo.npz") as arrays:
        return arrays["magnitude"], arrays["echo_times_ms"]


def test_the_liver_of_the_coronal_series_reads_as_expected(abdomen):
    signal, times = abdomen
    assert len(times) == 12
    fit = fit_t2star(signal, times)
    assert np.nanmedian(fit.r2star_per_s[75:95, 60:90]) == pytest.approx(50, abs=4)
    early = fit_t2star(signal[..., :4], times[:4])
    assert np.nanmedian(early.r2star_per_s[75:95, 60:90]) == pytest.approx(43, abs=3)


def test_odd_and_even_echoes_of_the_axial_liver_differ_as_expected(axial):
    signal, times = axial
    odd, even = (fit_t2star(signal[..., k::2], times[k::2]) for k in (0, 1))
    liver = np.s_[100:130, 60:90]
    assert np.nanmedian(odd.r2star_per_s[liver]) == pytest.approx(63, abs=4)
    assert np.nanmedian(even.r2star_per_s[liver]) == pytest.approx(74, abs=4)


def test_regularisation_does_not_move_the_median_of_a_real_liver(axial):
    signal, times = axial
    plain, default = (fit_t2star(signal, times, method=m).r2star_per_s[100:130, 60:90] for m in ("nls", "admm"))
    assert np.nanmedian(default) == pytest.approx(np.nanmedian(plain), rel=0.03)
