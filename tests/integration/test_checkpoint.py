"""A job reads what was received once, and then never again: counted, not believed."""

import builtins
import io
import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode import group, pixels, simulate
from dicomnode.config import GroupingSettings, ReportSettings, Settings
from dicomnode.errors import StepError
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs import pipeline
from dicomnode.store.durable import write_json
from dicomnode.store.spool import Spool
from tests.integration.moments import Moments


@pytest.fixture
def opened(monkeypatch):
    """How often each received file was opened to be read, by any of the ways that lead through Python's ``open``."""
    counted: Counter[str] = Counter()
    real = builtins.open

    def counting(file, mode="r", *arguments, **more):
        name = str(file)
        if mode in ("r", "rb") and "/incoming/" in name and name.endswith(".dcm"):
            counted[name] += 1
        return real(file, mode, *arguments, **more)

    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)  # what pathlib calls
    return counted


@pytest.fixture(params=["siemens-ve", "philips-enhanced"])
def spool(request, tmp_path):
    """A received series that nobody has looked at."""
    return received(tmp_path, dialect=request.param)


def received(tmp_path, **plan):
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=2, **plan)
    spool = Spool(tmp_path / "store")
    spool.create()
    for one in simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances:
        path = tmp_path / "one.dcm"
        one.save_as(path, enforce_file_format=True)
        spool.store(one.StudyInstanceUID, one.SOPInstanceUID, path.read_bytes())
        spool.release(one.StudyInstanceUID, [one.SOPInstanceUID])
    return spool


@pytest.fixture
def begin(spool, begin_of):
    return lambda: begin_of(spool)


@pytest.fixture
def begin_of():
    """Let the watcher find a series; return the job it makes."""

    def run(spool):
        jobs = []

        def start(manifest, stack):
            now = datetime(2026, 1, 1, tzinfo=UTC)
            jobs.append(pipeline.create(spool, manifest, stack, now, ReportSettings()))
            return jobs[-1].key

        parameters = Settings().result_parameters()
        watcher = Watcher(
            GroupingSettings(quiet_seconds=0.0),
            spool,
            parameters=parameters,
            software_version="1",
            rules_of=lambda *_: GroupingSettings(),
            bringing=lambda _: frozenset(),
            start=start,
            clock=lambda: 0.0,
        )
        watcher.turn(1e12)
        (job,) = jobs
        return job

    return run


def test_every_image_is_opened_once_to_look_at_it_and_once_by_its_job(spool, begin, opened):
    job = begin()
    assert set(opened.values()) == {1}
    opened.clear()
    for step in pipeline.STEPS:
        pipeline.run_step(str(spool.folder), job.key, step)
    assert set(opened.values()) == {1}
    assert len(opened) == len(list(spool.incoming.rglob("*.dcm")))
    assert job.outputs


def test_after_the_first_step_a_job_needs_no_received_file(spool, begin):
    job = begin()
    pipeline.run_step(str(spool.folder), job.key, "fit")
    shutil.rmtree(spool.incoming)
    for step in ("measure", "report"):
        pipeline.run_step(str(spool.folder), job.key, step)
    assert job.outputs


def test_what_became_of_a_phase_is_said_alike_when_maps_are_made_again_without_it(tmp_path, begin_of):
    spool = received(tmp_path, dialect="siemens-ve", with_phase=True)
    job = begin_of(spool)
    pipeline.run_step(str(spool.folder), job.key, "fit")
    maps = (job.folder / "maps.npz").read_bytes()
    assert job.read("phase.json")["code"]
    shutil.rmtree(spool.incoming)
    (job.folder / "maps.npz").unlink()
    for step in pipeline.STEPS:
        pipeline.run_step(str(spool.folder), job.key, step)
    assert len((job.folder / "maps.npz").read_bytes()) == pytest.approx(len(maps), abs=64)
    assert job.read("summary.json")["phase"] == job.read("phase.json")


def test_the_images_are_grouped_once(spool, begin, monkeypatch):
    job = begin()
    monkeypatch.setattr(group, "assemble", lambda *_: pytest.fail("grouped again"))
    for step in pipeline.STEPS:
        pipeline.run_step(str(spool.folder), job.key, step)
    assert job.outputs


def objects_of(job):
    return {one["path"]: (job.folder / one["path"]).read_bytes() for one in job.outputs}


@pytest.mark.parametrize("parts", [pipeline.PARTS, pipeline.PARTS[::-1], pipeline.PARTS[1:]])
def test_parts_of_a_report_made_one_by_one_make_the_same_report(spool, begin, parts):
    job = begin()
    for step in pipeline.STEPS:
        pipeline.run_step(str(spool.folder), job.key, step)
    whole = objects_of(job), job.read("summary.json")
    shutil.rmtree(job.folder / "outputs")
    (job.folder / "outputs.json").unlink()
    for step in (*parts, "report"):
        pipeline.run_step(str(spool.folder), job.key, step)
    assert (objects_of(job), job.read("summary.json")) == whole
    assert not [path.name for path in job.folder.iterdir() if path.stem in pipeline.PARTS]


def test_a_report_that_two_machines_make_is_whole_at_any_moment(spool, begin, monkeypatch):
    """As where one was thought dead and comes back: what the other made, and perhaps sends, is never half."""
    job = begin()
    for step in (*pipeline.STEPS[:-1], *pipeline.PARTS):
        pipeline.run_step(str(spool.folder), job.key, step)
    parts = {part: job.read(f"{part}.json") for part in pipeline.PARTS}
    one = job.folder / parts["objects"][0]["path"]
    whole = one.read_bytes()
    with one.open("rb") as sent:
        (job.folder / "objects.json").unlink()
        pipeline.run_step(str(spool.folder), job.key, "objects")
        assert (sent.read(), one.read_bytes()) == (whole, whole)
        assert os.fstat(sent.fileno()).st_nlink == 0
    moments = Moments(monkeypatch)
    for at in range(40):
        for part, entries in parts.items():
            write_json(job.folder / f"{part}.json", entries)
        (job.folder / "outputs.json").unlink(missing_ok=True)
        moments.interrupt(at, lambda: pipeline.run_step(str(spool.folder), job.key, "report"))
        pipeline.run_step(str(spool.folder), job.key, "report")
        last, _ = moments.count, moments.end()
        assert job.outputs == [entry for entries in parts.values() for entry in entries]
        if last <= at:
            return
    pytest.fail("there are more moments than were looked at")


def test_a_folder_that_was_moved_goes_on(spool, begin, tmp_path):
    job = begin()
    pipeline.run_step(str(spool.folder), job.key, "fit")
    elsewhere = Spool(Path(shutil.move(spool.folder, tmp_path / "elsewhere")))
    for step in ("measure", "report"):
        pipeline.run_step(str(elsewhere.folder), job.key, step)
    assert elsewhere.job(job.key).outputs


def test_a_job_of_the_version_before_is_grouped_again_and_goes_on(spool, begin):
    """It has neither a checkpoint nor a version."""
    job = begin()
    said = job.read("manifest.json")
    del said["version"]
    write_json(job.folder / "manifest.json", said)
    (job.folder / "stack.json").unlink()
    pipeline.run_step(str(spool.folder), job.key, "fit")
    assert manifests.read(job).version == 1
    assert (job.folder / "maps.npz").exists()


def test_a_damaged_checkpoint_is_said(spool, begin):
    job = begin()
    pipeline.run_step(str(spool.folder), job.key, "fit")
    (job.folder / "signal.npy").write_bytes(b"no array")
    with pytest.raises(StepError, match="the pixels of this job cannot be read"):
        pipeline.run_step(str(spool.folder), job.key, "measure")


def test_a_step_that_was_killed_between_pixels_and_headers_decodes_again(spool, begin):
    job = begin()
    pipeline.run_step(str(spool.folder), job.key, "fit")
    for name in ("headers.npz", "maps.npz"):
        (job.folder / name).unlink()
    pipeline.run_step(str(spool.folder), job.key, "fit")
    assert (job.folder / "maps.npz").exists()


def test_the_kept_pixels_are_the_decoded_ones(spool, begin):
    from dicomnode.jobs import checkpoint

    job = begin()
    first, again = (checkpoint.take(spool, job) for _ in range(2))
    assert (first.signal == again.signal).all()
    assert first.stack == again.stack
    assert (pixels.load(first.stack) == again.signal).all()
    assert dict(first.headers) == dict(again.headers)
