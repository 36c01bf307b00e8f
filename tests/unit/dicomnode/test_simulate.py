"""The synthetic scanner: each vendor's header facts, the truth, and identities that can be relied on."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from dicomnode import simulate
from dicomnode.errors import InputError
from dicomnode.simulate import DIALECTS, ORIENTATIONS, HeartPlan, SeriesPlan, Simulated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

CREATED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  DICOM dates carry no zone here
SMALL = SeriesPlan(rows=48, columns=64, spacing_mm=(6.25, 6.25, 8.0), slices=2)
CLASSIC = [name for name in DIALECTS if "enhanced" not in name]


def made(dialect: str, **options: Any) -> Simulated:
    return simulate.make(replace(SMALL, dialect=dialect, **options), CREATED)


def magnitudes(simulated: Simulated) -> list[Dataset]:
    """The objects of the magnitude series: made first, in their order."""
    magnitude = DIALECTS[simulated.plan.dialect].magnitude.image_type
    return [instance for instance in simulated.instances if tuple(instance.ImageType) == magnitude]


def frames(instance: Dataset) -> list[tuple[float, tuple[float, ...], NDArray[np.float64]]]:
    """Echo time, position and modality values of every image of an object."""
    stored = instance.pixel_array
    if "PerFrameFunctionalGroupsSequence" not in instance:
        slope, intercept = instance.get("RescaleSlope", 1), instance.get("RescaleIntercept", 0)
        return [(instance.EchoTime, tuple(instance.ImagePositionPatient), stored * float(slope) + float(intercept))]
    found = []
    for group, pixels in zip(instance.PerFrameFunctionalGroupsSequence, stored, strict=True):
        value = group.PixelValueTransformationSequence[0]
        echo_time = group.MREchoSequence[0].EffectiveEchoTime
        position = tuple(group.PlanePositionSequence[0].ImagePositionPatient)
        found.append((echo_time, position, pixels * float(value.RescaleSlope) + float(value.RescaleIntercept)))
    return found


def read_signal(simulated: Simulated) -> NDArray[np.float64]:
    """(slices, K, L, M) out of the objects alone, keyed by position and echo time."""
    truth = simulated.truth
    signal = np.full((*truth.s0.shape, len(truth.echo_times_ms)), np.nan)
    for instance in magnitudes(simulated):
        for echo_time, position, values in frames(instance):
            slice_index = int(np.argmin([math.dist(position, p) for p in truth.positions]))
            signal[slice_index, ..., int(np.argmin(np.abs(np.array(truth.echo_times_ms) - float(echo_time))))] = values
    return signal


def log_fit(signal: NDArray[np.float64], echo_times_ms: tuple[float, ...]) -> NDArray[np.float64]:
    """R2* in 1/s by a line through the logarithm, each echo weighted by its power."""
    t = np.array(echo_times_ms) / 1000
    seen = np.maximum(signal, 0.5)  # air has no logarithm
    weight, log = seen**2, np.log(seen)
    mean_t = (weight * t).sum(-1) / weight.sum(-1)
    mean_log = (weight * log).sum(-1) / weight.sum(-1)
    away = t - mean_t[..., None]
    return -(weight * away * (log - mean_log[..., None])).sum(-1) / (weight * away**2).sum(-1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_noise_free_fit_of_the_objects_gives_the_truth(dialect: str) -> None:
    simulated = made(dialect, snr=math.inf)
    rate = log_fit(read_signal(simulated), simulated.truth.echo_times_ms)
    for region in simulated.truth.regions.values():
        assert rate[region.mask] == pytest.approx(simulated.truth.r2star_per_s[region.mask], rel=0.01)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_scale_of_the_truth_is_that_of_the_rescaled_images(dialect: str) -> None:
    simulated = made(dialect, snr=math.inf)
    liver = simulated.truth.regions["liver"].mask
    first = read_signal(simulated)[liver, 0]
    decayed = simulated.truth.s0[liver] * np.exp(-simulated.truth.r2star_per_s[liver] * 2.58e-3)
    assert first == pytest.approx(decayed, abs=0.7)


def test_the_noise_is_rician_with_the_promised_sigma() -> None:
    simulated = made("siemens-ve", snr=30.0, rows=96, columns=128)
    signal = read_signal(simulated)
    air = signal[simulated.truth.s0 == 0]
    assert air.mean() == pytest.approx(simulated.truth.sigma * math.sqrt(math.pi / 2), rel=0.02)
    assert simulated.truth.regions["liver"].s0 / simulated.truth.sigma == pytest.approx(30.0, rel=1e-6)


def test_zeroed_air_is_zero_in_every_echo() -> None:
    simulated = made("ge", zeroed_air=True)
    assert not read_signal(simulated)[simulated.truth.s0 == 0].any()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_equal_plans_give_equal_uids_and_pixels_whatever_the_clock_says(dialect: str) -> None:
    plan = replace(SMALL, dialect=dialect, with_phase=True, with_traps=True)
    one, two = simulate.make(plan, CREATED), simulate.make(plan, CREATED.replace(year=2027))
    assert [i.SOPInstanceUID for i in one.instances] == [i.SOPInstanceUID for i in two.instances]
    assert all(a.PixelData == b.PixelData for a, b in zip(one.instances, two.instances, strict=True))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_uid_is_unique_and_another_seed_gives_others(dialect: str) -> None:
    first, second = (made(dialect, with_phase=True, with_traps=True, seed=seed).instances for seed in (1, 2))
    uids = [str(i.SOPInstanceUID) for i in (*first, *second)]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
    assert {i.SeriesInstanceUID for i in first}.isdisjoint(i.SeriesInstanceUID for i in second)


def test_siemens_writes_phase_and_maps_in_series_of_their_own() -> None:
    simulated = made("siemens-ve", with_phase=True, with_traps=True)
    by_series = Counter((i.SeriesNumber, i.ImageType[2]) for i in simulated.instances)
    assert by_series == {(1, "M"): 3, (6, "M"): 16, (7, "P"): 16, (8, "R2_STAR MAP"): 2}
    derived = [i for i in simulated.instances if i.ImageType[0] == "DERIVED"]
    assert {i.EchoTime for i in derived} == {2.58}
    phase = next(i for i in simulated.instances if i.ImageType[2] == "P")
    assert (phase.RescaleSlope, phase.RescaleIntercept) == (2, -4096)
    assert "RescaleSlope" not in magnitudes(simulated)[0]


def test_siemens_xa_writes_one_enhanced_object_per_echo() -> None:
    simulated = made("siemens-xa-enhanced")
    assert len(simulated.instances) == 8
    assert len({i.SeriesInstanceUID for i in simulated.instances}) == 1
    for instance, echo_time in zip(simulated.instances, SMALL.echo_times_ms, strict=True):
        assert {time for time, _, _ in frames(instance)} == {echo_time}


def test_siemens_xa_classic_writes_one_series_per_echo_without_echo_numbers() -> None:
    instances = made("siemens-xa-classic").instances
    assert len({i.SeriesInstanceUID for i in instances}) == 8
    assert len({i.FrameOfReferenceUID for i in instances}) == 1
    assert {i.ImageType[-1] for i in instances} == {"MFSPLIT"}
    assert not any("EchoNumbers" in i for i in instances)


def test_ge_tells_components_apart_only_by_its_private_code() -> None:
    instances = made("ge", with_phase=True).instances
    codes = Counter(i.private_block(0x0043, "GEMS_PARM_01")[0x2F].value for i in instances)
    assert codes == {0: 16, 2: 16, 3: 16}
    assert {tuple(i.ImageType) for i in instances} == {("ORIGINAL", "PRIMARY", "OTHER")}
    assert {i.ScanningSequence for i in instances} == {"RM"}
    assert {i.PixelRepresentation for i in instances} == {1}
    assert {i.private_block(0x0019, "GEMS_ACQU_01")[0x7E].value for i in instances} == {8}
    assert {i.ImagesInAcquisition for i in instances} == {48}
    assert {i.file_meta.TransferSyntaxUID for i in instances} == {pydicom.uid.ImplicitVRLittleEndian}


def test_ge_b0_map_repeats_the_keys_of_a_magnitude() -> None:
    instances = made("ge", with_traps=True).instances
    b0 = [i for i in instances if i.SeriesDescription.endswith("B0Map")]
    keys = Counter((str(i.ImagePositionPatient), i.EchoTime, i.EchoNumbers) for i in b0)
    assert set(keys.values()) == {2}
    assert any(i.pixel_array.min() < 0 for i in b0)
    assert Counter(i.private_block(0x0043, "GEMS_PARM_01")[0x30].value for i in b0) == {0: 2, 2: 2}


def test_philips_classic_writes_components_and_maps_in_one_series() -> None:
    instances = made("philips-classic", with_phase=True, with_traps=True).instances
    assert len({i.SeriesInstanceUID for i in instances}) == 1
    flavours = Counter(i.ImageType[2] for i in instances)
    assert flavours == {"M_FFE": 16, "PHASE MAP": 16, "R_FFE": 16, "I_FFE": 16, "B0 MAP": 2, "T2_STAR_UNSPECIF": 2}
    magnitude = instances[0]
    assert float(magnitude.RescaleSlope) == pytest.approx(1.2366, abs=1e-4)
    assert magnitude.private_block(0x2005, "Philips MR Imaging DD 001")[0x0E].value > 0


def test_philips_enhanced_writes_everything_in_one_object() -> None:
    (instance,) = made("philips-enhanced", with_phase=True, with_traps=True).instances
    kinds = Counter(
        (g.MRImageFrameTypeSequence[0].FrameType[3], g.MRImageFrameTypeSequence[0].ComplexImageComponent)
        for g in instance.PerFrameFunctionalGroupsSequence
    )
    assert kinds[("M", "MAGNITUDE")] == kinds[("P", "PHASE")] == kinds[("R", "REAL")] == 16
    assert kinds[("FIELD_MAP", "REAL")] == 2
    assert min(time for time, _, _ in frames(instance)) == 0.0
    assert instance.ImageType[3] == "MIXED"


def test_canon_and_uih_say_little() -> None:
    canon, uih = (made(dialect).instances[0] for dialect in ("canon", "uih"))
    assert list(canon.ImageType) == ["ORIGINAL", "PRIMARY", "GDC"]
    assert list(uih.ImageType) == ["ORIGINAL", "PRIMARY", "M", "UCA", "IF"]
    assert "ImagingFrequency" not in uih


@pytest.mark.parametrize("dialect", CLASSIC)
def test_the_acquisition_time_differs_within_a_slice(dialect: str) -> None:
    instances = made(dialect).instances
    of_one_slice = {i.AcquisitionTime for i in instances if i.SliceLocation == instances[0].SliceLocation}
    assert len(of_one_slice) == 8


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_slices_lie_their_spacing_apart_along_the_normal(orientation: str) -> None:
    instances = made("siemens-ve", orientation=orientation, slices=3).instances
    axes = np.array(instances[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    assert axes @ axes.T == pytest.approx(np.eye(2), abs=1e-5)
    locations = sorted({float(np.cross(*axes) @ np.array(i.ImagePositionPatient, dtype=float)) for i in instances})
    assert np.diff(locations) == pytest.approx([8.0, 8.0], abs=1e-3)


@pytest.mark.parametrize("character_set", ["ISO_IR 192", "\\ISO 2022 IR 87"])
def test_names_in_other_scripts_survive_the_file(tmp_path: Path, character_set: str) -> None:
    name = "Kanzo^Mozo=肝臓^模造"
    simulated = made("siemens-ve", character_set=character_set, patient_name=name, slices=1)
    assert str(pydicom.dcmread(simulate.write(simulated, tmp_path)[0]).PatientName) == name


def test_files_come_with_their_truth(tmp_path: Path) -> None:
    simulated = made("uih")
    paths = simulate.write(simulated, tmp_path)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["regions"]["liver"]["t2star_ms"] == pytest.approx(6.0, rel=0.02)
    arrays = np.load(tmp_path / "truth.npz")
    assert np.array_equal(arrays["region_liver"], simulated.truth.regions["liver"].mask)
    assert [pydicom.dcmread(p).SOPInstanceUID for p in paths] == [i.SOPInstanceUID for i in simulated.instances]
    assert not any("SIM-0001" in p.name or "LIVER" in p.name for p in tmp_path.iterdir())


def test_a_folder_takes_the_same_series_again_but_no_other(tmp_path: Path) -> None:
    simulate.write(made("uih"), tmp_path)
    simulate.write(made("uih"), tmp_path)
    with pytest.raises(InputError, match="empty folder"):
        simulate.write(made("uih", seed=2), tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dialect": "toshiba"}, "dialect 'toshiba'"),
        ({"orientation": "upside"}, "orientation"),
        ({"field_strength_t": 7.0}, "field_strength_t"),
        ({"echo_times_ms": (3.0, 2.0)}, "echo_times_ms"),
        ({"snr": 0.0}, "snr"),
        ({"dialect": "canon", "with_magnitude": False, "with_phase": True}, "magnitude"),
    ],
)
def test_a_plan_that_cannot_be_met_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate.make(replace(SMALL, **options), CREATED)


def test_the_default_series_is_made_and_written_in_under_three_seconds(tmp_path: Path) -> None:
    began = time.perf_counter()
    simulate.write(simulate.make(SeriesPlan(), CREATED), tmp_path)
    assert time.perf_counter() - began < 3.0


@pytest.mark.peer
@pytest.mark.parametrize("dialect", DIALECTS)
def test_dciodvfy_finds_no_error(dialect: str, tmp_path: Path, peer: Callable[[str], str]) -> None:
    simulated = made(dialect, with_phase=True, with_traps=True, slices=1)
    paths = simulate.write(simulated, tmp_path)
    kinds = {str(i.ImageType): path for i, path in zip(simulated.instances, paths, strict=True)}
    for path in kinds.values():
        said = subprocess.run([peer("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr + said.stdout


def test_a_plan_without_a_heart_keeps_the_uids_that_it_always_gave() -> None:
    (first, *_) = simulate.make(SeriesPlan(rows=48, columns=64, slices=1), datetime(2026, 1, 1, tzinfo=UTC)).instances
    assert first.SOPInstanceUID == "2.25.246281844295225883987203507181798041566"


def test_hearts_of_other_blood_are_other_studies() -> None:
    plans = [SeriesPlan(rows=48, columns=64, slices=1, heart=HeartPlan(blood=blood)) for blood in ("bright", "black")]
    made = [simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances[0] for plan in plans]
    assert made[0].StudyInstanceUID != made[1].StudyInstanceUID
    assert {one.BodyPartExamined for one in made} == {"HEART"}
