"""Asks optuna-dashboard for what its pages show of a study: argv = URL, study, number of trials."""

import io
import json
import sys

import optuna
import optuna_dashboard

url, name, expected = sys.argv[1:]
app = optuna_dashboard.wsgi(optuna.storages.RDBStorage(url))


def get(path):
    query = path.split("?") + [""]
    answer = {}

    def start_response(status, headers, exc_info=None):
        answer["status"] = status

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": query[0],
        "QUERY_STRING": query[1],
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    body = b"".join(app(environ, start_response))
    assert answer["status"].startswith("200"), (path, answer["status"], body[:500])
    return json.loads(body)


studies = {study["study_name"]: study["study_id"] for study in get("/api/studies")["study_summaries"]}
study_id = studies[name]
detail = get(f"/api/studies/{study_id}?after=0")
assert len(detail["trials"]) == int(expected), len(detail["trials"])
get(f"/api/studies/{study_id}/param_importances")
