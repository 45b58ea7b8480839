"""A board of thousands of records stays light: in memory while it is built, and on the way to who reads it."""

from pathlib import Path

import pytest

from tests.big_boards import built, weight


@pytest.mark.slow
@pytest.mark.parametrize(("records", "most"), [(1_000, 500_000), (10_000, 1_000_000)])
def test_a_board_fits_into_a_gigabyte_and_its_first_page_through_a_thin_line(
    records: int, most: int, tmp_path: Path
) -> None:
    made = built(tmp_path, records)
    assert made.records == records
    assert made.mib + made.helper_mib <= 1024
    assert weight(made.site / "index.html") <= most
    assert len(list((made.site / "cell").iterdir())) == records
