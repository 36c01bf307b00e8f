"""The study reports what the methods found, beside what the paper printed."""

import numpy as np
import pytest

from bench import figures, study
from bench.study import Estimate
from solver.phantom import PAPER_S0, PAPER_T2STAR_MS


def found(error=0.0, shape=(4, 6, 6)):
    maps = [np.broadcast_to(np.reshape(x, (4, 1, 1)), shape) * (1 + error) for x in (PAPER_S0, PAPER_T2STAR_MS)]
    return Estimate(maps[0], maps[1], 0.5, 3, "converged")


@pytest.fixture(scope="module")
def subjects():
    return study.patients()


def test_table_1_stands_beside_the_printed_numbers():
    s0, t2star = study.estimate_tables(study.CLEAN, {"ours": found(0.01)})
    assert s0.rows[1][1] == "154.8006 (0.1994)"
    assert t2star.rows[1][0] == "B, Table 1"
    assert t2star.rows[2] == ["ours", *[f"{t * 1.01:.4f} ± 0.0000 ({t * 0.01:.4f})" for t in PAPER_T2STAR_MS]]


def test_voxels_without_an_answer_are_counted_not_averaged():
    one = found()
    t2star = one.t2star_ms.copy()
    t2star[0, 0, 0] = np.nan
    table = study.estimate_tables(study.SEVERE, {"ours": Estimate(one.s0, t2star, 1.0, 1, "")})[1]
    assert table.rows[1][1] == "5.0000 ± 0.0000 (0.0000), 1 voxels without answer"


def test_rician_noise_is_never_negative_and_gaussian_noise_is():
    assert study.paper_signal(study.RICIAN).min() > 0
    assert study.paper_signal(study.SEVERE).min() < 0


def test_every_stand_in_has_the_rate_of_its_patient_and_four_regions(subjects):
    for one, t2star_ms in zip(subjects, study.SCANNER_T2STAR_MS, strict=True):
        liver = one.truth.regions["liver"]
        assert 1000 / one.truth.r2star_per_s[liver].mean() == pytest.approx(t2star_ms, rel=0.05)
        assert all(mask.sum() * 1.6**2 == pytest.approx(np.pi * 400, rel=0.03) for mask in one.rois.values())


def test_a_perfect_estimate_has_no_error_in_any_region(subjects):
    perfect = {"ours": [Estimate(p.truth.s0, p.truth.t2star_ms, 1.0, 1, "") for p in subjects]}
    layout = study.patient_tables(perfect, subjects)[0]
    assert all(cell.endswith("(+0.0000)") for row in layout.rows[1::2] for cell in row[2:])
    errors = study.liver_error_table(perfect, subjects).rows[0][1:]
    assert {cell.lstrip("+-") for cell in errors} == {"0.0, 0.0"}


def test_fixed_damping_fails_where_adapted_damping_does_not():
    table = study.damping_table()
    assert all(row[2] != row[3] for row in table.rows)
    assert all("diverged" not in row[3] for row in table.rows)


def test_every_figure_of_the_paper_is_drawn(tmp_path, subjects):
    runs = {noise: dict.fromkeys(study.methods(), found()) for noise in study.VARIANCES}
    signals = {noise: study.paper_signal(noise) for noise in runs}
    patients = {
        name: [Estimate(p.truth.s0, p.truth.t2star_ms, 1.0, 1, "") for p in subjects]
        for name in study.patient_methods()
    }
    pictures = figures.draw(tmp_path, runs, signals, patients, subjects)
    numbers = [int(one.file[7:9]) for one in pictures]
    assert numbers == [3, 4, 5, 6, 7, 13, 16, 17, 18, 19, 20, 21, 22, 23]
    assert all((tmp_path / one.file).stat().st_size > 5000 for one in pictures)
