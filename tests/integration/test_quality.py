"""What every exam says of its scanner is kept, outlives the exam, is rebuilt, and raises alarms."""

import csv
import io
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from bench import phantom, scans
from dicomnode import cli, config, events, notices
from dicomnode.control import rows
from dicomnode.jobs import lifecycle, tidy
from dicomnode.node import Node
from dicomnode.operate import removal
from dicomnode.operate.status import overview
from dicomnode.store.spool import Spool
from tests.acceptance.conftest import wait_for
from tests.acceptance.test_way_back import segmentation
from tests.integration.inline import Inline

# pynetdicom leaves the socket of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Site:
    """A node that is sent phantoms."""

    def __init__(self, folder):
        self.folder, self.said, self.node = folder, [], None
        self.config = folder / "config.toml"
        self.config.write_text(
            '[node]\nhost = "127.0.0.1"\n[[scanner]]\nae_title = "MR1"\n[storage]\nminimum_free_mb = 0\n'
            '[grouping]\norgans = ["liver", "heart"]\n'
            '[fit]\nmethod = "nls"\nmodel = "mono-exponential"\n[report]\nproducts = ["mr_maps", "structured_report"]\n'
        )
        self.spool = Spool(folder / "dicomnode-data")
        self.spool.create()

    def scan(self, number, factor=1.0, day="20260601"):
        """One scan with every rate times a factor, until its result is done; its job."""
        setting = phantom.Setting(factors=(factor,) * len(phantom.RATES_PER_S))
        exam = phantom.scan(setting, np.random.default_rng(number))
        for path in scans.write(exam, self.folder / f"in{number}", number):
            image = pydicom.dcmread(path)
            image.AcquisitionDate, image.AcquisitionTime, image.StationName = day, "080000", "ROOM1"
            image.save_as(path)
            self.spool.store(image.StudyInstanceUID, image.SOPInstanceUID, path.read_bytes())
            self.spool.release(image.StudyInstanceUID, [image.SOPInstanceUID])
        self.start()
        self.until(lambda: [one["status"] for one in overview(self.spool)].count("done") == number)
        return next(one for one in self.spool.all_jobs() if f".{number + 1}.92" in str(one.read("manifest.json")))

    def start(self):
        self.stop()
        settings = config.load(self.config)
        free = settings.node.model_construct(**{**dict(settings.node), "port": 0})
        self.node = Node(settings.model_copy(update={"node": free}), children=Inline(), sinks=(self.said.append,))
        self.node.start()

    def until(self, condition):
        def look():
            self.node.turn(0.0)
            return condition()

        return wait_for(look, 60, "the condition")

    def stop(self):
        if self.node is not None:
            self.node.stop()
            self.node = None

    def rows(self):
        return [one for history in rows.read(self.spool.folder) for one in history.rows]

    def alarms(self):
        return [one for one in self.said if isinstance(one, events.ScannerChanged)]

    def command(self, *arguments):
        return CliRunner().invoke(cli.main, ["quality", *arguments, "--config", str(self.config)])


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.stop()


def test_a_phantom_is_measured_by_the_node_and_its_row_outlives_it(site):
    job = site.scan(1)
    (row,) = site.rows()
    assert (row.key, row.organ, row.at, row.scanner.station) == (job.key, "phantom", "2026-06-01T08:00:00", "ROOM1")
    assert [one["r2star_per_s"] for one in row.vials] == pytest.approx(phantom.RATES_PER_S, rel=0.02)
    assert "EXAM-1" not in (site.spool.folder / rows.FOLDER / f"{row.scanner.name}.jsonl").read_text()
    (entry,) = overview(site.spool)
    removal.ask(site.spool, {entry["study_instance_uid"]}, "test", undelivered=True, by="anna")
    site.until(lambda: not list(site.spool.all_jobs()))
    assert site.rows() == [row]


def test_what_a_person_draws_on_a_phantom_gets_no_iron_and_leaves_no_row(site):
    job = site.scan(1)
    contents = [tidy.content_of(job.folder / one["path"]) for one in job.outputs if one["kind"] == "mr_map_r2star"]
    images = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    mask = np.zeros((len(images), images[0].Rows, images[0].Columns), np.uint8)
    mask[:, 20:30, 40:60] = 1
    drawn = segmentation(images, mask, site.folder / "drawn.dcm")
    site.spool.store(drawn.StudyInstanceUID, drawn.SOPInstanceUID, (site.folder / "drawn.dcm").read_bytes())
    site.spool.release(drawn.StudyInstanceUID, [drawn.SOPInstanceUID])
    site.until(lambda: [one["status"] for one in overview(site.spool)].count("done") == 2)
    (said,) = [one.read("summary.json") for one in site.spool.all_jobs() if one.key != job.key]
    assert (said["organ"], [one["name"] for one in said["rois"]]) == ("phantom", ["my liver"])
    assert (said["rois"][0]["lic_mg_per_g"], said["rois"][0]["calibration"]) == (None, None)
    assert said["rois"][0]["vial"] is not None
    assert "no iron is given of a phantom" in said["answer"]
    assert len(site.rows()) == 1


def test_rows_that_a_crash_left_out_are_made_again_from_the_jobs(site):
    site.scan(1)
    (before,) = site.rows()
    (site.spool.folder / rows.FOLDER / f"{before.scanner.name}.jsonl").unlink()
    site.start()
    assert site.rows() == [before]
    site.start()
    assert site.rows() == [before], "each once"


def test_a_step_of_six_per_cent_is_said_once_the_baseline_is_whole(site):
    site.scan(1, day="20260101")
    (first,) = site.rows()
    noise = np.random.default_rng(5)
    for week in range(1, 18):
        at = (date(2026, 1, 1) + timedelta(weeks=week)).isoformat() + "T08:00:00"
        vials = tuple({**one, "r2star_per_s": one["r2star_per_s"] * noise.normal(1, 0.004)} for one in first.vials)
        rows.append(site.spool.folder, replace(first, key=f"k{week}", exam=f"e{week}", at=at, vials=vials))
    assert site.command().exit_code == 0
    job = site.scan(2, factor=1.06, day="20260601")
    (alarm,) = [one for one in site.alarms() if one.chart == "r2star"]
    assert (alarm.key, alarm.code, alarm.scanner) == (job.key, "step", first.scanner.name)
    assert alarm.change == pytest.approx(5.8, abs=0.6)
    assert lifecycle.state(job).status == "done", "an alarm holds up nothing"
    said = site.command()
    assert said.exit_code == 1
    assert "ALARM R2* of all vials: step since 2026-06-01" in said.output
    table = list(csv.DictReader(io.StringIO(site.command("--csv").output)))
    assert (len(table), table[-1]["alarms"]) == (19 * 8, "r2star step")
    assert site.command(first.scanner.name[:8], "--new-baseline", "gradient coil changed").exit_code == 0
    assert site.command().exit_code == 0, "what came before is judged no more"


def test_an_alarm_is_a_notice_once_for_each_chart_of_a_scanner():
    told = notices.notice_of(events.ScannerChanged("k", "a1b2", "r2star", "step", 3.21))
    assert (told.kind, told.about) == ("scanner", "a1b2 r2star")
    assert "r2star has taken a step (+3.2 % from its baseline)" in told.sentence
