"""Lines of JSON into columns: what is odd is left out, wherever it stands, and nothing that a line says is missed."""

import pyarrow as pa
import pytest

from slotfill.read.json_lines import Decoder

SCHEMA = pa.schema({"id": pa.string(), "took": pa.float64(), "tables": pa.list_(pa.string())})
PLAIN = [f'{{"id":"{number}","other":[{{}}],"took":{number}.5}}' for number in range(3000)]
"""So many that it pays to look which fields they have."""


def _decoded(decode: Decoder, lines: list[str]) -> tuple[list[str], list[int]]:
    rows, places = decode(pa.array([f"{line}\n" for line in lines], pa.binary()))
    return rows["id"].to_pylist(), places.tolist()


@pytest.mark.parametrize(
    "odd",
    [
        '{"id":5}',
        '{"id":"x","took":"long"}',
        '{"id":"x","id":"y"}',
        '{"id":"x"} {"id":"y"}',
        '{"id":"x"',
        '{"id":"x"}}',
        '{"id":"\\ud800"}',
        "",
    ],
)
def test_an_odd_line_is_left_out_alone(odd: str) -> None:
    ids, places = _decoded(Decoder(SCHEMA), [*PLAIN[:70], odd, *PLAIN[70:100]])
    assert ids == [str(number) for number in range(100)]
    assert places == [*range(70), *range(71, 101)]


def test_of_lines_that_are_all_odd_none_is_decoded() -> None:
    assert _decoded(Decoder(SCHEMA), ['{"id":3}'] * 1000 + PLAIN[:1]) in (([], []), (["0"], [1000]))


@pytest.mark.parametrize("spelt", ['"tables"', '"\\u0074ables"'])
def test_a_field_that_no_line_had_before_is_decoded(spelt: str) -> None:
    decode = Decoder(SCHEMA)
    assert "tables" not in decode(pa.array([f"{line}\n" for line in PLAIN]))[0].column_names
    late = f'{{"id":"late",{spelt}:["MD-01"]}}'
    rows, _ = decode(pa.array([f"{line}\n" for line in [*PLAIN, late]]))
    assert rows["tables"].to_pylist()[-1] == ["MD-01"] and rows["took"].to_pylist()[1] == 1.5
