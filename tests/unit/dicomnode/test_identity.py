"""What a result is identified by: every setting that can change a number, whoever adds one."""

import pytest
from pydantic import create_model

from dicomnode import config
from dicomnode.jobs.manifest import Manifest
from dicomnode.report.identity import uid

SECTIONS = ("grouping", "fit", "measure")


def uid_of(settings):
    manifest = Manifest(sources=("1.1", "1.2"), parameters=settings.result_parameters(), software_version="1")
    return uid(manifest.key, "map")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_setting_that_is_added_to_a_section_changes_the_uid(section):
    """Nobody has to remember it."""
    usual = config.Settings()
    kind = type(getattr(usual, section))
    extended = create_model("Extended", __base__=kind, something_new=(float, 1.0))
    one, two = (usual.model_copy(update={section: extended(something_new=value)}) for value in (1.0, 2.0))
    assert len({uid_of(usual), uid_of(one), uid_of(two)}) == 3


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("fit", {"method": "nls"}),
        ("fit", {"noise": "gaussian"}),
        ("fit", {"weights": (1.0, 2.0)}),
        ("grouping", {"minimum_echoes": 4}),
        ("grouping", {"when_given_up": "process_complete_slices"}),
        ("measure", {"calibration": "none"}),
    ],
)
def test_what_changes_a_number_changes_the_uid(section, setting):
    usual = config.Settings()
    changed = usual.model_copy(update={section: getattr(usual, section).model_copy(update=setting)})
    assert uid_of(changed) != uid_of(usual)


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("fit", {"workers": 8}),
        ("fit", {"deaths_allowed": 1}),
        ("grouping", {"quiet_seconds": 60.0}),
        ("grouping", {"give_up_after": 60.0}),
        ("report", {"device_serial_number": "2"}),
    ],
)
def test_what_changes_no_number_changes_no_uid(section, setting):
    usual = config.Settings()
    changed = usual.model_copy(update={section: getattr(usual, section).model_copy(update=setting)})
    assert uid_of(changed) == uid_of(usual)
