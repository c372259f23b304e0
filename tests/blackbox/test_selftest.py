"""`penstock selftest` from outside: the card's form, where it is kept, and what is left. Its figures are not asserted."""

import json
import pathlib
import re
import subprocess
import tempfile

from load_bed import remains
from netns import PATIENCE_S
from penstock_bed import Process

NUMBER = (int, float)


def selftest(options, folder, *arguments):
    """Runs it; its temporary files go below the folder."""
    options.need_gateway()
    process = Process(["env", f"TMPDIR={folder}", options.binary, "selftest", "-d", "2s", *arguments])
    status = process.wait(4 * PATIENCE_S)
    assert "panicked" not in process.text(), process.tail()
    return status, process


def assert_throughput(case):
    assert isinstance(case["per_s"], NUMBER) and case["per_s"] > 0, case
    valid, every = case["valid_windows"]
    assert 0 <= valid <= every and every > 0, case
    low, high = case["per_busy_s_range"]
    assert 0 <= low <= high, case
    assert all(isinstance(case[key], NUMBER) for key in ("per_busy_s", "cycles")), case
    assert case["offered_per_s"] > 0 and all(0 <= case[key] <= 1.01 for key in ("gateway_busy", "generator_busy")), case


def test_card_as_json(options):
    """A card whose parts are there and agree; kept in the file, and nothing else is left."""
    with tempfile.TemporaryDirectory(prefix="penstock-card-") as folder:
        file = pathlib.Path(folder, "card.json")
        status, process = selftest(options, folder, "--card", str(file), "--json")
        assert status == 0, process.tail()
        text = process.text()
        printed, kept = json.loads(text[text.index("{") : text.rindex("}") + 1]), json.loads(file.read_text())
        assert printed == kept
        assert kept["schema"] == 2 and re.match(r"\d{4}-\d\d-\d\dT", kept["at"]), kept
        assert kept["stamp"]["dpdk"] and kept["stamp"]["cpu"] and kept["stamp"]["version"], kept["stamp"]
        assert_throughput(kept["keep_alive"])
        assert_throughput(kept["connections"])
        half = kept["half_load"]
        assert half["latency_ns"] == sorted(half["latency_ns"]) and len(half["latency_ns"]) == 3, half
        assert half["verdict"] in ("PASS", "INVALID") and half["rate"] > 0, half
        assert [path.name for path in pathlib.Path(folder).iterdir()] == ["card.json"]
        left = remains(process)
        assert not left["EAL folders"] and not left["temporary files"], left


def test_no_store_keeps_nothing(options):
    with tempfile.TemporaryDirectory(prefix="penstock-card-") as folder:
        file = pathlib.Path(folder, "card.json")
        status, process = selftest(options, folder, "--card", str(file), "--no-store")
        assert status == 0, process.tail()
        assert "keep-alive" in process.text(), process.tail()
        assert not list(pathlib.Path(folder).iterdir())


def test_a_length_out_of_range(options):
    options.need_gateway()
    done = subprocess.run([options.binary, "selftest", "-d", "1s"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2 and "2s to 10m" in done.stderr, (done.returncode, done.stderr)
