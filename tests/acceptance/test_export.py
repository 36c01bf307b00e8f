"""What a node sent to its PACS, out of DICOM: by the accession number."""

from datetime import UTC, datetime

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

from dicomnode import simulate
from tests.acceptance.conftest import wait_for

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]


def test_a_result_is_exported_by_its_accession_number_as_the_pacs_has_it(serve, storescu, orthanc, tmp_path):
    node = serve({"pacs": orthanc.dicom_port}, '[grouping]\nanatomy = "any"\n')
    plan = simulate.SeriesPlan(rows=48, columns=64, spacing_mm=(6.25, 6.25, 8.0), slices=1)
    scan = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC))
    for instance in scan.instances:
        instance.AccessionNumber = "ACC-0815"
    storescu(node, list(simulate.write(scan, tmp_path / "study")))
    wait_for(lambda: any(one["status"] in {"done", "no_number"} for one in node.status()), 120, "the result")
    written = node.command("export", "ACC-0815", "--to", "nifti", "--output", str(tmp_path / "ex")).splitlines()
    exported = next(path for path in written if path.endswith("_R2starmap.nii.gz"))
    objects = [pydicom.dcmread(DicomBytesIO(orthanc.file(one["ID"]))) for one in orthanc.instances(Modality="MR")]
    (sent,) = (one for one in objects if "FloatPixelData" in one and "R2*" in one.SeriesDescription)
    expected = np.where(sent.pixel_array == 0, np.nan, sent.pixel_array)
    np.testing.assert_array_equal(nibabel.load(exported).get_fdata()[:, :, 0].T, expected)
    assert node.command("export", "4711", "--to", "csv", "--output", str(tmp_path / "none"), ok=False) == ""
    assert not (tmp_path / "none").exists()
