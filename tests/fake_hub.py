"""A hub for tests, on the loopback: what huggingface_hub asks Hugging Face's for, in memory.

    with FakeHub() as hub:
        hub.address                                   # for HF_ENDPOINT
        hub.repositories["owner/name"].files          # what was committed

It answers the making of a repository, the upload of a commit (files inside it, and large ones first, by Git LFS's
"basic" transfer), a repository's description and list of files, and downloads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    """A model's files, by name, after its last commit."""

    visibility: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)  # those that came by LFS
    claimed: dict[str, int] = field(default_factory=dict)  # sizes that the hub gives in place of the true ones
    commits: int = 0

    @property
    def sha(self) -> str:
        """The commit, as 40 hexadecimal digits."""
        return hashlib.sha1(f"{self.commits}{sorted(self.files)}".encode()).hexdigest()


class FakeHub:
    """The server; `asked` are the requests so far, and `broken` the parts of paths that it answers with an error."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by sha256
        self.asked: list[str] = []
        self.broken: tuple[str, ...] = ()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_GET(self) -> None:
        self._answer(self._get)

    do_HEAD = do_GET

    def _answer(self, handle: Any) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if any(part in path for part in self.hub.broken):
            return self._send(400, {"error": "broken on purpose"})
        handle(path)

    def _send(self, status: int, content: Any = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _may(self, *, write: bool = False, private: bool = False) -> bool:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return known or not (write or private)

    def _post(self, path: str) -> None:
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if not self._may(write=True):
            return self._send(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(self.body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.hub.repositories:
                return self._send(409, {"error": "You already created this model repo", "url": name})
            private = asked.get("visibility") or ("private" if asked.get("private") else None)
            self.hub.repositories[name] = Repository(private)
            return self._send(200, {"url": f"{self.hub.address}/{name}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}}
                for one in json.loads(self.body)["objects"]
            ]
            return self._send(200, {"transfer": "basic", "objects": objects})
        name, _, action = path.removeprefix("/api/models/").partition("/preupload/")
        if action:
            files = [
                {"path": one["path"], "uploadMode": "lfs" if "safetensors" in one["path"] else "regular",
                 "shouldIgnore": False}
                for one in json.loads(self.body)["files"]
            ]  # fmt: skip
            return self._send(200, {"files": files})
        return self._commit(path.removeprefix("/api/models/").partition("/commit/")[0])

    def _commit(self, name: str) -> None:
        repository = self.hub.repositories[name]
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.objects[value["oid"]]
                repository.large.add(value["path"])
        repository.commits += 1
        url = f"{self.hub.address}/{name}/commit/{repository.sha}"
        self._send(200, {"commitUrl": url, "commitOid": repository.sha, "pullRequestUrl": None, "success": True})

    def _put(self, path: str) -> None:
        oid = path.removeprefix("/lfs/")
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._send(400, {"error": "another content"})
        self.hub.objects[oid] = self.body
        self._send(200)

    def _get(self, path: str) -> None:
        plain = path.removeprefix("/api/models/").strip("/")
        name = "/".join(plain.split("/")[:2])
        repository = self.hub.repositories.get(name)
        if repository is None or not self._may(private=repository.visibility == "private"):
            return self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        rest = plain[len(name) :]
        if "/revision/" in rest and rest.rpartition("/")[2] not in ("main", repository.sha):
            return self._send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        if rest.startswith("/resolve/"):
            return self._file(repository, rest.split("/", 3)[3])
        if rest.startswith("/tree/"):
            return self._send(200, [self._entry(repository, file) for file in sorted(repository.files)])
        siblings = [{"rfilename": file, "size": self._size(repository, file)} for file in sorted(repository.files)]
        self._send(200, {"_id": "1", "id": name, "modelId": name, "sha": repository.sha, "siblings": siblings,
                         "private": False, "tags": [], "downloads": 0, "likes": 0})  # fmt: skip

    def _size(self, repository: Repository, file: str) -> int:
        return repository.claimed.get(file, len(repository.files[file]))

    def _entry(self, repository: Repository, file: str) -> dict[str, Any]:
        content = repository.files[file]
        entry: dict[str, Any] = {"type": "file", "path": file, "size": len(content)}
        entry["oid"] = hashlib.sha1(content).hexdigest()
        if file in repository.large:
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def _file(self, repository: Repository, file: str) -> None:
        if file not in repository.files:
            return self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        content = repository.files[file]
        kind = hashlib.sha256 if file in repository.large else hashlib.sha1
        self._send(200, content, ETag=f'"{kind(content).hexdigest()}"', X_Repo_Commit=repository.sha)
