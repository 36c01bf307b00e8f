"""`dicomnode show` on every real series, after the watcher has judged it."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode import header
from dicomnode.cli import main
from dicomnode.config import GroupingSettings
from dicomnode.intake.watch import Watcher
from dicomnode.store.spool import Spool

pytestmark = pytest.mark.shared_data
FOLDERS = [
    "ge_b0map_ambiguous_keys",
    "not_images",
    "philips_enhanced_b0map",
    "refuse_siemens_me_epi_mosaic",
    "refuse_siemens_spin_echo_incomplete",
    "refuse_siemens_tse_2echo",
    "siemens_prisma_2echo_fieldmap",
    "siemens_prisma_3d_3echo",
    "siemens_prisma_6echo_phantom",
    "siemens_xa30_enhanced_2echo",
    "siemens_xa30_series_per_echo",
    "philips_elition_classic_and_enhanced_2echo",
    "ge_mr750_12echo_abdomen",
]


def judged(shared_data: Path, folder: str, store: Path) -> set[str]:
    """Take the series into a spool and let the watcher look once nothing more comes; return its studies."""
    spool = Spool(store)
    spool.create()
    studies = set()
    for path in (shared_data / "dicom" / folder).rglob("*"):
        if path.is_file() and (found := header.read(path)).study_instance_uid:
            spool.store(found.study_instance_uid, found.sop_instance_uid, path.read_bytes())
            studies.add(found.study_instance_uid)
    watcher = Watcher(
        GroupingSettings(),
        spool,
        parameters={},
        software_version="0",
        rules_of=lambda *_: GroupingSettings(),
        bringing=lambda _: frozenset(),
        start=lambda *_: "0",
    )
    now = time.monotonic()
    watcher.turn(now)
    watcher.turn(now + 120.0)
    return studies


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_real_series_can_be_asked_for(shared_data, tmp_path, folder):
    config = tmp_path / "config.toml"
    config.write_text('[storage]\nfolder = "store"\n')
    for study in judged(shared_data, folder, tmp_path / "store"):
        asked = CliRunner().invoke(main, ["show", study, "--json", "--config", str(config)])
        assert asked.exit_code == 0, asked.output
        for entry in json.loads(asked.stdout):
            assert entry["study_instance_uid"] == study
            assert entry["status"] == "queued" or entry["reason"], entry
        in_words = CliRunner().invoke(main, ["show", study, "--config", str(config)])
        assert study in in_words.stdout
