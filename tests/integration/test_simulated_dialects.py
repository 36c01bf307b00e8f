"""Every simulated dialect, through header, group and pixels, against the truth it was made from."""

from __future__ import annotations

import math
import random
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from dicomnode import group, header, pixels, simulate
from dicomnode.config import GroupingSettings
from dicomnode.model import Component, GroupStatus
from dicomnode.simulate import DIALECTS, ORIENTATIONS, SeriesPlan, Simulated
from solver import phantom
from solver.model import GYROMAGNETIC_RATIO_MHZ_PER_T

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.model import EchoStack, Group

CREATED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  DICOM dates carry no zone here
PLAN = SeriesPlan(rows=48, columns=64, spacing_mm=(6.25, 6.25, 8.0), snr=math.inf)
COMPLEX = ("ge", "philips-classic", "philips-enhanced")


def made(dialect: str, **options: Any) -> Simulated:
    return simulate.make(replace(PLAN, dialect=dialect, **options), CREATED)


def groups(simulated: Simulated, folder: Path) -> tuple[Group, ...]:
    headers = [header.read(path) for path in simulate.write(simulated, folder)]
    assert [h.reason for h in headers if h.reason] == []
    return group.assemble([image for h in headers for image in h.images], GroupingSettings())


def the_stack(found: tuple[Group, ...]) -> EchoStack:
    (complete,) = [g for g in found if g.status is GroupStatus.COMPLETE]
    assert complete.stack is not None
    return complete.stack


def truth_signal(simulated: Simulated) -> NDArray[np.float64]:
    truth = simulated.truth
    decay = np.exp(-truth.r2star_per_s[..., None] * np.array(truth.echo_times_ms) / 1000)
    return np.asarray(truth.s0[..., None] * decay)


def step(simulated: Simulated) -> float:
    """Half of what one stored step of the magnitude is worth, a little rounding on top."""
    rescale = DIALECTS[simulated.plan.dialect].magnitude.rescale
    return 0.51 * (rescale.slope if rescale else 1.0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_becomes_one_full_stack_that_equals_the_truth(dialect: str, tmp_path: Path) -> None:
    simulated = made(dialect)
    (found,) = groups(simulated, tmp_path)
    stack = the_stack((found,))
    assert stack.shape == (3, 48, 64, 8)
    assert stack.echo_times_ms == pytest.approx(PLAN.echo_times_ms)
    assert np.abs(pixels.load(stack) - truth_signal(simulated)).max() <= step(simulated)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_traps_and_companions_stay_out_of_the_stack(dialect: str, tmp_path: Path) -> None:
    simulated = made(dialect, with_phase=True, with_traps=True)
    found = groups(simulated, tmp_path)
    stack = the_stack(found)
    assert np.abs(pixels.load(stack) - truth_signal(simulated)).max() <= step(simulated)
    assert {g.status for g in found if g.stack is None} <= {GroupStatus.REFUSED}


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if DIALECTS[name].companions])
def test_companions_travel_with_the_stack(dialect: str, tmp_path: Path) -> None:
    stack = the_stack(groups(made(dialect, with_phase=True), tmp_path))
    assert set(stack.companions) == {kind.component for kind in DIALECTS[dialect].companions}


def truth_complex(simulated: Simulated) -> NDArray[np.complex128]:
    """What the scanner saw, from the same plan written as real and imaginary numbers of no vendor."""
    plan = simulated.plan
    frequency = DIALECTS[plan.dialect].frequency_mhz[plan.field_strength_t]
    drawn = phantom.Abdomen(
        (plan.rows, plan.columns),
        plan.slices,
        plan.spacing_mm[:2],
        plan.liver_t2star_ms,
        texture=plan.texture,
        field_strength_t=plan.field_strength_t if frequency is None else frequency / GYROMAGNETIC_RATIO_MHZ_PER_T,
    )
    seen = phantom.complex_signal(phantom.abdomen(drawn, np.random.default_rng(plan.seed)), plan.echo_times_ms)
    return np.asarray(seen * simulated.truth.s0.max() / np.abs(seen[..., 0]).max(), complex)


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if DIALECTS[name].companions])
def test_the_complex_signal_has_the_scale_of_the_header_and_the_phase_of_the_truth(
    dialect: str, tmp_path: Path
) -> None:
    simulated = made(dialect, with_phase=True)
    stack = the_stack(groups(simulated, tmp_path))
    assert pixels.no_complex_signal(stack) is None
    slabs = sorted(pixels.complex_slabs(stack), key=lambda slab: slab.slice)
    seen, truth = np.stack([slab.values for slab in slabs]), truth_complex(simulated)
    body = truth_signal(simulated) > 100
    turned = np.angle(seen[body] * truth[body].conj())
    assert np.abs(turned).max() < 0.05
    assert np.abs(np.abs(seen) - truth_signal(simulated))[body].max() <= 4 * step(simulated)
    spans = [slab.span_turns for slab in slabs]
    assert all(span is None or 0.95 < span <= 1 for span in spans)


@pytest.mark.parametrize("dialect", ["philips-classic", "philips-enhanced"])
def test_a_phase_in_milliradians_says_what_real_and_imaginary_images_say(dialect: str, tmp_path: Path) -> None:
    stack = the_stack(groups(made(dialect, with_phase=True), tmp_path))
    alone = replace(stack, companions={Component.PHASE: stack.companions[Component.PHASE]})
    one, other = (
        np.stack([slab.values for slab in sorted(pixels.complex_slabs(some), key=lambda slab: slab.slice)])
        for some in (stack, alone)
    )
    bright = np.abs(one) > 100
    assert np.abs(np.angle(one[bright] * other[bright].conj())).max() < 0.05


@pytest.mark.parametrize("dialect", ["siemens-ve", "siemens-xa-enhanced", "siemens-xa-classic"])
def test_a_phase_whose_slope_is_no_turn_is_not_guessed_at(dialect: str, tmp_path: Path) -> None:
    def halve(dataset: Dataset) -> None:
        frames = dataset.get("PerFrameFunctionalGroupsSequence", ())
        for holder in (dataset, *(frame.PixelValueTransformationSequence[0] for frame in frames)):
            if holder.get("RescaleSlope") == 2:
                holder.RescaleSlope = "1"

    stack = the_stack(groups(changed(dialect, halve, with_phase=True), tmp_path))
    unused = pixels.no_complex_signal(stack)
    assert unused is not None
    assert unused.code == "phase-unscaled"


def test_a_phase_that_lacks_an_image_is_left_out_by_name(tmp_path: Path) -> None:
    simulated = made("siemens-ve", with_phase=True)
    kept = [one for one in simulated.instances if "P" not in one.ImageType or one.InstanceNumber != 5]
    (found,) = [g for g in groups(replace(simulated, instances=tuple(kept)), tmp_path) if g.stack]
    assert found.stack is not None
    assert found.stack.companions == {}
    assert found.left_out == ("23 images: phase that does not fill the grid",)


@pytest.mark.parametrize("dialect", COMPLEX)
def test_a_magnitude_that_was_not_sent_is_computed(dialect: str, tmp_path: Path) -> None:
    simulated = made(dialect, with_phase=True, with_magnitude=False)
    stack = the_stack(groups(simulated, tmp_path))
    assert stack.magnitude_from is Component.REAL
    assert np.abs(pixels.load(stack) - truth_signal(simulated)).max() <= 4 * step(simulated)


@pytest.mark.parametrize(
    ("dialect", "orientation"),
    [*((dialect, "oblique") for dialect in DIALECTS), *(("siemens-ve", orientation) for orientation in ORIENTATIONS)],
)
def test_slices_keep_their_place_in_every_orientation(dialect: str, orientation: str, tmp_path: Path) -> None:
    simulated = made(dialect, orientation=orientation, slices=4, rows=24, columns=32)
    stack = the_stack(groups(simulated, tmp_path))
    assert [plane.position for plane in stack.planes] == [pytest.approx(p, abs=1e-4) for p in simulated.truth.positions]
    assert np.abs(pixels.load(stack) - truth_signal(simulated)).max() <= step(simulated)


@pytest.mark.parametrize(
    ("dialect", "nominal", "exact"),
    [
        ("siemens-ve", 3.0, 2.895),
        ("siemens-xa-enhanced", 3.0, 2.895),
        ("siemens-ve", 1.5, 1.494),
        ("ge", 3.0, 3.0),
        ("philips-enhanced", 3.0, 3.0),
        ("canon", 3.0, 2.894),
        ("uih", 3.0, 3.0),
    ],
)
def test_the_exact_field_decides_and_not_its_name(dialect: str, nominal: float, exact: float, tmp_path: Path) -> None:
    stack = the_stack(groups(made(dialect, field_strength_t=nominal), tmp_path))
    assert stack.field_strength_t == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_order_and_copies_of_the_files_do_not_matter(dialect: str, tmp_path: Path) -> None:
    paths = simulate.write(made(dialect, with_traps=True), tmp_path)
    images = [image for path in paths for image in header.read(path).images]
    shuffled = images * 2
    random.Random(4).shuffle(shuffled)
    settings = GroupingSettings()
    one, other = group.assemble(images, settings), group.assemble(shuffled, settings)
    assert {g.group_id for g in one} == {g.group_id for g in other}
    assert the_stack(one).images == the_stack(other).images


# --- what real scanners and archives do to a series ------------------------------------------------------------------


def changed(dialect: str, change: Callable[[Dataset], None], **options: Any) -> Simulated:
    simulated = made(dialect, **options)
    instances = tuple(deepcopy(instance) for instance in simulated.instances)
    for instance in instances:
        change(instance)
    return replace(simulated, instances=instances)


@pytest.mark.parametrize("dialect", ["siemens-ve", "ge", "philips-classic"])
@pytest.mark.parametrize("slice_index", [0, 2])
def test_a_missing_image_is_named(dialect: str, slice_index: int, tmp_path: Path) -> None:
    simulated = made(dialect)
    position = [round(v, 3) for v in simulated.truth.positions[slice_index]]
    kept = tuple(
        i
        for i in simulated.instances
        if not (i.EchoTime == 16.58 and [round(float(v), 3) for v in i.ImagePositionPatient] == position)
    )
    (found,) = groups(replace(simulated, instances=kept), tmp_path)
    assert found.status is GroupStatus.INCOMPLETE
    assert found.missing == (f"echo 7, slice {slice_index + 1}",)


def test_a_slope_that_changes_from_echo_to_echo_does_not_bend_the_decay(tmp_path: Path) -> None:
    def rescale(instance: Dataset) -> None:
        factor = 1 + 0.25 * (int(instance.EchoNumbers) - 1)
        stored = np.rint(instance.pixel_array / factor).astype(np.uint16)
        instance.PixelData, instance.RescaleSlope = stored.tobytes(), float(instance.RescaleSlope) * factor
        del instance[
            instance.private_block(0x2005, "Philips MR Imaging DD 001").get_tag(0x0E)
        ]  # displayed values count

    simulated = changed("philips-classic", rescale)
    worst = np.abs(pixels.load(the_stack(groups(simulated, tmp_path))) - truth_signal(simulated)).max()
    assert worst <= step(simulated) * (1 + 0.25 * 7) + step(simulated)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("dialect", ["siemens-ve", "ge", "philips-enhanced"])
def test_a_compressed_series_is_bit_identical(dialect: str, syntax: str, tmp_path: Path) -> None:
    def compress(instance: Dataset) -> None:
        instance.compress(syntax, generate_instance_uid=False)

    plain = pixels.load(the_stack(groups(made(dialect, snr=30.0), tmp_path / "plain")))
    packed = pixels.load(the_stack(groups(changed(dialect, compress, snr=30.0), tmp_path / "packed")))
    assert np.array_equal(plain, packed)


@pytest.mark.parametrize("field", ["15000", "3.0", "2.99999"])
def test_a_field_in_gauss_or_in_digits_is_the_same_field(field: str, tmp_path: Path) -> None:
    def restate(instance: Dataset) -> None:
        instance.MagneticFieldStrength = field
        del instance.ImagingFrequency

    stack = the_stack(groups(changed("ge", restate), tmp_path))
    assert stack.field_strength_t == pytest.approx(1.5 if field == "15000" else 3.0, abs=1e-3)


def test_twins_in_a_series_of_their_own_are_not_mixed(tmp_path: Path) -> None:
    def normalise(instance: Dataset) -> None:
        instance.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
        instance.SOPInstanceUID = generate_uid(entropy_srcs=["twin", instance.SOPInstanceUID])
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        instance.SeriesInstanceUID = "2.25.31"
        instance.SeriesNumber = 7

    plain, twin = made("siemens-ve"), changed("siemens-ve", normalise)
    both = replace(plain, instances=plain.instances + twin.instances)
    found = groups(both, tmp_path)
    assert [g.status for g in found] == [GroupStatus.COMPLETE] * 2
    assert all(len(g.series_instance_uids) == 1 for g in found)


def test_repetitions_are_refused_with_their_count(tmp_path: Path) -> None:
    def again(number: int) -> Callable[[Dataset], None]:
        def change(instance: Dataset) -> None:
            instance.SOPInstanceUID = generate_uid(entropy_srcs=[str(number), instance.SOPInstanceUID])
            instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
            instance.AcquisitionNumber = number

        return change

    three = [changed("siemens-ve", again(number)) for number in (1, 2, 3)]
    (found,) = groups(replace(three[0], instances=sum((s.instances for s in three), ())), tmp_path)
    assert found.status is GroupStatus.REFUSED
    assert found.reason is not None
    assert "3" in found.reason.sentence
    assert found.stack is None


def test_ge_echoes_that_all_claim_the_first_echo_time_never_make_a_stack(tmp_path: Path) -> None:
    def claim(instance: Dataset) -> None:
        run = int(instance.EchoNumbers)
        instance.EchoTime, instance.EchoNumbers = 2.58, 1
        instance.private_block(0x0019, "GEMS_ACQU_01")[0xA2].value = 17407 + run

    found = groups(changed("ge", claim), tmp_path)
    assert all(g.stack is None and g.reason is not None for g in found)


def test_canon_slices_in_series_of_their_own_are_one_stack_or_named(tmp_path: Path) -> None:
    def split(instance: Dataset) -> None:
        instance.SeriesInstanceUID = f"{instance.SeriesInstanceUID[:50]}.{instance.InstanceNumber % 3 + 1}"

    found = groups(changed("canon", split), tmp_path)
    assert sum(g.n_slices for g in found if g.stack) == 3
    for stack in (g.stack for g in found if g.stack):
        assert stack.shape[-1] == 8


def test_siemens_numbers_that_restart_with_every_echo_do_not_matter(tmp_path: Path) -> None:
    def restart(instance: Dataset) -> None:
        instance.InstanceNumber = (int(instance.InstanceNumber) - 1) % 3 + 1
        instance.EchoNumbers = None

    simulated = changed("siemens-ve", restart)
    assert np.abs(pixels.load(the_stack(groups(simulated, tmp_path))) - truth_signal(simulated)).max() <= 0.51


@pytest.mark.parametrize("dialect", DIALECTS)
def test_characters_of_any_script_do_not_disturb_the_reading(dialect: str, tmp_path: Path) -> None:
    simulated = made(dialect, character_set="\\ISO 2022 IR 87", patient_name="Kanzo^Mozo=肝臓^模造", slices=1)
    assert the_stack(groups(simulated, tmp_path)).shape[0] == 1
