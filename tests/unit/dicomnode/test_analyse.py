import numpy as np

from dicomnode import analyse
from dicomnode.config import MeasureSettings
from dicomnode.model import Component, EchoImage, EchoStack, Encoding, FitRecord, Maps, Plane, Roi, SequenceKind

TIMES = (2.0, 4.0, 6.0, 8.0, 10.0)
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


def measured(tmp_path, r2star):
    """One region of 8 x 8 voxels with that rate each, known to 1/s."""
    r2star = np.asarray(r2star, np.float32).reshape(1, 8, 8)
    signal = (500.0 * np.exp(-r2star[..., None] * 1e-3 * np.array(TIMES))).astype(np.float32)
    record = FitRecord("nls", "mono-exponential", "rician", True, 1, 0.0, "converged", {}, "0")
    maps = Maps(1000.0 / r2star, r2star, np.full_like(r2star, 500.0), np.ones_like(r2star), r2star > 0, (5.0,), record)
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
