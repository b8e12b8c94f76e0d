#!/usr/bin/env python3
"""Opens a dekd envelope whose DEK an HSM wrapped, without dekd: the DEK through PyKCS11, the rest with open.py beside this file.

  PKCS11_MODULE=LIB.so PKCS11_PIN=… [PKCS11_TOKEN=LABEL] unwrap_pkcs11.py ENVELOPE [--context KEY=VALUE]... [--associated-data TEXT] > PLAINTEXT

Needs Python 3.9 and the packages `PyKCS11` and `cryptography`: pip install PyKCS11 cryptography
"""
import argparse, os, sys
from urllib.parse import unquote_to_bytes
try:
    from PyKCS11 import AES_GCM_Mechanism, LowLevel as ck, Mechanism, PyKCS11Lib, RSAOAEPMechanism
    from open import Reader, encode_context, open_envelope, parse_block
except ImportError as error: sys.exit(f"unwrap_pkcs11.py: {error}; it needs: pip install PyKCS11 cryptography")

def decrypt(recipient, block, dek_id):
    named = {name: unquote_to_bytes(value) for name, value in (each.split("=") for each in recipient["uri"][7:].split(";"))}
    label, library = os.environ.get("PKCS11_TOKEN") or named["token"].decode(), PyKCS11Lib()
    library.load(os.environ["PKCS11_MODULE"])
    slot = next(slot for slot in library.getSlotList(tokenPresent=True) if library.getTokenInfo(slot).label.strip() == label)
    session = library.openSession(slot)
    session.login(os.environ["PKCS11_PIN"])
    template = [(kind, make(named[name])) for kind, name, make in ((ck.CKA_LABEL, "object", bytes.decode), (ck.CKA_ID, "id", tuple)) if name in named]
    key = next(key for key in session.findObjects(template) if session.getAttributeValue(key, [ck.CKA_CLASS])[0] != ck.CKO_PUBLIC_KEY)
    wrapped, context = bytes.fromhex(recipient["wrapped"]), {**block["partition"], "dekd:key": block["key"], "dekd:id": dek_id.hex()}
    if recipient["algorithm"] == 5: return session.decrypt(key, wrapped[12:], AES_GCM_Mechanism(wrapped[:12], encode_context(context), 128))
    if recipient["algorithm"] == 2: return session.decrypt(key, wrapped, RSAOAEPMechanism(ck.CKM_SHA256, ck.CKG_MGF1_SHA256))
    padded = ck.CKM_AES_KEY_WRAP_KWP if "CKM_AES_KEY_WRAP_KWP" in library.getMechanismList(slot) else ck.CKM_AES_KEY_WRAP_PAD
    plain = [(ck.CKA_CLASS, ck.CKO_SECRET_KEY), (ck.CKA_KEY_TYPE, ck.CKK_GENERIC_SECRET), (ck.CKA_TOKEN, False), (ck.CKA_SENSITIVE, False), (ck.CKA_EXTRACTABLE, True)]
    dek = session.unwrapKey(key, wrapped, plain, Mechanism(ck.CKM_AES_KEY_WRAP if recipient["algorithm"] == 3 else padded))
    return session.getAttributeValue(dek, [ck.CKA_VALUE])[0]

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, more in (("file", {}), ("--associated-data", {"default": ""}), ("--context", {"action": "append", "default": []})):
    arguments.add_argument(name, **more)
given = arguments.parse_args()
with open(given.file, "rb") as file: envelope = file.read()
if envelope[7] != 1: sys.exit(f"{given.file}: its dek-block is not inside")
block = parse_block(Reader(envelope[40:]).prefixed(2))
keks = [each for each in block["recipients"] if each["uri"].startswith("pkcs11:")]
if not keks: sys.exit(f"{given.file}: no recipient of type pkcs11")
dek, context = bytes(decrypt(keks[0], block, envelope[8:40])), dict(pair.split("=", 1) for pair in given.context)
sys.stdout.buffer.write(open_envelope(envelope, dek, context, given.associated_data.encode())[0])
