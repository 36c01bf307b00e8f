"""What of a changed configuration holds at once, and what needs a restart."""

import re
from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.reload import AT_ONCE, compare

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
BEFORE = """
[node]
log_level = "info"
[[scanner]]
ae_title = "MR1"
[[scanner]]
ae_title = "MR1"
address = "192.0.2.1"
[[destination]]
name = "pacs"
ae_title = "PACS"
host = "pacs.example"
port = 104
"""


def change(folder, was, becomes, more=""):
    path = folder / "config.toml"
    path.write_text(BEFORE)
    before = config.load(path)
    path.write_text(BEFORE.replace(was, becomes) + more)
    return before, compare(before, config.load(path))


@pytest.mark.parametrize(
    ("was", "becomes", "key"),
    [
        ("port = 104", "port = 105", "[[destination]] pacs port"),
        ('name = "pacs"', 'name = "pacs"\ntls = true', "[[destination]] pacs tls"),
        (
            '[[destination]]\nname = "pacs"',
            '[[destination]]\nname = "ris"\nkind = "hl7"\nhost = "h"\nport = 1\n[[destination]]\nname = "pacs"',
            "[[destination]] ris",
        ),
        ('log_level = "info"', 'log_level = "debug"', "[node] log_level"),
        ('log_level = "info"', 'log_level = "info"\n[web]\nenabled = false', "[web] enabled"),
        ('log_level = "info"', 'log_level = "info"\n[audit]\npatient_id = true', "[audit] patient_id"),
        ('log_level = "info"', 'log_level = "info"\n[notify]\nrepeat_hours = 1.0', "[notify] repeat_hours"),
        ('address = "192.0.2.1"', 'address = "192.0.2.2"', "[[scanner]] MR1 (2) address"),
    ],
)
def test_a_key_that_may_change_at_once_is_taken_and_named(tmp_path, was, becomes, key):
    before, found = change(tmp_path, was, becomes)
    assert found.at_once == (key,)
    assert found.after_restart == ()
    assert found.settings != before


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('[fit]\nmethod = "nls"\n', "[fit] method"),
        ("[grouping]\nquiet_seconds = 1.0\n", "[grouping] quiet_seconds"),
        ('[engine]\nurl = "postgresql://me:secret@db/x"\n', "[engine] url"),
        ('[storage]\nfolder = "elsewhere"\n', "[storage] folder"),
    ],
)
def test_a_key_that_needs_a_restart_is_named_without_its_value_and_left(tmp_path, more, key):
    before, found = change(tmp_path, "", "", more)
    assert found.at_once == ()
    assert found.after_restart == (key,)
    assert found.settings == before


def test_a_table_that_is_new_is_named_once(tmp_path):
    more = '[[destination]]\nname = "archive"\nae_title = "A"\nhost = "h"\nport = 1\n'
    _, found = change(tmp_path, "", "", more)
    assert found.at_once == ("[[destination]] archive",)
    assert [one.name for one in found.settings.destination] == ["pacs", "archive"]


def test_scanners_whose_names_begin_alike_are_told_apart(tmp_path):
    more = '[[scanner]]\nae_title = "MR"\n'
    _, found = change(tmp_path, "", "", more)
    assert found.at_once == ("[[scanner]] MR",)


def test_nothing_that_is_part_of_a_results_identity_changes_without_a_restart():
    assert not AT_ONCE.keys() & config.Settings().result_parameters().keys()


def test_the_documented_table_says_what_is_so():
    rows = re.findall(r"^\| `\[+(\w+)\]+`(?: `(\w+)`)? \| (at once|restart) \|", OPERATIONS.read_text(), re.MULTILINE)
    documented: dict[str, list[str] | None] = {}
    for section, key, when in rows:
        if when == "at once":
            documented[section] = [*(documented.get(section) or []), key] if key else None
    assert documented == {section: list(keys) if keys else None for section, keys in AT_ONCE.items()}
    assert {section for section, *_ in rows} == config.Settings.model_fields.keys()
