#!/usr/bin/env python3
"""Opens a dekd envelope whose DEK an HSM wrapped, without dekd: the DEK through PyKCS11, the rest with open.py beside this file.

  PKCS11_MODULE=LIB.so PKCS11_PIN=… [PKCS11_TOKEN=LABEL] unwrap_pkcs11.py ENVELOPE [--context KEY=VALUE]... [--associated-data TEXT] > PLAINTEXT

Needs Python 3.9 and the packages `PyKCS11` and `cryptography`: pip install PyKCS11 cryptography
"""
import os, sys
from urllib.parse import unquote_to_bytes
try:
    from PyKCS11 import AES_GCM_Mechanism, LowLevel as ck, Mechanism, PyKCS11Error, PyKCS11Lib, RSAOAEPMechanism
    from open import encode_context, open_wrapped, parse_arguments, setting
except ImportError as error: sys.exit(f"unwrap_pkcs11.py: {error}; it needs: pip install PyKCS11 cryptography")

def first(found, what):
    for each in found: return each
    sys.exit(f"{what} is not there")

def decrypt(recipient, context):
    named = {name: unquote_to_bytes(value) for name, value in (each.split("=") for each in recipient["uri"][7:].split(";"))}
    label, library = os.environ.get("PKCS11_TOKEN") or named.get("token", b"").decode() or setting("PKCS11_TOKEN"), PyKCS11Lib()
    library.load(setting("PKCS11_MODULE"))
    slots = (slot for slot in library.getSlotList(tokenPresent=True) if library.getTokenInfo(slot).label.strip() == label)
    session = library.openSession(slot := first(slots, f"token {label}"))
    session.login(setting("PKCS11_PIN"))
    template = [(kind, make(named[name])) for kind, name, make in ((ck.CKA_LABEL, "object", bytes.decode), (ck.CKA_ID, "id", tuple)) if name in named]
    keys = (key for key in session.findObjects(template) if session.getAttributeValue(key, [ck.CKA_CLASS])[0] != ck.CKO_PUBLIC_KEY)
    key, wrapped = first(keys, recipient["uri"]), bytes.fromhex(recipient["wrapped"])
    if recipient["algorithm"] == 5: return bytes(session.decrypt(key, wrapped[12:], AES_GCM_Mechanism(wrapped[:12], encode_context(context), 128)))
    if recipient["algorithm"] == 2: return bytes(session.decrypt(key, wrapped, RSAOAEPMechanism(ck.CKM_SHA256, ck.CKG_MGF1_SHA256)))
    padded = ck.CKM_AES_KEY_WRAP_KWP if "CKM_AES_KEY_WRAP_KWP" in library.getMechanismList(slot) else ck.CKM_AES_KEY_WRAP_PAD
    plain = [(ck.CKA_CLASS, ck.CKO_SECRET_KEY), (ck.CKA_KEY_TYPE, ck.CKK_GENERIC_SECRET), (ck.CKA_TOKEN, False), (ck.CKA_SENSITIVE, False), (ck.CKA_EXTRACTABLE, True)]
    dek = session.unwrapKey(key, wrapped, plain, Mechanism(ck.CKM_AES_KEY_WRAP if recipient["algorithm"] == 3 else padded))
    return bytes(session.getAttributeValue(dek, [ck.CKA_VALUE])[0])

open_wrapped(parse_arguments(__doc__), "pkcs11", decrypt, PyKCS11Error)
