"""Orthanc, asked over REST, previews everything that has a preview."""

import io
import urllib.error

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.viewers.conftest import SHOTS, grey_of

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def ask(simulated, shelf, archive):
    """The answer of the PACS about the objects of a kind: ``ask("picture", "preview")``."""
    shelf.put(simulated)

    def answers(kind, what):
        return [archive.get(path.replace("file", what)) for path in shelf.files(simulated, kind)]

    return answers


def pictures(contents, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents, 1):
        (SHOTS / f"orthanc-{name}-{number}.png").write_bytes(content)
    return [np.asarray(Image.open(io.BytesIO(content))) for content in contents]


@pytest.mark.parametrize("kind", ["mr_map_r2star", "mr_map_t2star"])
def test_a_map_is_rendered_in_its_own_window(simulated, ask, kind):
    rendered = pictures(ask(kind, "rendered"), kind)
    for k, row, column in simulated.landmarks:
        image = simulated.objects(kind)[k]
        assert np.allclose(rendered[k][row, column], grey_of(image, image.pixel_array[row, column]), atol=2)


@pytest.mark.parametrize("kind", ["mr_map_r2star", "mr_map_t2star"])
def test_a_map_gives_its_values_pixel_by_pixel(simulated, ask, kind):
    given = [np.asarray(Image.open(io.BytesIO(content))) for content in ask(kind, "image-uint16")]
    assert np.array_equal(given, simulated.values(kind))


def test_a_colour_page_is_previewed_as_it_is(simulated, ask):
    for given, page in zip(pictures(ask("picture", "preview"), "picture"), simulated.objects("picture"), strict=True):
        assert np.array_equal(given[..., :3], page.pixel_array)


def test_every_frame_of_the_segmentation_is_previewed(simulated, ask):
    (segmentation,) = simulated.objects("segmentation")
    for frame, pixels in enumerate(segmentation.pixel_array):
        (given,) = pictures(ask("segmentation", f"frames/{frame}/preview"), f"segmentation-{frame + 1}")
        assert np.array_equal(given > 0, pixels > 0)


def test_the_pdf_comes_back(ask):
    (content,) = ask("pdf", "pdf")
    assert content.startswith(b"%PDF-")


def test_float_maps_are_kept_though_orthanc_draws_none(simulated, ask):
    (stored,) = ask("parametric_map_r2star", "tags?simplify")
    assert stored["NumberOfFrames"] == str(len(simulated.values("mr_map_r2star")))
    with pytest.raises(urllib.error.HTTPError, match="415"):
        ask("parametric_map_r2star", "preview")
