"""Pages as pictures: without the line that says whose they are, unless the site shows it."""

import gzip
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicomnode.config import ReportSettings
from dicomnode.report import pictures
from dicomnode.web import picture
from dicomnode.web.picture import NAMED_ROWS


def shown(content):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def drafts(bench):
    named = bench.draft(bench.result())
    return named, replace(named, settings=ReportSettings(identity_on_pages=False))


@pytest.fixture
def page(tmp_path, drafts):
    """The file of a page that says whose it is."""
    (first, *_) = pictures.build(drafts[0], {})
    path = tmp_path / "page.dcm"
    first.save_as(path, enforce_file_format=True)
    return path


def test_a_page_says_whose_it_is_above_that_row_only(drafts):
    named, unnamed = (pictures.page(draft, 0) for draft in drafts)
    assert (named[:NAMED_ROWS] != unnamed[:NAMED_ROWS]).any()
    np.testing.assert_array_equal(named[NAMED_ROWS:], unnamed[NAMED_ROWS:])


def test_that_line_is_shown_only_where_it_may_be(page, drafts):
    whole = pictures.page(drafts[0], 0)
    np.testing.assert_array_equal(shown(picture.read(page, None, names=True)), whole)
    np.testing.assert_array_equal(shown(picture.read(page, None, names=False)), whole[NAMED_ROWS:])


def test_a_page_that_was_packed_after_its_delivery_is_shown_all_the_same(page):
    before = picture.read(page, 480, names=False)
    page.with_name("page.dcm.gz").write_bytes(gzip.compress(page.read_bytes()))
    page.unlink()
    assert picture.read(page, 480, names=False) == before
    assert shown(before).shape[1] == 480


def test_a_page_that_is_gone_is_said_to_be(tmp_path):
    with pytest.raises(FileNotFoundError):
        picture.read(tmp_path / "none.dcm", None, names=False)
