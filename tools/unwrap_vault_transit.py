#!/usr/bin/env python3
"""Opens a dekd envelope whose DEK Vault or OpenBao wrapped, without dekd: the DEK over plain HTTP, the rest with open.py beside this file.

  VAULT_ADDR=… VAULT_TOKEN=… [VAULT_CACERT=…] unwrap_vault_transit.py ENVELOPE [--context KEY=VALUE]... [--associated-data TEXT] > PLAINTEXT

Needs Python 3.9 and the package `cryptography`: pip install cryptography
"""
import argparse, base64, json, os, ssl, sys, urllib.error, urllib.request
try: from open import Reader, encode_context, open_envelope, parse_block
except ImportError as error: sys.exit(f"unwrap_vault_transit.py: {error}; it needs: pip install cryptography")

def decrypt(recipient, block, dek_id):
    mount, name = recipient["uri"].removeprefix("vault-transit:").rsplit("/keys/", 1)
    context = {**block["partition"], "dekd:key": block["key"], "dekd:id": dek_id.hex()}
    body = {"ciphertext": bytes.fromhex(recipient["wrapped"]).decode("ascii"),
            "associated_data": base64.b64encode(encode_context(context)).decode()}
    request = urllib.request.Request(f"{os.environ['VAULT_ADDR']}/v1/{mount}/decrypt/{name}", json.dumps(body).encode(),
                                     {"X-Vault-Token": os.environ["VAULT_TOKEN"], "X-Vault-Request": "true"})
    trust = ssl.create_default_context(cafile=os.environ.get("VAULT_CACERT"))
    try:
        with urllib.request.urlopen(request, context=trust) as answer:
            return base64.b64decode(json.load(answer)["data"]["plaintext"])
    except urllib.error.HTTPError as error:
        sys.exit(f"{recipient['uri']}: HTTP {error.code} {error.read().decode(errors='replace')}")

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("file")
arguments.add_argument("--associated-data", default="")
arguments.add_argument("--context", action="append", default=[])
given = arguments.parse_args()
with open(given.file, "rb") as file: envelope = file.read()
if envelope[7] != 1: sys.exit(f"{given.file}: its dek-block is not inside")
block = parse_block(Reader(envelope[40:]).prefixed(2))
vaults = [each for each in block["recipients"] if each["uri"].startswith("vault-transit:")]
if not vaults: sys.exit(f"{given.file}: no recipient of type vault-transit")
dek = decrypt(vaults[0], block, envelope[8:40])
context = dict(pair.split("=", 1) for pair in given.context)
sys.stdout.buffer.write(open_envelope(envelope, dek, context, given.associated_data.encode())[0])
