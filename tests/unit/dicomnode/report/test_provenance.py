"""How a result came about, in words."""

from dataclasses import replace

import pytest

from dicomnode import phase
from dicomnode.report import provenance


@pytest.mark.parametrize(
    ("code", "begins"),
    [("incoherent", "Phase was there and was not used: "), (phase.PASSED, "Phase was there: ")],
)
def test_what_became_of_a_phase_is_said(bench, code, begins):
    result = bench.result()
    with_phase = replace(result, maps=phase.with_word(result.maps, {"code": code, "reason": "why", "measured": {}}))
    assert f"{begins}why." in provenance.in_words(bench.draft(with_phase))
    assert not [one for one in provenance.in_words(bench.draft(result)) if one.startswith("Phase")]
    assert f'fit.phase.code="{code}"' in provenance.parameters(bench.draft(with_phase))
