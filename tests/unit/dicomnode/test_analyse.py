import numpy as np
import pytest

from dicomnode import analyse
from dicomnode.config import MeasureSettings
from dicomnode.model import Component, EchoImage, EchoStack, Encoding, FitRecord, Maps, Plane, Roi, SequenceKind

TIMES = (2.0, 4.0, 6.0, 8.0, 10.0)
SIGMA = 5.0
PLANE = Plane(8, 8, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 2.0), "1.2")


def stack(tmp_path):
    echoes = tuple(
        EchoImage(
            tmp_path, None, "1", f"1.{n}", "1.1", "1.2", Encoding.CLASSIC, Component.MAGNITUDE,
            SequenceKind.GRADIENT_ECHO, time, PLANE, field_strength_t=1.5,
        )
        for n, time in enumerate(TIMES)
    )  # fmt: skip
    return EchoStack("1.2", ("1.1",), TIMES, (echoes,))


def measured(tmp_path, r2star, parameters=None, floor=0.0, sigma=SIGMA):
    """One region of 8 x 8 voxels with that rate each, known to 1/s."""
    r2star = np.asarray(r2star, np.float32).reshape(1, 8, 8)
    signal = np.hypot(500.0 * np.exp(-r2star[..., None] * 1e-3 * np.array(TIMES)), floor).astype(np.float32)
    signal += np.random.default_rng(1).normal(0.0, SIGMA, signal.shape).astype(np.float32)
    record = FitRecord("nls", "mono-exponential", "rician", True, 1, 0.0, "converged", parameters or {}, "0")
    maps = Maps(
        1000.0 / r2star, r2star, np.full_like(r2star, 500.0), np.ones_like(r2star), r2star > 0, (sigma,), record
    )
    roi = Roi("liver", np.ones((1, 8, 8), bool))
    _, (one,), _ = analyse.measure_regions((roi,), stack(tmp_path), signal, maps, MeasureSettings())
    return one


def test_a_decay_that_cannot_be_told_from_none_does_not_spoil_the_mean_t2star(tmp_path):
    rates = np.full(64, 100.0)
    rates[:4] = 0.01  # T2* of 100 s, if one believes it
    one = measured(tmp_path, rates)
    assert one.t2star_ms.mean == 10.0
    assert one.n_voxels == 64
    assert any("6% of the voxels is too long to tell" in flag for flag in one.flags)


def test_a_region_of_one_rate_has_that_rate_and_its_iron(tmp_path):
    one = measured(tmp_path, np.full(64, 100.0))
    assert one.r2star_per_s.median == 100.0
    assert abs(one.unregularised_r2star_per_s - 100.0) < 2.0
    assert one.lic_mg_per_g == 2.4
    assert one.flags == ()


def test_the_decay_of_a_region_is_judged_with_the_noise_of_the_maps(tmp_path):
    floor = 5.0 * (2 * 16 - 1) ** 0.5  # what 16 coils add to the square of a median, nearly
    rates = np.full(64, 300.0)
    told = measured(tmp_path, rates, {"n_coils": 16.0, "n_coils_source": "air"}, floor)
    untold = measured(tmp_path, rates, {"n_coils": 1.0}, floor)
    assert abs(told.unregularised_r2star_per_s - 300.0) < 6.0  # noise of the median of 64
    assert untold.unregularised_r2star_per_s < 285.0
    assert not any("coils" in flag for flag in told.flags)


def test_coils_that_were_inferred_are_said(tmp_path):
    one = measured(tmp_path, np.full(64, 100.0), {"n_coils": 8.0, "n_coils_source": "decays"})
    assert any(flag.startswith("low confidence") and "8.0 coils" in flag for flag in one.flags)


@pytest.mark.parametrize(("source", "said"), [("unclear", "as no noise does"), ("unknown", "too little data")])
def test_coils_that_are_not_known_are_said_and_no_limit_is_claimed(tmp_path, source, said):
    one = measured(tmp_path, np.full(64, 1500.0), {"n_coils": 1.0, "n_coils_source": source}, floor=6.0)
    assert any(said in flag for flag in one.flags) or one.r2star_per_s is None
    assert not any("R2* >" in flag for flag in one.flags)
    mild = measured(tmp_path, np.full(64, 100.0), {"n_coils": 1.0, "n_coils_source": source})
    assert any(said in flag for flag in mild.flags)


@pytest.mark.parametrize(("sigma", "said"), [(2.5, "not one exponential"), (5.0, None), (10.0, "overestimated")])
def test_residuals_that_noise_does_not_explain_are_said(tmp_path, sigma, said):
    flags = measured(tmp_path, np.full(64, 100.0), sigma=sigma).flags
    found = [flag for flag in flags if "noise explains" in flag]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
