"""The manifest: built once, read as it was written, refused where it is from the future."""

import json
from dataclasses import replace

import pytest

from dicomnode.errors import StepError
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.manifest import Manifest
from dicomnode.store.job import Job

MANIFEST = Manifest(
    sources=("1.1", "1.2"),
    parameters={"fit": {"weights": [1.0, 2.0]}},
    software_version="1",
    instances={"1.1": "incoming/1/1.1.dcm"},
)


@pytest.fixture
def job(tmp_path):
    made = Job(tmp_path / MANIFEST.key)
    made.folder.mkdir()
    return made


def test_it_is_read_as_it_was_written(job):
    manifests.write(job, MANIFEST)
    assert manifests.read(job) == MANIFEST
    assert manifests.read(job).key == job.key


def test_an_unknown_version_is_refused_by_name(job):
    manifests.write(job, replace(MANIFEST, version=99))
    with pytest.raises(StepError, match=r"manifest\.json is of version 99, this software knows 1 and 2 and 3"):
        manifests.read(job)


def test_one_of_the_version_before_is_read_and_keeps_its_key(job):
    said = {name: getattr(MANIFEST, name) for name in ("sources", "parameters", "software_version", "instances")}
    job.write("manifest.json", {**said, "group_id": "g", "study_instance_uid": "1", "series_instance_uids": ["1.9"]})
    assert (manifests.read(job).version, manifests.read(job).key) == (1, MANIFEST.key)


def test_a_job_from_before_models_could_be_chosen_is_fitted_as_it_was():
    assert MANIFEST.fit == {"model": "mono-exponential", "weights": [1.0, 2.0]}
    assert replace(MANIFEST, parameters={"fit": {"model": "automatic"}}).fit == {"model": "automatic"}


def test_a_missing_manifest_is_said(job):
    with pytest.raises(StepError, match="holds no manifest"):
        manifests.read(job)


def test_a_drawing_has_a_key_of_its_own_and_the_settings_of_its_result():
    drawn = MANIFEST.of_drawing("incoming/1/2.dcm", "1.9", MANIFEST.key, replaces=False)
    assert drawn.key != MANIFEST.key
    assert (drawn.measured_on, drawn.supersedes, drawn.parameters) == (MANIFEST.key, None, MANIFEST.parameters)
    assert MANIFEST.of_drawing("incoming/1/2.dcm", "1.9", MANIFEST.key, replaces=True).supersedes == MANIFEST.key


def test_it_is_json(job):
    manifests.write(job, MANIFEST)
    assert json.loads((job.folder / "manifest.json").read_text())["version"] == manifests.VERSION


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", "2"), ("version", 0), ("parameters", None), ("sources", "1.1"), ("samples", "many"), ("drawing", 3)],
)
def test_a_value_of_another_kind_is_damage(job, name, value):
    manifests.write(job, MANIFEST)
    said = json.loads((job.folder / "manifest.json").read_text())
    (job.folder / "manifest.json").write_text(json.dumps(said | {name: value}))
    with pytest.raises(StepError, match=f"is damaged.*{name}"):
        manifests.read(job)


@pytest.mark.parametrize(
    ("grouping", "judges"), [({}, True), ({"anatomy": "judged"}, True), ({"anatomy": "any"}, False)]
)
def test_what_is_no_liver_is_refused_unless_the_rules_say_otherwise(grouping, judges):
    assert replace(MANIFEST, grouping=grouping).judges is judges
