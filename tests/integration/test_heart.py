"""A heart goes all the way as a heart: grouping, fit, septum, report, maps, pages; nothing of it speaks of a liver."""

import json
import re
import zlib
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dicomnode import simulate
from dicomnode.cli import main
from dicomnode.config import GroupingSettings, MeasureSettings, ReportSettings, ScannerSettings, Settings, TrendSettings
from dicomnode.errors import StepError
from dicomnode.export import bids, page, results, table
from dicomnode.operate import offline
from dicomnode.report import reading, sheet
from dicomnode.web import timeline

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = GroupingSettings(organs=("liver", "heart"))
IRON = MeasureSettings(organ_calibrations={"heart": "carpenter-2011"})
SCHEME = "99LIVERIRON"  # designates one set of codes, whatever organ they are used of
LIVER = re.compile(r"(?i:(?<!de)liver|hepat)|\bLIC\b")  # keys of JSON are for programs


def plan(*, orientation="short-axis", field_t=1.5, heart=None, **more):
    return simulate.SeriesPlan(
        echo_times_ms=simulate.HEART_ECHO_TIMES_MS,
        slices=1,
        field_strength_t=field_t,
        orientation=orientation,
        patient_name="HEART^SIMULATED",
        heart=heart or simulate.HeartPlan(t2star_ms=14.0),
        **more,
    )


EARLIER = """patient_id,date,organ,lic_mg_per_g,t2star_ms,field_t,scanner
SIM-0001,2024-05-01,heart,,9.6,1.5,Aera
SIM-0001,2024-05-01,liver,17.3,,1.5,Aera
SIM-0001,2025-02-03,,16.1,,1.5,Aera
SIM-0001,2025-02-03,heart,,12.5,1.5,Aera
"""


def processed(folder, planned, settings=None, **words):
    instances = simulate.make(planned, NOW).instances
    (folder / "in").mkdir(parents=True)
    for number, one in enumerate(instances):
        for keyword, value in words.items():
            setattr(one, keyword, value)
        one.save_as(folder / "in" / f"{number}.dcm", enforce_file_format=True)
    used = settings or Settings(grouping=BOTH, measure=IRON)
    (series,) = offline.process([folder / "in"], folder / "out", used, created=NOW, progress=lambda _: None)["series"]
    return series


def true_ms(planned):
    return simulate.make(planned, NOW).truth.regions["septum"].t2star_ms


def with_earlier(folder, **changes):
    (folder / "priors.csv").write_text(EARLIER)
    trend = TrendSettings(table=folder / "priors.csv")
    return Settings(**{"grouping": BOTH, "measure": IRON, "trend": trend, **changes})


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bright")
    return folder / "out", processed(folder, plan(), with_earlier(folder))


def numbers(report):
    found = {}

    def walk(item):
        for content in item.get("ContentSequence", ()):
            if content.ValueType == "NUM":
                code = content.ConceptNameCodeSequence[0]
                found.setdefault(code.CodeValue, float(content.MeasuredValueSequence[0].NumericValue))
            walk(content)

    walk(report)
    return found


def the(series, folder, kind):
    (path,) = [one["path"] for one in series["outputs"] if one["kind"] == kind]
    return pydicom.dcmread(folder / path)


def test_the_septum_is_measured_with_its_band_and_its_iron(bright):
    _, series = bright
    assert (series["status"], series["organ"], series["concentration"]) == ("done", "heart", "MIC")
    septum = series["rois"][0]
    assert septum["name"] == "septum"
    assert septum["t2star_ms"]["median"] == pytest.approx(true_ms(plan()), rel=0.03)
    assert septum["words"]["range"] == "mild to moderate (10 to 20 ms, Anderson 2001, Kirk 2009)"
    assert septum["lic_mg_per_g"] == pytest.approx(45.0 * septum["t2star_ms"]["median"] ** -1.22, abs=0.1)
    assert septum["calibration"].startswith("carpenter-2011: MIC = 45.0 · T2*^-1.22 at 1.49 T")
    assert series["answer"].startswith("Cardiac T2* 14.")


def test_a_phase_that_comes_with_a_heart_is_not_fitted_and_the_report_says_so(tmp_path, bright):
    series = processed(tmp_path, plan(with_phase=True))
    assert series["phase"] == {"code": "organ", "reason": "no complex fit is made of the heart", "measured": {}}
    assert series["rois"][0]["t2star_ms"] == bright[1]["rois"][0]["t2star_ms"]


def test_the_codes_are_those_of_the_heart(bright):
    folder, series = bright
    report, segments = the(series, folder, "structured_report"), the(series, folder, "segmentation")
    found = numbers(report)
    assert {"MIC", "T2S-CI95-LOW", "T2S-CI95-HIGH", "113064"} <= found.keys()
    assert found["T2S-CI95-LOW"] < found["113064"] < found["T2S-CI95-HIGH"]
    types = [one.SegmentedPropertyTypeCodeSequence[0] for one in segments.SegmentSequence]
    assert [(one.CodeValue, one.CodeMeaning) for one in types] == [
        ("589001", "Interventricular septum"),
        ("49848007", "Myocardium of left ventricle"),
    ]
    assert segments.BodyPartExamined == "HEART"


# ---- earlier results


def test_only_earlier_hearts_stand_beside_a_heart_and_no_change_is_judged(bright):
    _, series = bright
    trend = series["trend"]
    assert [(one["date"], one["t2star_ms"], one["outcome"]) for one in trend["points"]] == [
        ("2024-05-01", 9.6, "not-judged"),
        ("2025-02-03", 12.5, "not-judged"),
    ]
    assert (trend["heads"][1], trend["heads"][-1]) == ("T2* ms", "What differs")
    assert trend["now"]["value"] == series["rois"][0]["t2star_ms"]["median"]
    assert trend["sentence"].startswith("T2* on 2025-02-03 12.5 ms, now 14.")
    assert trend["repeatability_mg_per_g"] is None
    drawn = timeline.of(trend)
    assert (drawn.title, len(drawn.marks), drawn.band) == ("T2*, ms", 3, None)


def test_only_earlier_livers_stand_beside_a_liver(tmp_path):
    series = processed(tmp_path, a_liver(), with_earlier(tmp_path))
    assert [one["lic_mg_per_g"] for one in series["trend"]["points"]] == [17.3, 16.1]
    assert series["trend"]["heads"][1] == "LIC mg/g"


def test_the_report_has_earlier_times_under_codes_of_their_own(bright):
    folder, _ = bright
    found = numbers(the(bright[1], folder, "structured_report"))
    assert found["T2S-PRIOR"] == 9.6
    assert not any(code.startswith(("LIC", "MIC-PRIOR", "MIC-CHANGE")) for code in found)


def test_a_report_of_a_heart_is_read_back_as_one(bright):
    folder, series = bright
    report = the(series, folder, "structured_report")
    assert reading.is_ours(report)
    point = reading.point(report)
    assert (point.organ, point.lic_mg_per_g) == ("heart", None)
    assert point.t2star_ms == pytest.approx(series["rois"][0]["t2star_ms"]["median"], rel=1e-5)
    assert point.ci95[0] < point.t2star_ms < point.ci95[1]
    report.ManufacturerModelName = "Liver Iron Node"
    with pytest.raises(StepError):
        reading.point(report)


# ---- no word of another organ


def words_of(dataset):
    """Every text of an object, its private and its nested elements too."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from words_of(item)
        elif element.VR not in {"OB", "OW", "OF", "OD", "UN"}:
            yield f"{element.keyword}: {element.value}"


def drawn_on(monkeypatch, folder):
    """Every text that pages and PDF write, from a fresh run."""
    written = []
    plain = sheet.Sheet.write

    def write(self, x, y, text, *more, **how):
        written.append(text)
        return plain(self, x, y, text, *more, **how)

    monkeypatch.setattr(sheet.Sheet, "write", write)
    processed(folder, plan(), with_earlier(folder))
    return written


def test_no_product_of_a_heart_speaks_of_a_liver(bright, monkeypatch, tmp_path):
    folder, series = bright
    said = [json.dumps(series, ensure_ascii=False)]
    kinds = set()
    for output in series["outputs"]:
        one = pydicom.dcmread(folder / output["path"])
        kinds.add(output["kind"])
        said += [*words_of(one), *words_of(one.file_meta)]
    said += [path.read_text() for path in folder.rglob("*.json")]
    said += drawn_on(monkeypatch, tmp_path)
    assert len(kinds) >= 8
    assert any("Cardiac T2*" in text for text in said)
    assert any("2025-02-03" in text and "12.5" in text for text in said)
    for text in said:
        assert LIVER.search(text.replace(SCHEME, "")) is None, text[:300]


def test_the_pdf_holds_no_such_word_either(bright):
    folder, series = bright
    content = bytes(the(series, folder, "pdf").EncapsulatedDocument)
    texts = [content]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            texts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    assert all(re.search(rb"(?<![Dd]e)[Ll]iver", text) is None for text in texts)


@pytest.mark.parametrize("to", ["html", "csv", "nifti"])
def test_what_is_exported_of_a_heart_is_a_hearts(bright, tmp_path, to):
    folder, _ = bright
    writers = {"html": page, "csv": table, "nifti": bids}
    paths = writers[to].write(results.of_folder(folder), tmp_path)
    texts = [path.read_text() for path in paths if path.suffix in {".html", ".csv", ".json"}]
    assert any(word in text for text in texts for word in ("Cardiac T2*", "heart"))
    assert not any(re.search(r"(?i:(?<!de)liver)", text) for text in texts)
    assert to != "nifti" or {"septum", "leftVentricle"} <= {
        word for path in paths for word in re.split("[-_]", path.name)
    }


def test_without_a_calibration_there_is_a_time_and_no_iron(tmp_path):
    series = processed(tmp_path, plan(), Settings(grouping=BOTH))
    septum = series["rois"][0]
    assert septum["lic_mg_per_g"] is None
    assert septum["t2star_ms"] is not None
    assert "MIC" not in series["answer"]


def test_at_three_tesla_no_range_and_no_iron_are_named(tmp_path):
    series = processed(tmp_path, plan(field_t=3.0, dialect="siemens-ve"))
    septum = series["rois"][0]
    assert septum["words"]["range"] == ""
    assert {"no-ranges", "no-calibration"} <= {flag["code"] for flag in septum["flags"]}
    assert septum["lic_mg_per_g"] is None
    assert series["answer"].startswith("Cardiac T2* ")


@pytest.mark.parametrize("blood", ["bright", "black"])
def test_severe_iron_is_severe(tmp_path, blood):
    planned = plan(heart=simulate.HeartPlan(t2star_ms=6.0, blood=blood), snr=60.0)
    series = processed(tmp_path, planned)
    assert series["rois"][0]["t2star_ms"]["median"] == pytest.approx(true_ms(planned), rel=0.03)
    assert "severe (below 10 ms" in series["answer"]


def test_ghosts_of_flowing_blood_are_not_silently_believed(tmp_path):
    series = processed(tmp_path, plan(heart=simulate.HeartPlan(t2star_ms=8.0, flow=0.3), snr=80.0))
    codes = {flag["code"]: flag["grade"] for flag in series["rois"][0]["flags"]}
    assert codes.get("blood-flow") in {"low confidence", "not measurable"}


# ---- one is never read as the other


def a_liver(**more):
    return simulate.SeriesPlan(slices=1, field_strength_t=1.5, rows=96, columns=128, **more)


MISLEADING = {"SeriesDescription": "T2* heart short axis", "ProtocolName": "cardiac", "BodyPartExamined": "HEART"}
TRUNK = {"SeriesDescription": "T2* liver", "ProtocolName": "liver", "BodyPartExamined": "LIVER"}
NOTHING = {"SeriesDescription": "gre", "ProtocolName": "gre", "BodyPartExamined": "", "StudyDescription": ""}


def test_a_liver_stays_a_liver_where_both_are_measured(tmp_path):
    series = processed(tmp_path, a_liver(), Settings(grouping=BOTH))
    assert (series.get("organ"), series["status"]) in {("liver", "done"), ("liver", "no_number")}
    assert all(roi["name"].startswith("liver") for roi in series["rois"])


@pytest.mark.parametrize("organs", [("liver",), ("heart",), ("liver", "heart")], ids="+".join)
def test_a_liver_that_is_called_a_heart_is_refused(tmp_path, organs):
    series = processed(tmp_path, a_liver(), Settings(grouping=GroupingSettings(organs=organs)), **MISLEADING)
    assert series["status"] == "refused"
    assert series["code"] in {"other-plane", "other-anatomy"}


@pytest.mark.parametrize("words", [MISLEADING, NOTHING], ids=["called a heart", "called nothing"])
def test_a_liver_whose_plane_looks_like_a_short_axis_gives_no_number(tmp_path, words):
    series = processed(tmp_path, a_liver(orientation="short-axis"), **words)
    assert series["status"] in {"refused", "no_number"}
    assert all(roi["t2star_ms"] is None for roi in series["rois"])


@pytest.mark.parametrize("organs", [("liver",), ("liver", "heart")], ids="+".join)
def test_a_heart_that_is_called_a_liver_is_refused(tmp_path, organs):
    series = processed(tmp_path, plan(), Settings(grouping=GroupingSettings(organs=organs)), **TRUNK)
    assert (series["status"], series["code"]) == ("refused", "other-plane")


@pytest.mark.parametrize("words", [TRUNK, NOTHING], ids=["called a liver", "called nothing"])
def test_a_heart_whose_header_lies_about_its_plane_too_gives_no_liver_iron(tmp_path, words):
    series = processed(tmp_path, plan(orientation="axial"), Settings(), **words)
    assert series["status"] in {"refused", "no_number"}
    assert all(roi["lic_mg_per_g"] is None for roi in series["rois"])


def test_a_scanner_of_hearts_measures_hearts(tmp_path):
    settings = Settings(
        scanner=(ScannerSettings(ae_title="CMR", organs=("heart",)),), report=ReportSettings(products=())
    )
    assert settings.grouping_of("CMR").organs == ("heart",)
    assert settings.grouping_of("MR1").organs == ("liver",)
    instances = simulate.make(plan(), NOW).instances
    (tmp_path / "in").mkdir()
    for sender in ("CMR", "MR1"):
        for number, one in enumerate(instances):
            one.file_meta.SendingApplicationEntityTitle = sender
            one.save_as(tmp_path / "in" / f"{number}.dcm", enforce_file_format=True)
        (series,) = offline.process(
            [tmp_path / "in"], tmp_path / sender, settings, created=NOW, progress=lambda _: None
        )["series"]
        assert series["status"] == ("done" if sender == "CMR" else "refused"), series["reason"]


def test_the_organ_is_part_of_what_a_result_is_made_from(bright):
    _, series = bright
    assert series["settings"]["organ"] == {"name": "heart"}
    assert series["settings"]["measure"]["calibration"] == "carpenter-2011"
    assert np.isfinite(series["rois"][0]["confidence"])


def test_a_heart_says_of_its_scanner_what_a_liver_does(bright):
    _, series = bright
    said = series["quality"]
    assert said["snr"] > 5
    assert said["scanner"]["field_t"] == series["field_strength_t"]
    assert said["vials"] == [], "it goes into no control chart"


def test_the_simulator_draws_hearts(tmp_path):
    said = CliRunner().invoke(main, ["simulate", str(tmp_path / "heart"), "--heart", "--t2star", "12", "--slices", "1"])
    assert said.exit_code == 0, said.output
    truth = json.loads((tmp_path / "heart" / "truth.json").read_text())
    assert truth["regions"]["septum"]["t2star_ms"] == pytest.approx(12.0, rel=0.1)
    assert truth["echo_times_ms"] == list(simulate.HEART_ECHO_TIMES_MS)
