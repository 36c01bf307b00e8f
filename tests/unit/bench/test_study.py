"""The study reports what the methods found, beside what the paper printed."""

import numpy as np
import pytest

from bench import figures, study
from bench.study import Estimate
from dicomnode.compare.methods import FIELD
from solver.phantom import PAPER_S0, PAPER_T2STAR_MS

PUBLISHED = (study.ALGORITHM_1, study.ALGORITHM_1_STRONG, study.LM)


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
        assert list(one.rois) == ["Right ROI", "Vasc ROI", "Edge ROI", "Left ROI"]
        assert all(500 < mask.sum() * 1.6**2 < 1.03 * np.pi * 400 for mask in one.rois.values())
        assert not (one.rois["Right ROI"] & ~liver).any()
        assert (one.rois["Vasc ROI"] & one.truth.regions["vessels"]).any()


def test_a_perfect_estimate_has_no_error_in_any_region(subjects):
    perfect = {name: [Estimate(p.truth.s0, p.truth.t2star_ms, 1.0, 1, "") for p in subjects] for name in PUBLISHED}
    layout = study.patient_tables(study.patient_means(perfect, subjects))[0]
    assert all(cell.endswith("(+0.0000)") for row in layout.rows[1::2] for cell in row[2:])
    errors = study.liver_error_table(perfect, subjects).rows[0][1:]
    assert {cell.lstrip("+-") for cell in errors} == {"0.0, 0.0"}


def test_what_is_nearer_with_more_regularisation_is_marked_and_counted(subjects):
    def off(by):
        return [Estimate(p.truth.s0, p.truth.t2star_ms * (1 + by), 1.0, 1, "") for p in subjects]

    weak, strong = off(0.02), off(0.01)
    strong[0] = off(0.05)[0]
    found = {study.ALGORITHM_1: weak, study.ALGORITHM_1_STRONG: strong}
    table = study.better_table("4", study.patient_means(found, subjects), study.ALGORITHM_1_STRONG, study.ALGORITHM_1)
    assert {place[1] for place, mark in table.marks.items() if mark.nearest} == {3, 4, 5}
    assert "12 of 16" in table.notes[0]


def test_the_least_error_of_each_method_is_marked_in_the_sweep():
    errors = {"one": dict(zip(study.LAMBDAS, (3, 2, 1, 2, 9), strict=True))}
    errors["other"] = dict(zip(study.LAMBDAS, (3, 2, 1, 0.5, 9), strict=True))
    assert set(study.sweep_table(errors).marks) == {(2, 1), (3, 2)}


def test_the_sweep_runs_eq_2_with_every_weight():
    assert [study.SWEPT[weight]["weights"] for weight in study.LAMBDAS] == [(w, w) for w in study.LAMBDAS]


def test_every_method_of_the_field_is_a_row():
    labels = {one.label for one in FIELD.values()}
    assert labels < set(study.methods())
    assert labels < set(study.patient_methods())


def test_fixed_damping_fails_where_adapted_damping_does_not():
    table = study.damping_table()
    assert all(row[2] != row[3] for row in table.rows)
    assert all("diverged" not in row[3] for row in table.rows)


def test_every_figure_of_the_paper_is_drawn(tmp_path, subjects):
    runs = {noise: dict.fromkeys(study.methods(noise), found()) for noise in study.VARIANCES}
    signals = {noise: study.paper_signal(noise) for noise in runs}
    patients = {
        name: [Estimate(p.truth.s0, p.truth.t2star_ms, 1.0, 1, "") for p in subjects]
        for name in study.patient_methods()
    }
    pictures = figures.draw(tmp_path, runs, signals, patients, subjects)
    numbers = [int(one.file[7:9]) for one in pictures]
    assert numbers == list(range(3, 26))
    assert all((tmp_path / one.file).stat().st_size > 5000 for one in pictures)
