"""Requests a gateway must accept or refuse exactly so, from tests/data/requests.jsonl: in one piece and in two."""

import json
import pathlib

from gateway_config import HELLO, Route, Site
from http_raw import request

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "requests.jsonl"
SITE = Site(routes=(Route("/", HELLO, prefix=True),))


def cases():
    if not DATA.exists():
        return [("data", missing)]
    found = []
    for line in DATA.read_text(encoding="utf-8").splitlines():
        found += cases_of(json.loads(line))
    return found


def missing(_bed):
    raise AssertionError(f"{DATA} does not exist")


def cases_of(case):
    data = case["request"].encode("latin-1")
    half = len(data) // 2
    return [
        (case["name"], lambda bed: check(bed, case, [data])),
        (f"{case['name']} (split)", lambda bed: check(bed, case, [data[:half], data[half:]])),
    ]


def check(bed, case, pieces):
    with bed.connect() as connection:
        connection.try_send_pieces([piece for piece in pieces if piece])
        answer = connection.response_head()
        expected = case["status"]
        assert answer.status == expected, f"{answer.status} instead of {expected} (RFC {case['rfc']}): {answer}"
        if expected >= 400:
            assert answer.closes(), f"does not announce the end: {answer}"
            connection.drain()
            return
        connection.read_body(answer)
        if "HTTP/1.0" not in case["request"]:
            # The next request is understood, so this one's framing was.
            assert connection.get("/").body == HELLO.encode()
