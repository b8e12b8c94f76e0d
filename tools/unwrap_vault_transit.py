#!/usr/bin/env python3
"""Opens a dekd envelope whose DEK Vault or OpenBao wrapped, without dekd: the DEK over plain HTTP, the rest with open.py beside this file.

  VAULT_ADDR=… VAULT_TOKEN=… [VAULT_CACERT=…] unwrap_vault_transit.py ENVELOPE [--context KEY=VALUE]... [--associated-data TEXT] > PLAINTEXT

Needs Python 3.9 and the package `cryptography`: pip install cryptography
"""
import base64, http.client, json, os, ssl, sys, urllib.error, urllib.request
try: from open import encode_context, open_wrapped, parse_arguments, read, setting
except ImportError as error: sys.exit(f"unwrap_vault_transit.py: {error}; it needs: pip install cryptography")

def decrypt(recipient, context):
    mount, name = recipient["uri"].removeprefix("vault-transit:").rsplit("/keys/", 1)
    body = {"ciphertext": bytes.fromhex(recipient["wrapped"]).decode("ascii"),
            "associated_data": base64.b64encode(encode_context(context)).decode()}
    request = urllib.request.Request(f"{setting('VAULT_ADDR')}/v1/{mount}/decrypt/{name}", json.dumps(body).encode(),
                                     {"X-Vault-Token": setting("VAULT_TOKEN"), "X-Vault-Request": "true"})
    authorities = os.environ.get("VAULT_CACERT")
    trust = ssl.create_default_context(cadata=authorities and read(authorities).decode())
    try:
        with urllib.request.urlopen(request, context=trust) as answer:
            return base64.b64decode(json.load(answer)["data"]["plaintext"])
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace").strip()
        sys.exit(f"{recipient['uri']}: HTTP {error.code} {said}")

# ValueError, LookupError: an address that is no URL, or an answer that is not Vault's.
open_wrapped(parse_arguments(__doc__), "vault-transit", decrypt, http.client.HTTPException, ValueError, LookupError)
