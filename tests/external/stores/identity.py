"""Says who a server is, where a cloud would: identity.py PORT FOLDER.

Of AWS the instance metadata (version 2), that of containers, and STS for a web identity;
of Azure the managed identity and Entra ID for a federated token; of Google the metadata
server and STS for an external account. What is given is in FOLDER/given.json, read for
each request: `aws` (AccessKeyId, SecretAccessKey, Token), `bearer`, for how many `seconds`
they are said to hold, and the `subject` whose token is taken. FOLDER/asked has a line for
each request that was answered.
"""

import datetime
import http.server
import json
import pathlib
import sys
import urllib.parse

STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId>
<SecretAccessKey>{SecretAccessKey}</SecretAccessKey><SessionToken>{Token}</SessionToken>
<Expiration>{Expiration}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/a/b</Arn><AssumedRoleId>A:b</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
ROLES = "/latest/meta-data/iam/security-credentials/"
GOOGLE = "/computeMetadata/v1/instance/service-accounts/default/token"

folder = pathlib.Path(sys.argv[2])


class Refused(Exception):
    pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def need(self, header, value=None):
        found = self.headers.get(header)
        if found is None or (value is not None and found.lower() != value):
            raise Refused(f"{header}: {found}")

    def given(self):
        given = json.loads((folder / "given.json").read_text())
        now = datetime.datetime.now(datetime.timezone.utc)
        until = now + datetime.timedelta(seconds=given["seconds"])
        given.setdefault("aws", {})["Expiration"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        return given, until

    def form(self):
        length = int(self.headers.get("Content-Length", 0))
        return dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))

    def subject(self, form, name):
        given, _ = self.given()
        if form.get(name) != given["subject"]:
            raise Refused(f"{name} is of another")

    def found(self, path):
        """What is answered to a request, and its type."""
        form = self.form() if self.command != "GET" else {}
        given, until = self.given()
        aws = {"Code": "Success", "Type": "AWS-HMAC", **given["aws"]}
        aws["LastUpdated"] = "2026-01-01T00:00:00Z"
        text, as_json = "text/plain", "application/json"
        if (self.command, path) == ("PUT", "/latest/api/token"):
            self.need("x-aws-ec2-metadata-token-ttl-seconds")
            return "a-token", text
        if path == ROLES:
            self.need("x-aws-ec2-metadata-token", "a-token")
            return "role", text
        if path == ROLES + "role":
            self.need("x-aws-ec2-metadata-token", "a-token")
            return json.dumps(aws), as_json
        if path == "/container":
            return json.dumps(aws), as_json
        if (self.command, path) == ("POST", "/"):
            if form.get("Action") != "AssumeRoleWithWebIdentity":
                raise Refused("Action")
            self.subject(form, "WebIdentityToken")
            return STS.format(**aws), "text/xml"
        bearer = {"access_token": given.get("bearer", ""), "expires_in": given["seconds"], "token_type": "Bearer"}
        if path == "/tenant/oauth2/v2.0/token":
            self.subject(form, "client_assertion")
            return json.dumps(bearer), as_json
        if path == "/msi":
            self.need("metadata", "true")
            return json.dumps({**bearer, "expires_on": str(int(until.timestamp()))}), as_json
        if path == GOOGLE:
            self.need("metadata-flavor", "google")
            return json.dumps(bearer), as_json
        if path == "/sts":
            self.subject(form, "subject_token")
            return json.dumps({**bearer, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}), as_json
        return None, None

    def answer(self):
        path = urllib.parse.urlsplit(self.path).path
        try:
            body, kind = self.found(path)
            status = 404 if body is None else 200
        except Refused as refused:
            body, kind, status = str(refused), "text/plain", 403
        body = (body or "").encode()
        self.send_response(status)
        self.send_header("Content-Type", kind or "text/plain")
        if path == "/latest/api/token":
            self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "300")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        with (folder / "asked").open("a") as asked:
            asked.write(f"{status} {self.command} {path}\n")

    do_GET = do_PUT = do_POST = answer


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
