"""Keys of an AWS in which some may do something: aws_keys.py ENDPOINT FILE make|revoke [NAME].

make: writes FILE with two users' keys and the credentials of two roles, all of which may do
everything with S3 and DynamoDB, and from then on moto looks at signatures and policies.
revoke: the user or role of this name may do nothing any more.
"""

import json
import sys
import urllib.request

import boto3

USERS, ROLES = ("user1", "user2"), ("role1", "role2")
STORES = {"Effect": "Allow", "Action": ["s3:*", "dynamodb:*"], "Resource": "*"}
ADMIN = {"Effect": "Allow", "Action": ["iam:*"], "Resource": "*"}
TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}


def policy(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def client(service, endpoint, key="testkey", secret="testsecret"):
    return boto3.client(
        service, endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id=key, aws_secret_access_key=secret,
    )


def user(iam, name, statement):
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(statement))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {k: key[k] for k in ("AccessKeyId", "SecretAccessKey")}


def make(endpoint):
    iam, sts = client("iam", endpoint), client("sts", endpoint)
    keys = {name: user(iam, name, STORES) for name in USERS}
    keys["admin"] = user(iam, "admin", ADMIN)
    for name in ROLES:
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(TRUST))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(STORES))
        given = sts.assume_role(RoleArn=arn, RoleSessionName="lancegate")["Credentials"]
        keys[name] = {
            "AccessKeyId": given["AccessKeyId"],
            "SecretAccessKey": given["SecretAccessKey"],
            "Token": given["SessionToken"],
        }
    # How many requests it still takes from anybody.
    ask = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(ask)
    return keys


def revoke(endpoint, keys, name):
    admin = keys["admin"]
    iam = client("iam", endpoint, admin["AccessKeyId"], admin["SecretAccessKey"])
    if name in USERS:
        iam.delete_access_key(UserName=name, AccessKeyId=keys[name]["AccessKeyId"])
    else:
        iam.delete_role_policy(RoleName=name, PolicyName="p")


def main():
    endpoint, file, verb, *name = sys.argv[1:]
    if verb == "make":
        with open(file, "w") as out:
            json.dump(make(endpoint), out)
    else:
        with open(file) as keys:
            revoke(endpoint, json.load(keys), *name)


main()
