"""`penstock load run` from outside: exit codes, what is sent, what is counted, what is left. No speed is asserted."""

import json
import re
import signal
import subprocess

from load_bed import ABORTED, FAIL, INVALID, PASS, PLAN, Field, Pair, nobody, remains
from netns import CLIENT_V4, PATIENCE_S, no_hugepages, until

# At 300/s an ordinary Python server keeps up even on a shared CPU.
RATE, SECONDS = 300, 3
CALM = ("--rate", f"{RATE}/s", "--duration", f"{SECONDS}s", "--connections", "10")
PROGRESS = re.compile(r"^\d+s .*req/s.*left$", re.MULTILINE)


def assert_schedule(result, rate=RATE, seconds=SECONDS):
    """As many requests as the schedule has. Only a run that says INVALID has not sent them, to a thousandth."""
    wanted, total = rate * seconds, result.total()
    sent, unsent = total["counts"]["sent"], result.outcomes()["not_sent"]
    assert total["requests"] == wanted, f"{total['requests']} recorded instead of {wanted}"
    assert sent + unsent == wanted, f"{sent} sent, {unsent} not sent, instead of {wanted}"
    assert result.status == INVALID or unsent <= wanted / 1000, f"{sent} sent instead of {wanted}"


def assert_all_ok(result):
    """Every request was answered well; on a shared CPU the last ones may have found no connection free."""
    unsent = ("not_sent",) if result.status == INVALID else ()
    others = {name: count for name, count in result.outcomes().items() if count and name not in ("ok", *unsent)}
    assert not others and result.outcomes()["ok"] > 0, others


def assert_status(result, status):
    assert result.status == status, f"exit status {result.status} instead of {status}:\n{result.text}"
    if result.document is not None:
        assert result.document["verdict"]["exit_code"] == status, result.document["verdict"]


def assert_ran(result):
    """The run went to its end; that a shared CPU made it late is no failure here."""
    assert result.status in (PASS, INVALID), f"exit status {result.status}:\n{result.text}"
    assert result.document["aborted"] is None, result.document["aborted"]


def assert_says(result, *parts):
    for part in parts:
        assert part in result.text, f"{part!r} is missing in:\n{result.text}"


def test_rate_against_a_kernels_server(options):
    with Field(options) as field:
        result = field.run(*CALM)
        assert_ran(result)
        assert_schedule(result)
        assert_all_ok(result)
        assert result.total()["counts"]["connected"] == 10, result.total()["counts"]
        assert field.server.asked[-1][:2] == ("GET", "/")
        assert field.server.asked[-1][2]["Host"] == CLIENT_V4


def test_a_valid_run_ends_with_0(options):
    """A closed loop has no schedule to be late for, so a shared CPU cannot make it INVALID."""
    with Field(options) as field:
        result = field.run_valid("--rate", "max", "--duration", "1s", "--connections", "4")
        assert_status(result, PASS)
        assert result.document["verdict"]["outcome"] == "PASS"
        assert_all_ok(result)


def test_a_late_run_says_so(options):
    """A run whose generator is beyond its means says INVALID and what to change; what was due is recorded all the same."""
    with Pair(options) as pair:
        result = pair.run("--rate", "5M/s", "--duration", "1s", "--connections", "10", "--timeout", "1s")
        assert result.document["total"]["requests"] == 5_000_000, result.document["total"]["requests"]
        assert result.outcomes()["not_sent"] > 0, result.outcomes()
        if result.status == INVALID:
            assert_says(result, "INVALID", "fix: ")
        pair.stop()


def test_rate_against_penstock(options):
    with Pair(options) as pair:
        result = pair.run("--rate", "2k/s", "--duration", "3s", "--connections", "50")
        assert_ran(result)
        assert_schedule(result, 2000, 3)
        assert_all_ok(result)
        pair.stop()


def test_closed_loop_against_penstock(options):
    with Pair(options) as pair:
        result = pair.run("--rate", "max", "--duration", "2s", "--connections", "50")
        assert result.status in (PASS, INVALID), result.text
        assert_all_ok(result)
        assert result.document["plan"]["arrivals"] == "closed", result.document["plan"]
        pair.stop()


def test_a_connection_per_request(options):
    with Pair(options) as pair:
        result = pair.run("--rate", "500/s", "--duration", "2s", "--new-connections")
        assert_ran(result)
        assert_schedule(result, 500, 2)
        assert_all_ok(result)
        counts = result.total()["counts"]
        assert counts["connected"] == counts["sent"], counts
        # What is under way when the schedule ends is answered at once, and not waited for until it times out.
        assert result.total()["latency"]["max_ns"] < 9_000_000_000, result.total()["latency"]
        pair.stop()


def test_a_connection_per_request_of_a_kernels_server(options):
    with Field(options) as field:
        result = field.run("--rate", "100/s", "--duration", "2s", "--new-connections")
        assert_ran(result)
        assert_all_ok(result)
        assert field.server.connections == 200, field.server.connections
        # It closes because it was asked to.
        assert result.total()["counts"]["closed_idle"] == 0, result.total()["counts"]
        assert all(headers["Connection"] == "close" for _, _, headers, _ in field.server.asked)


def test_connections_are_replaced(options):
    with Field(options) as field:
        result = field.run("--rate", "200/s", "--duration", "2s", "-c", "4", "--requests-per-connection", "10")
        assert_ran(result)
        assert_all_ok(result)
        assert 40 <= field.server.connections <= 48, field.server.connections


def test_a_threshold_that_does_not_hold(options):
    with Field(options) as field:
        result = field.run_valid("--rate", "max", "--duration", "1s", "-c", "4", "--threshold", "http_reqs: rate>1M")
        assert_status(result, FAIL)
        judged = result.document["thresholds"]
        assert len(judged) == 1 and result.document["verdict"]["outcome"] == "FAIL", judged
        assert_says(result, "http_reqs")


def test_a_threshold_that_ends_the_run(options):
    with Field(options) as field:
        arguments = ("--rate", "200/s", "--duration", "60s", "--threshold", "http_req_failed: rate<0.5", "--abort-on-fail")
        result = field.run(*arguments, url=field.url("/status/500"))
        assert result.document["aborted"]["by_threshold"], result.document["aborted"]
        assert result.document["elapsed_s"] < 60, result.document["elapsed_s"]
        # A run that was late besides says that instead.
        assert result.status in (FAIL, INVALID, ABORTED), result.text


def test_connections_are_not_lost_while_the_neighbour_is_unknown(options):
    """Before the server's address is resolved few SYNs may wait: none is lost, which would cost it a second."""
    for how in ((), ("--new-connections",)):
        with Field(options) as field:
            result = field.run("--rate", "max", "--duration", "1s", "--connections", "100", *how)
            connects = result.total()["connect"]
            assert connects["count"] >= 100 and connects["p50_ns"] < 900_000_000, connects


def test_nobody_listens(options):
    with nobody(options) as field:
        result = field.run(*CALM)
        assert_status(result, ABORTED)
        assert_says(result, "no connection to", "refuses connections", "fix: ", "--source")
        assert result.document is None


def test_nobody_is_there(options):
    with nobody(options) as field:
        result = field.run(*CALM, "--connect-timeout", "300ms", url="http://10.7.0.99/")
        assert_status(result, ABORTED)
        assert_says(result, "no connection to", "fix: ")


def test_nobody_listens_for_a_connection_per_request(options):
    with nobody(options) as field:
        threshold = ("--threshold", "http_req_failed: rate<0.01")
        result = field.run("--rate", "100/s", "--duration", "1s", "--new-connections", *threshold)
        assert result.status in (FAIL, INVALID), result.text
        assert result.outcomes()["refused"] == 100, result.outcomes()


def test_bad_plans(options):
    """Each ends before anything starts, points at the mistake and names what to do."""
    with nobody(options) as field:
        for arguments, words in [
            (("--rate", "fast"), "rate"),
            (("--rate", "1k/s", "--pipeline", "65"), "pipeline"),
            (("--rate", "1k/s", "--threshold", "http_req_speed: p(99)<1ms"), "http_req_speed"),
            (("--rate", "1k/s", "--expect-sha256", "abc"), "SHA-256"),
            (("--rate", "1k/s", "-H", "Content-Length: 5"), "Content-Length"),
            (("--rate", "1k/s", "--body-file", "/nonexistent/body"), "/nonexistent/body"),
        ]:
            result = field.run(*arguments)
            assert_status(result, PLAN)
            assert_says(result, "error:", "fix: ", words)
            assert result.document is None, arguments
        result = field.run("--rate", "1k/s", url="https://10.7.0.1/")
        assert_status(result, PLAN)
        assert_says(result, "https")


def test_interrupted(options):
    """The first SIGINT ends the schedule; what was measured until then is the result."""
    with Field(options) as field:
        process = field.start("--rate", f"{RATE}/s", "--duration", "10m", "-c", "10")
        until(lambda: process.says(PROGRESS) or not process.alive(), "a progress line")
        assert process.alive(), process.tail()
        process.signal(signal.SIGINT)
        result = field.finish(process)
        assert_status(result, ABORTED)
        assert result.document["aborted"] == {"reason": "interrupted", "by_threshold": False}, result.document["aborted"]
        requests, elapsed = result.total()["requests"], result.document["elapsed_s"]
        assert 1 <= elapsed < 600 and requests > 0
        assert abs(requests - RATE * elapsed) <= 0.1 * RATE * elapsed + 10, (requests, elapsed)
        assert result.outcomes()["ok"] >= len(field.server.asked) - 20, (result.outcomes(), len(field.server.asked))


def test_terminated_while_connecting(options):
    """Before the schedule there is no result, and no waiting."""
    with nobody(options) as field:
        process = field.start(*CALM, "--connect-timeout", "10s", url="http://10.7.0.99/")
        until(lambda: process.says(re.compile("connections: 0 of")) or not process.alive(), "the first progress line")
        process.signal(signal.SIGTERM)
        result = field.finish(process)
        assert_status(result, ABORTED)
        assert result.document is None


def test_post_with_body(options):
    with Field(options) as field:
        arguments = ("-X", "POST", "--body", '{"a":1}', "-H", "Content-Type: application/json")
        result = field.run("--rate", "100/s", "--duration", "1s", *arguments, url=field.url("/form?x=1"))
        assert_ran(result)
        assert_all_ok(result)
        assert len(field.server.asked) == 100
        for method, path, headers, body in field.server.asked:
            assert (method, path, body) == ("POST", "/form?x=1", b'{"a":1}'), (method, path, body)
            assert headers["Content-Type"] == "application/json" and headers["Content-Length"] == "7", headers


def test_a_body_larger_than_the_transmit_buffer(options):
    with Field(options) as field:
        content = bytes(range(256)) * 1000
        (field.folder / "body").write_bytes(content)
        arguments = ("-X", "PUT", "--body-file", str(field.folder / "body"))
        result = field.run("--rate", "20/s", "--duration", "1s", "-c", "5", *arguments)
        assert_all_ok(result)
        assert [body for _, _, _, body in field.server.asked] == [content] * 20


def test_head_has_no_body(options):
    with Field(options) as field:
        result = field.run("--rate", "100/s", "--duration", "1s", "-X", "HEAD")
        assert_ran(result)
        assert_all_ok(result)


def test_wrong_status_is_counted(options):
    with Field(options) as field:
        result = field.run(*CALM, url=field.url("/status/503"))
        counts = result.total()["counts"]
        assert counts["outcomes"]["status"] == RATE * SECONDS and counts["outcomes"]["ok"] == 0, counts
        assert counts["statuses"] == [0, 0, 0, 0, RATE * SECONDS], counts
        assert result.total()["failed_share"] == 1.0
        result = field.run("--rate", "100/s", "-d", "1s", "--expect-status", "503", url=field.url("/status/503"))
        assert_ran(result)
        assert_all_ok(result)


def test_content_is_checked(options):
    with Field(options) as field:
        short = ("--rate", "100/s", "--duration", "1s")
        digest = "sha256 of something else".encode().hex().ljust(64, "0")[:64]
        for check in (("--expect-size", "11"), ("--expect-sha256", digest)):
            result = field.run(*short, *check)
            assert result.outcomes()["content"] == 100, result.outcomes()
        result = field.run(*short, "--expect-size", "10")
        assert_all_ok(result)


def test_a_server_that_goes_away(options):
    """Requests of a server that stops are failures; the run goes to its end."""
    with Field(options) as field:
        limits = ("--timeout", "1s", "--connect-timeout", "500ms")
        process = field.start("--rate", "200/s", "--duration", "4s", "-c", "10", *limits)
        until(lambda: process.says(PROGRESS) or not process.alive(), "a progress line")
        field.network.ip("link", "set", field.network.client, "down")
        result = field.finish(process)
        total, outcomes = result.total(), result.outcomes()
        assert total["requests"] == 800 and outcomes["ok"] > 0, (total["requests"], outcomes)
        assert outcomes["timeout"] > 0 and outcomes["not_sent"] + outcomes["timeout"] + outcomes["ok"] <= 800, outcomes
        assert sum(outcomes.values()) == 800, outcomes


def test_progress_when_not_a_terminal(options):
    with Field(options) as field:
        result = field.run(*CALM)
        assert len(PROGRESS.findall(result.text)) >= SECONDS - 1, result.text
        assert "\x1b" not in result.text, "escape sequences where there is no terminal"
        result = field.run("--rate", "100/s", "--duration", "1s", "--quiet")
        assert not PROGRESS.search(result.text) and "connections:" not in result.text, result.text


def test_json_on_standard_output(options):
    """Nothing else is there; the document is the same as in a file."""
    with Field(options) as field:
        command = field.command("--rate", "100/s", "--duration", "1s", "--json", "-")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE_S)
        assert done.returncode in (PASS, INVALID), done.stderr
        assert json.loads(done.stdout)["total"]["requests"] == 100


def test_several_outputs_at_once(options):
    with Field(options) as field:
        kinds = ("csv", "hgrm", "hdr-log", "junit", "influx", "html")
        flags = [word for kind in kinds for word in (f"--{kind}", str(field.folder / kind))]
        result = field.run("--rate", "100/s", "--duration", "1s", *flags)
        assert result.status in (PASS, INVALID), result.text
        for kind in kinds:
            assert (field.folder / kind).stat().st_size > 0, kind


def test_nothing_is_left_of_a_run(options):
    with Field(options) as field:
        process = field.start("--rate", "100/s", "--duration", "1s")
        field.finish(process)
        left = remains(process)
        assert not left["EAL folders"] and not left["temporary files"], left
        assert f"@penstock/{field.network.ours}" not in left["claims"], left
        # The device is free for the next run at once.
        assert field.run("--rate", "100/s", "--duration", "1s").status in (PASS, INVALID)


def test_plain_pages(options):
    """Without hugepages a run works all the same."""
    with no_hugepages(), Field(options) as field:
        result = field.run("--rate", "100/s", "--duration", "1s")
        assert result.status in (PASS, INVALID), result.text
        assert_all_ok(result)


def test_a_device_that_is_not_there(options):
    """It is the environment's fault, and the message says which."""
    with nobody(options) as field:
        result = field.run(*CALM, device="net_af_packet0,iface=nosuchlink0")
        assert_status(result, 4)
        assert_says(result, "No such device", "fix: ")
