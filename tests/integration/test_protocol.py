"""What is no liver's makes no objects, by files, unless somebody wants it: offline and in the node."""

import json
import time
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest

from bench import anatomy, phantom, scans
from dicomnode import events, simulate
from dicomnode.config import GroupingSettings, MeasureSettings, ReportSettings, ScannerSettings, Settings
from dicomnode.errors import InputError, NotWanted
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import lifecycle, pipeline
from dicomnode.jobs.engine import Standing
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.jobs.recovery import Recovery
from dicomnode.jobs.steps import Steps
from dicomnode.operate import offline, requests
from dicomnode.operate.status import overview, request_retry
from dicomnode.simulate import ORIENTATIONS
from dicomnode.store.spool import Spool

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANY = Settings(grouping=GroupingSettings(anatomy="any"), report=ReportSettings(products=("mr_maps",)))


def processed(folder, settings=None):
    (series,) = offline.process(
        [folder / "in"], folder / "out", settings or Settings(), created=NOW, progress=lambda _: None
    )["series"]
    return series


@pytest.mark.parametrize("scene", ["head", "limbs"])
@pytest.mark.parametrize("seed", [1, 2])
def test_images_of_something_else_make_no_objects(tmp_path, scene, seed):
    scans.write(anatomy.exam(seed, "study", scene=scene, slices=1, fault="none", train="paper"), tmp_path / "in", seed)
    series = processed(tmp_path)
    assert (series["status"], series["outputs"]) == ("refused", [])
    assert series["code"] in ("other-scene", "no-organ"), series["reason"]
    series = processed(tmp_path, ANY)
    assert series["status"] == "no_number"
    assert series["outputs"]


REFUSED = Settings(grouping=GroupingSettings(phantoms="refused"))


@pytest.mark.parametrize(("seed", "scene", "regions"), [(1001, "vials", 12), (1002, "bottle", 1), (2, "vials", None)])
def test_a_phantom_is_measured_and_never_given_iron(tmp_path, seed, scene, regions):
    exam = anatomy.exam(seed, "study", scene=scene, slices=1, fault="none", train="paper", plane="axial")
    scans.write(exam, tmp_path / "in", seed)
    series = processed(tmp_path)
    assert (series["status"], series["organ"]) == ("done", "phantom"), series["reason"]
    assert regions in (None, len(series["rois"]))
    assert all(one["r2star_per_s"] is not None and one["vial"]["radius_mm"] > 2 for one in series["rois"])
    assert {one["lic_mg_per_g"] for one in series["rois"]} == {None}
    kinds = {one["kind"] for one in series["outputs"]}
    assert {"parametric_map_r2star", "structured_report", "segmentation", "picture"} <= kinds
    (report,) = [one["path"] for one in series["outputs"] if one["kind"] == "structured_report"]
    text = str(pydicom.dcmread(tmp_path / "out" / report))
    assert "mg/g" not in text
    assert "iron conc" not in text.lower()
    again = processed(tmp_path, REFUSED)
    assert (again["status"], again["outputs"]) == ("refused", [])


@pytest.mark.parametrize(
    ("named", "orientation", "organs", "taken_for"),
    [
        ("liver", "axial", ("liver",), "liver"),
        ("liver", "short-axis", ("liver", "heart"), "liver"),
        ("heart", "short-axis", ("liver", "heart"), "heart"),
        ("heart", "axial", ("heart",), "heart"),
    ],
)
def test_a_phantom_under_an_organs_own_protocol_is_none(tmp_path, named, orientation, organs, taken_for):
    exam = phantom.scan(phantom.Setting(), np.random.default_rng(1))
    for path in scans.write(exam, tmp_path / "in", 7):
        one = pydicom.dcmread(path)
        one.BodyPartExamined, one.ProtocolName = named.upper(), f"T2star {named}"
        one.ImageOrientationPatient = list(ORIENTATIONS[orientation])
        one.save_as(path)
    settings = Settings(
        grouping=GroupingSettings(organs=organs),
        measure=MeasureSettings(organ_calibrations={"heart": "carpenter-2011"}),
        report=ReportSettings(products=("structured_report",)),
    )
    series = processed(tmp_path, settings)
    assert (series["status"], series["organ"]) == ("done", "phantom"), series["reason"]
    assert series["settings"]["organ"] == {"name": "phantom", "taken_for": taken_for}
    assert [one["name"] for one in series["rois"]] == [f"vial {number}" for number in range(1, 9)]
    assert (series["concentration"], series["trend"]) == (None, None)
    assert {one["lic_mg_per_g"] for one in series["rois"]} == {None}
    assert {one["words"]["lic_mg_per_g"] for one in series["rois"]} == {"–"}
    told = json.loads(next((tmp_path / "out").glob("*/findings.json")).read_text())
    iron = told["regions"][0]["findings"][0]
    assert iron["concept"]["value"] == {"liver": "LIC", "heart": "MIC"}[taken_for], "as an earlier value would have had"
    assert (iron["value"], iron["absent"]) == (None, "no iron is given of a phantom")
    (path,) = [tmp_path / "out" / one["path"] for one in series["outputs"]]
    report = pydicom.dcmread(path)
    assert report.ManufacturerModelName == "Phantom Node"
    assert report.SeriesDescription.startswith("Phantom report | ")


@pytest.mark.parametrize("t2star_ms", [4.0, 20.0])
def test_a_patient_whose_images_are_clipped_is_no_bottle(tmp_path, t2star_ms):
    plan = simulate.SeriesPlan(rows=128, columns=160, slices=1, liver_t2star_ms=t2star_ms)
    instances = simulate.make(plan, NOW).instances
    full_scale = int(0.2 * max(one.pixel_array.max() for one in instances))
    (tmp_path / "in").mkdir()
    for number, one in enumerate(instances):
        one.PixelData = np.minimum(one.pixel_array, full_scale).astype(one.pixel_array.dtype).tobytes()
        one.save_as(tmp_path / "in" / f"{number}.dcm", enforce_file_format=True)
    series = processed(tmp_path)
    assert (series["status"], series["organ"]) == ("no_number", "liver")
    assert "clipped" in {flag["code"] for flag in series["rois"][0]["flags"]}


def series(folder, **words):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1)
    instances = simulate.make(plan, NOW).instances
    (folder / "in").mkdir(parents=True)
    for number, one in enumerate(instances):
        for keyword, value in words.items():
            setattr(one, keyword, value)
        one.save_as(folder / "in" / f"{number}.dcm", enforce_file_format=True)
    return instances


def sent_by(folder, sender, instances):
    for one in instances:
        one.file_meta.SendingApplicationEntityTitle = sender
        one.save_as(folder / "in" / f"{one.InstanceNumber - 1}.dcm", enforce_file_format=True)


OTHER = {
    "BodyPartExamined": "BRAIN",
    "SeriesDescription": "t2star 8 echoes",
    "ProtocolName": "gre8",
    "StudyDescription": "",
}


def test_a_header_that_names_something_else_is_refused_before_anything_is_fitted(tmp_path):
    series(tmp_path, **OTHER)
    one = processed(tmp_path)
    assert (one["status"], one["code"], one["outputs"]) == ("refused", "other-anatomy", [])
    assert one["reason"].startswith("not of the liver: Body Part Examined names the brain")
    assert one["advice"] is None
    assert processed(tmp_path, ANY)["status"] == "no_number"


class Queue:
    """Remembers what was put in."""

    def __init__(self):
        self.runs = []

    def process(self, key, run=0, *, quick=False, version=1):
        self.runs.append(run)

    def process_standing(self, key, run):
        return Standing.UNKNOWN if run > 0 else Standing.OVER


def begun(tmp_path, settings, rules=None, say=lambda _: None):
    """What a node with these settings makes of the files in a folder: spool, recovery, watcher."""
    spool = Spool(tmp_path / "store")
    spool.create()
    for path in sorted((tmp_path / "in").iterdir()):
        head = pydicom.dcmread(path, stop_before_pixels=True)
        spool.store(head.StudyInstanceUID, head.SOPInstanceUID, path.read_bytes())
        spool.release(head.StudyInstanceUID, [head.SOPInstanceUID])
    later = (rules or settings).grouping_of
    recovery = Recovery(spool, Queue(), Nowhere(), settings.report, look_at=lambda _: None, rules_of=later, say=say)
    watcher = Watcher(
        settings.grouping,
        spool,
        parameters=settings.result_parameters(),
        software_version="1",
        bringing=lambda _: frozenset(),
        start=recovery.start,
        rules_of=settings.grouping_of,
        scanners=settings.choosing_scanners,
        say=say,
    )
    now = time.monotonic()
    watcher.turn(now)
    watcher.turn(now + 100.0)
    return spool, recovery, watcher


class Nowhere:
    """No destination at all."""

    def names(self):
        return []


@pytest.fixture
def node(tmp_path):
    """The same where a scanner has these settings, and its one job in place of the watcher."""

    def make(later=None, **scanner):
        settings = Settings(scanner=(ScannerSettings(ae_title="MR1", **scanner),))
        spool, recovery, _ = begun(tmp_path, settings, later)
        (job,) = spool.all_jobs()
        return spool, recovery, job

    return make


def run(spool, job):
    for step in pipeline.STEPS:
        pipeline.run_step(str(spool.folder), job.key, step)


def refused(spool, job):
    with pytest.raises(NotWanted) as caught:
        run(spool, job)
    Steps(spool, None, deaths_allowed=1, settle=None).failed(job.key, "fit", caught.value)


def test_a_node_refuses_it_until_a_person_wants_it_processed_anyway(tmp_path, node):
    series(tmp_path, **OTHER)
    spool, recovery, job = node()
    refused(spool, job)
    (entry,) = overview(spool)
    assert (entry["status"], entry["code"]) == ("refused", "other-anatomy")
    request_retry(spool, [entry])
    recovery.turn(0.0)
    refused(spool, job)
    request_retry(spool, [entry], anyway=True)
    recovery.turn(0.0)
    assert lifecycle.state(job).status is JobStatus.QUEUED
    run(spool, job)
    assert job.outputs
    summary = job.read("summary.json")
    assert (summary["ordered"]["by"], summary["ordered"]["code"]) == ("command line", "other-anatomy")
    (flag,) = {flag["sentence"] for roi in summary["rois"] for flag in roi["flags"] if flag["code"] == "on-order"}
    assert flag.startswith("measured on a person's order although its header names another part of the body")
    assert any(flag in text for text in report_of(job))


def report_of(job):
    """Every text of the Structured Report."""
    (path,) = [one["path"] for one in job.outputs if one["product"] == "structured_report"]
    return set(texts(pydicom.dcmread(job.folder / path).ContentSequence))


def texts(items):
    for item in items:
        yield str(item.get("TextValue", ""))
        yield from texts(item.get("ContentSequence", []))


def test_a_series_that_a_rule_leaves_out_is_processed_on_order_and_stays_so(tmp_path, node):
    sent_by(tmp_path, "MR1", series(tmp_path))
    said = []
    settings = Settings(scanner=(ScannerSettings(ae_title="MR1", ignore_series=("t2",)),))
    spool, recovery, watcher = begun(tmp_path, settings, say=said.append)
    (entry,) = overview(spool)
    assert (entry["status"], entry["code"], entry["key"]) == ("refused", "scanner-ignores", None)
    requests.ask(spool, "process anyway", [entry], by="anna")
    recovery.turn(0.0)
    assert [(one.by, one.code) for one in said if isinstance(one, events.Ordered)] == [("anna", "scanner-ignores")]
    watcher.wake(entry["study_instance_uid"])
    watcher.turn(time.monotonic() + 200.0)
    (job,) = spool.all_jobs()
    run(spool, job)
    flags = [flag for roi in job.read("summary.json")["rois"] for flag in roi["flags"] if flag["code"] == "on-order"]
    assert "a rule of its scanner leaves it out" in flags[0]["sentence"]
    assert overview(spool)[0]["status"] == "queued"


@pytest.mark.parametrize("code", ["too-few-echoes", "no-echo-time", "damaged-images", "lossy", "spin-echo"])
def test_of_what_makes_no_number_an_order_is_refused_with_the_reason(tmp_path, code):
    entry = {"status": "refused", "code": code, "reason": "why not", "key": None, "held": None, "deliveries": {}}
    with pytest.raises(InputError, match="no order makes a number of it: refused: why not"):
        requests.ask(Spool(tmp_path), "process anyway", [entry], by="anna")


def test_trying_again_asks_the_rules_of_today(tmp_path, node):
    series(tmp_path, **OTHER)
    spool, recovery, job = node(later=ANY)
    lifecycle.say(job, JobStatus.REFUSED, "not of the liver", code="other-anatomy")
    request_retry(spool, overview(spool))
    recovery.turn(0.0)
    run(spool, job)
    assert job.outputs


@pytest.mark.parametrize(("sender", "made"), [("MR1", True), ("MR2", False)])
def test_each_scanner_may_have_its_own_rule(tmp_path, node, sender, made):
    sent_by(tmp_path, sender, series(tmp_path, **OTHER))
    spool, _, job = node(anatomy="any")
    if made:
        run(spool, job)
    else:
        with pytest.raises(NotWanted):
            run(spool, job)
    assert bool(job.outputs) is made


def test_what_a_scanner_accepts_is_the_livers_whatever_its_words_say(tmp_path, node):
    sent_by(tmp_path, "MR1", series(tmp_path, **OTHER))
    assert processed(tmp_path)["code"] == "other-anatomy"
    spool, _, job = node(accept_series=("^gre8$",))
    run(spool, job)
    assert "on-order" not in str(job.read("summary.json"))
    accepts = ScannerSettings(ae_title="MR1", accept_series=("gre8",))
    assert processed(tmp_path, Settings(scanner=(accepts,)))["outputs"]
