"""nginx in the gateway's place: tests the tests where there is no gateway yet, or a doubt about who is wrong.

Owns nginx's configuration for a site and the list of what nginx answers differently. Refuses to be a benchmark.
"""

from gateway_config import file_of

# Beginnings of the names of tests that expect the gateway's own choice, or a limit that nginx does not have.
DIFFERS = (
    "http.options_asterisk",
    "http.method_not_allowed",
    "limits.head_too_large",
    "limits.too_many_fields",
    "limits.chunked_body_too_large",
    "limits.slow_head",
    "limits.slow_head_of_a_second_request",
    "limits.slow_body",
    "limits.client_that_never_reads",
    "conformance.",
)


def config(site, folder):
    """The site in nginx's words."""
    return f"""
daemon off; error_log stderr error; pid {folder}/nginx.pid; worker_processes 1; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 1m; large_client_header_buffers 4 8k;
  client_body_temp_path {folder}/tmp; default_type application/octet-stream; {limits(site)}
  server {{
    listen 80 default_server backlog=4096; listen [::]:80;
    location / {{ return 404; }}
    {chr(10).join(location(route, folder) for route in site.routes)}
  }}
}}
"""


def limits(site):
    names = {
        "head_timeout": "client_header_timeout",
        "body_timeout": "client_body_timeout",
        "idle_timeout": "keepalive_timeout",
        "write_timeout": "send_timeout",
        "requests_per_connection": "keepalive_requests",
    }
    settings = {key: "1s" if key == "idle_timeout" else value for key, value in site.http.items()}
    settings.setdefault("requests_per_connection", 100_000)
    return " ".join(f"{names[key]} {value};" for key, value in settings.items() if key in names)


def location(route, folder):
    only = f"limit_except {' '.join(route.methods)} {{ deny all; }}" if route.methods else ""
    match = route.path if route.prefix else f"= {route.path}"
    if route.prefix and route.path == "/":
        match = "~ ^/"
    headers = " ".join(f"add_header {name} {value};" for name, value in route.headers)
    if route.size is not None:
        return f"location {match} {{ alias {file_of(folder, route)}; {headers} {only} }}"
    text = route.body.replace("\n", "\\n")
    return f'location {match} {{ {headers} {only} return 200 "{text}"; }}'
