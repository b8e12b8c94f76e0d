#!/usr/bin/env python3
"""Opens a dekd envelope whose DEK AWS KMS wrapped, without dekd: the DEK with boto3 and its credentials, the rest with open.py beside this file.

  unwrap_aws_kms.py ENVELOPE [--context KEY=VALUE]... [--associated-data TEXT] [--region REGION] [--endpoint URL] > PLAINTEXT

--region is for multi-Region keys: where to ask for a replica.
Needs Python 3.9 and the packages `boto3` and `cryptography`: pip install boto3 cryptography
"""
import argparse, sys
try:
    import boto3, botocore.exceptions
    from open import Reader, open_envelope, parse_block
except ImportError as error: sys.exit(f"unwrap_aws_kms.py: {error}; it needs: pip install boto3 cryptography")

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("file", "--region", "--endpoint"): arguments.add_argument(name)
arguments.add_argument("--associated-data", default="")
arguments.add_argument("--context", action="append", default=[])
given = arguments.parse_args()
with open(given.file, "rb") as file: envelope = file.read()
if envelope[7] != 1: sys.exit(f"{given.file}: its dek-block is not inside")
block = parse_block(Reader(envelope[40:]).prefixed(2))
recipients = [each for each in block["recipients"] if each["uri"].startswith("aws-kms:")]
if not recipients: sys.exit(f"{given.file}: no recipient of type aws-kms")
arn = recipients[0]["uri"].removeprefix("aws-kms:").split(":")
arn[3] = arn[3] or given.region or sys.exit(f"{given.file}: a multi-Region key; name one of its regions with --region")
kms = boto3.client("kms", region_name=arn[3], endpoint_url=given.endpoint)
try: dek = kms.decrypt(KeyId=":".join(arn), CiphertextBlob=bytes.fromhex(recipients[0]["wrapped"]),
                       EncryptionContext={**block["partition"], "dekd:key": block["key"], "dekd:id": envelope[8:40].hex()})
except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error: sys.exit(f"{':'.join(arn)}: {error}")
context = dict(pair.split("=", 1) for pair in given.context)
sys.stdout.buffer.write(open_envelope(envelope, dek["Plaintext"], context, given.associated_data.encode())[0])
