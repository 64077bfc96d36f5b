"""Geography: a ZIP code gives a coarse place; an unknown value is empty and never guessed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadZip
from lists.geography import Place, find


def test_ben_in_phoenix_is_found() -> None:
    assert find("85003") == Place(
        zip="85003", city="Phoenix", county="Maricopa County", state="AZ",
        zone="America/Phoenix", latitude=33.5, longitude=-112.1,
    )  # fmt: skip


def test_ana_in_new_york_is_found() -> None:
    place = find("10001")
    assert place is not None
    assert (place.city, place.zone) == ("New York", "America/New_York")


@pytest.mark.parametrize("text", ["85003-1234", "85003 1234", "850031234", " 85003 "])
def test_zip_plus_four_and_outer_spaces_mean_the_same_place(text: str) -> None:
    assert find(text) == find("85003")


def test_an_unused_code_has_no_place() -> None:
    assert find("00000") is None


def test_a_military_code_has_no_position_no_zone_and_no_county() -> None:
    place = find("96201")
    assert place is not None
    assert (place.latitude, place.longitude, place.zone, place.county) == (None, None, "", "")


def test_an_invalid_time_zone_is_an_unknown_one() -> None:
    place = find("99634")
    assert place is not None
    assert (place.city, place.zone) == ("Napakiak", "")


@pytest.mark.parametrize(
    "text", ["", "123", "8500", "850031", "85003-", "85003-12", "abcde", "８５００３", "85003\n", "\ud800"]
)
def test_a_malformed_code_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadZip, match="write its five digits"):
        find(text)


def test_a_refusal_is_in_spanish_for_a_reader_of_spanish() -> None:
    with pytest.raises(BadZip, match="no es un código postal"):
        find("123", language="es")


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[0-9]{5}", fullmatch=True)))
def test_any_text_is_a_place_or_none_or_a_sentence(text: str) -> None:
    try:
        place = find(text)
    except BadZip:
        return
    if place is None:
        return
    assert (place.latitude is None) == (place.longitude is None)
    if place.latitude is not None and place.longitude is not None:
        assert place.latitude == round(place.latitude, 1)
        assert -180 <= place.longitude <= 180
    assert place.zone == "" or ZoneInfo(place.zone).key == place.zone


def test_many_threads_get_the_same_answer() -> None:
    program = (
        "from concurrent.futures import ThreadPoolExecutor; from lists.geography import find\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    assert {place.city for place in pool.map(find, ['85003'] * 40)} == {'Phoenix'}\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(find, ["10001", "85003", "90001"] * 20))) == 3


def test_importing_this_file_does_not_load_the_slow_table() -> None:
    program = "import sys, lists.geography; sys.exit('zipcodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
