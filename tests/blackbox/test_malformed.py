"""Requests a gateway must reject or accept exactly so, from tests/data/malformed.jsonl: in one piece and in two."""

import json
import pathlib

from gateway_config import HELLO, Route, Site
from netns import Skip

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "malformed.jsonl"
SITE = Site(routes=(Route("/", HELLO, prefix=True),))


def cases():
    if not DATA.exists():
        return [("data", missing)]
    found = []
    for line in DATA.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            found += cases_of(json.loads(line))
    return found


def missing(_bed):
    raise Skip(f"{DATA} does not exist")


def cases_of(case):
    data = case["request"].encode("latin-1")
    half = len(data) // 2
    return [
        (case["name"], lambda bed: check(bed, case, [data])),
        (f"{case['name']} (split)", lambda bed: check(bed, case, [data[:half], data[half:]])),
    ]


def check(bed, case, pieces):
    method = case["request"].split(" ", 1)[0]
    with bed.connect() as connection:
        connection.try_send_pieces([piece for piece in pieces if piece])
        answer = connection.response(method)
        expected = case["status"]
        assert answer.status == expected, f"{answer.status} instead of {expected} ({case.get('rfc')}): {answer}"
        if expected >= 400:
            assert answer.closes(), f"does not announce the end: {answer}"
            connection.wait_closed()
