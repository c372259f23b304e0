"""What the gateway under test serves and the files that say so.

Owns the one place where the tests write TOML. Refuses to start anything.
"""

import hashlib
import pathlib
import random
from dataclasses import dataclass, field

HELLO = "Hello from Penstock\n"
SMALL_SIZES = (0, 1, 1459, 1460, 1461, 8191, 8192, 8193, 65_535)
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Route:
    """One direct response; a `size` makes its body a file of that many bytes."""

    path: str
    body: str = ""
    methods: tuple = ()
    headers: tuple = ()
    size: int | None = None
    prefix: bool = False


@dataclass(frozen=True)
class Site:
    """Routes and settings; settings are TOML tables by name, such as `http={"head_timeout": "500ms"}`."""

    routes: tuple
    http: dict = field(default_factory=dict)
    tcp: dict = field(default_factory=dict)
    workers: dict = field(default_factory=dict)
    # Off, so that gateways on one machine do not meet.
    metrics: dict = field(default_factory=lambda: {"address": "off"})


def base_routes():
    """Routes that most tests use: none of them matches `/`, so anything else is a 404."""
    numbers = tuple(Route(f"/n/{n}", f"number {n}\n") for n in range(10))
    named = (
        Route("/hello", HELLO, headers=(("x-test", "one"),)),
        Route("/only-get", "got\n", methods=("GET",)),
        Route("/upload", "received\n"),
    )
    return named + numbers


def file_routes(*sizes):
    return tuple(Route(f"/files/{size}", size=size) for size in sizes)


def content(size):
    """The bytes of the file of that size: incompressible, the same every time."""
    return random.Random(size).randbytes(size)


def digest(size):
    return hashlib.sha256(content(size)).hexdigest()


def write_files(site, folder):
    for route in site.routes:
        if route.size is not None:
            file_of(folder, route).write_bytes(content(route.size))


def file_of(folder, route):
    return pathlib.Path(folder) / f"body-{route.size}"


def toml(site, folder, device, addresses, hugepages):
    """The configuration file's text; without a device it is left to EAL arguments."""
    workers = {"count": 1, "hugepages": hugepages} | site.workers
    parts = [
        table("port", ({"device": device} if device else {}) | {"address": addresses}),
        table("workers", workers),
        table("http", site.http),
        table("tcp", site.tcp),
        table("metrics", site.metrics),
        table("[listener]", {"port": 80}),
    ]
    return "\n".join(parts + [route_table(route, folder) for route in site.routes])


def table(name, values):
    lines = [f"{key} = {value_of(value)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""]) if lines else ""


def route_table(route, folder):
    respond = {}
    if route.headers:
        respond["headers"] = dict(route.headers)
    if route.size is None:
        respond["body"] = route.body
    else:
        respond["file"] = str(file_of(folder, route))
    values = {"path" if route.prefix else "exact": route.path}
    if route.methods:
        values["method"] = list(route.methods)
    return table("[route]", values | {"respond": respond})


def value_of(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{value_of(key)} = {value_of(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(value_of, value)) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
