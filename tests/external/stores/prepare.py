"""Makes what the tests find in a fresh store: prepare.py KIND ENDPOINT.

s3: the bucket `lancegate`. dynamodb: the table `commits`, as Lance wants it.
azure: the container `lancegate` of the emulator's well-known account.
"""

import base64
import datetime
import hashlib
import hmac
import sys
import time
import urllib.request

BUCKET = "lancegate"
# Published with the emulator: no secret.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def client(service, endpoint):
    import boto3

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testkey",
        aws_secret_access_key="testsecret",
    )


def s3(endpoint):
    client("s3", endpoint).create_bucket(Bucket=BUCKET)


def dynamodb(endpoint):
    client("dynamodb", endpoint).create_table(
        TableName="commits",
        KeySchema=[
            {"AttributeName": "base_uri", "KeyType": "HASH"},
            {"AttributeName": "version", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "base_uri", "AttributeType": "S"},
            {"AttributeName": "version", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def azure(endpoint):
    now = datetime.datetime.now(datetime.timezone.utc)
    headers = {
        "x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2021-08-06",
    }
    canonical = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    resource = f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    to_sign = "PUT" + "\n" * 12 + canonical + resource
    digest = hmac.new(base64.b64decode(KEY), to_sign.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    headers["Content-Length"] = "0"
    url = f"{endpoint}/{ACCOUNT}/{BUCKET}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers))


def main():
    kind, endpoint = sys.argv[1:]
    prepare = {"s3": s3, "dynamodb": dynamodb, "azure": azure}[kind]
    for attempt in range(120):
        try:
            return prepare(endpoint)
        except Exception as error:
            # It may not listen yet, or not be ready.
            if attempt == 119:
                raise
            if attempt % 20 == 19:
                print(f"{kind}: {error}", file=sys.stderr)
            time.sleep(0.25)


main()
