#!/usr/bin/env python3
"""Opens a dekd envelope whose DEK AWS KMS wrapped, without dekd: the DEK with boto3 and its credentials, the rest with open.py beside this file.

  unwrap_aws_kms.py ENVELOPE [--context KEY=VALUE]... [--associated-data TEXT] [--region REGION] [--endpoint URL] > PLAINTEXT

--region is for multi-Region keys: where to ask for a replica.
Needs Python 3.9 and the packages `boto3` and `cryptography`: pip install boto3 cryptography
"""
import sys
try:
    import boto3, botocore.exceptions
    from open import open_wrapped, parse_arguments
except ImportError as error: sys.exit(f"unwrap_aws_kms.py: {error}; it needs: pip install boto3 cryptography")

given = parse_arguments(__doc__, "--region", "--endpoint")

def decrypt(recipient, context):
    arn = recipient["uri"].removeprefix("aws-kms:").split(":")
    arn[3] = arn[3] or given.region or sys.exit(f"{given.file}: a multi-Region key; name one of its regions with --region")
    kms = boto3.client("kms", region_name=arn[3], endpoint_url=given.endpoint)
    return kms.decrypt(KeyId=":".join(arn), CiphertextBlob=bytes.fromhex(recipient["wrapped"]), EncryptionContext=context)["Plaintext"]

# ValueError: an --endpoint that is no URL.
open_wrapped(given, "aws-kms", decrypt, botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, ValueError)
