#!/usr/bin/env python3
"""A second reader of dekd envelopes, written from docs/envelope.md alone. Needs Python 3.9 and the package `cryptography`.

  open.py VECTORS.json                   opens and refuses every vector of test/vectors/envelope.json
  open.py ENVELOPE --dek FILE [--context KEY=VALUE]... [--associated-data TEXT] > PLAINTEXT
"""
import argparse, contextlib, hashlib, hmac, json, os, re, struct, sys
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_unwrap_with_padding

MAGIC = b"dekd"
NONCE = {1: 24, 2: 12}
SCHEMES = {1: "local:", 2: "aws-kms:", 3: "gcp-kms:", 4: "azure-keyvault:", 5: "vault-transit:", 6: "pkcs11:"}
WRAPPED = {1: None, 2: None, 3: 40, 4: 40, 5: 60, 6: 72}
class Malformed(Exception): "Whatever the key."
class Unauthentic(Exception):
    "One error for all that depends on a key."
    def __str__(self): return "another DEK, context or associated data, or altered"

def need(condition, problem):
    if not condition: raise Malformed(problem)

class Reader:
    def __init__(self, data): self.data, self.at = data, 0
    def take(self, length):
        need(length <= len(self.data) - self.at, "ends early")
        self.at += length
        return self.data[self.at - length:self.at]
    def integer(self, length): return int.from_bytes(self.take(length), "big")
    def prefixed(self, length): return self.take(self.integer(length))
    def text(self, length):
        try: return self.prefixed(length).decode("utf-8")
        except UnicodeDecodeError: raise Malformed("not UTF-8") from None
    def end(self): need(self.at == len(self.data), "bytes left over")

def derive(dek, label):  # HKDF: extract, then one block of expand
    return hmac.digest(hmac.digest(b"dekd v1", dek, "sha256"), label.encode() + b"\1", "sha256")

def encode_context(pairs):
    entries = sorted((key.encode(), value.encode()) for key, value in pairs.items())
    parts = [struct.pack(">I", len(text)) + text for entry in entries for text in entry]
    return struct.pack(">I", len(entries)) + b"".join(parts)

def open_gcm(key, nonce, aad, sealed):
    try: return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag: raise Unauthentic() from None

def open_xaes(key, nonce, aad, sealed):
    aes = lambda block: Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)
    top = int.from_bytes(aes(bytes(16)), "big")
    k1 = (top << 1) % 2**128 ^ (0x87 if top >> 127 else 0)
    halves = [bytes([0, n, 0x58, 0]) + nonce[:12] for n in (1, 2)]
    derived = b"".join(aes((int.from_bytes(half, "big") ^ k1).to_bytes(16, "big")) for half in halves)
    return open_gcm(derived, nonce[12:], aad, sealed)

def parse_partition(data):
    need(len(data) <= 8192, "partition over 8,192 bytes")
    reader, partition, previous = Reader(data), {}, None
    count = reader.integer(4)
    need(count <= 64, "over 64 entries")
    for _ in range(count):
        key, value = reader.text(4), reader.text(4)
        need(previous is None or previous < key.encode(), "keys not ascending")
        need(key and not key.startswith(("dekd:", "aws:")) and 1 <= len(value.encode()) <= 256, "partition entry")
        partition[key], previous = value, key.encode()
    reader.end()
    return partition

def parse_recipient(reader):
    kind, algorithm = reader.integer(1), reader.integer(1)
    need(kind in SCHEMES, f"recipient type {kind}")
    need(algorithm in WRAPPED, f"wrap algorithm {algorithm}")
    uri, version, wrapped = reader.text(2), reader.text(2), reader.prefixed(2)
    need(uri.startswith(SCHEMES[kind]) and uri != SCHEMES[kind], "KEK URI")
    need(len(wrapped) == (WRAPPED[algorithm] or max(1, len(wrapped))), "length of a wrapped DEK")
    return {"type": kind, "algorithm": algorithm, "uri": uri, "version": version, "wrapped": wrapped.hex()}

def parse_block(data):
    need(len(data) <= 16384, "block over 16,384 bytes")
    reader = Reader(data)
    need(reader.integer(1) == 1, "unknown version of a block")
    created, generation, key = reader.integer(8), reader.integer(4), reader.text(1)
    need(created < 2**53, "created")
    need(re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,127}", key), "key name")
    partition, count = parse_partition(reader.prefixed(2)), reader.integer(1)
    need(1 <= count <= 16, f"{count} recipients")
    recipients = [parse_recipient(reader) for _ in range(count)]
    need(len({(each["uri"], each["version"]) for each in recipients}) == count, "the same recipient twice")
    need(len(data) - reader.at == 32, "recipients and mac do not end with the block")
    return {"created": created, "generation": generation, "key": key, "partition": partition, "recipients": recipients}

def open_envelope(envelope, dek, context, associated_data, block=None):  # → plaintext, parsed dek-block or None
    need(envelope[:4] == MAGIC, "not an envelope")
    reader = Reader(envelope[4:])
    version, suite, content, flags = reader.take(4)
    checks = {"version": (version, [1]), "suite": (suite, NONCE), "content": (content, [1, 2]), "flags": (flags, [0, 1])}
    for name, (value, known) in checks.items(): need(value in known, f"unknown {name} {value}")
    dek_id = reader.take(32)
    if flags == 1: block = reader.prefixed(2)
    parsed = None if block is None else parse_block(block)
    nonce = reader.take(NONCE[suite])
    sealed = reader.data[reader.at:]
    need(len(sealed) >= 16, "no room for the tag")
    if not hmac.compare_digest(dek_id, derive(dek, "dek-id")): raise Unauthentic()
    if parsed is not None:
        mac = hmac.digest(derive(dek, "dek-block"), block[:-32], "sha256")
        if not hmac.compare_digest(mac, block[-32:]): raise Unauthentic()
        if any(context.get(key) != value for key, value in parsed["partition"].items()): raise Unauthentic()
    aad = envelope[:7] + b"\0" + dek_id + encode_context(context) + struct.pack(">I", len(associated_data)) + associated_data
    key = derive(dek, "message" if content == 1 else "data-key")
    return (open_xaes if suite == 1 else open_gcm)(key, nonce, aad, sealed), parsed

def unwrap(recipient, kek, block, dek_id):
    algorithm, wrapped = recipient["algorithm"], bytes.fromhex(recipient["wrapped"])
    if algorithm in (3, 4): return (aes_key_unwrap if algorithm == 3 else aes_key_unwrap_with_padding)(kek, wrapped)
    aad = encode_context({**block["partition"], "dekd:key": block["key"], "dekd:id": dek_id.hex()})
    return open_gcm(kek, wrapped[:12], aad, wrapped[12:]) if algorithm == 5 else open_xaes(kek, wrapped[:24], aad, wrapped[24:])

def judge(vector):
    fields = ("envelope", "dek", "associated_data", "detached_block")
    envelope, dek, data, block = (bytes.fromhex(vector.get(name, "")) for name in fields)
    try: plaintext, block = open_envelope(envelope, dek, dict(vector["context"]), data, block or None)
    except (Malformed, Unauthentic) as error: return type(error).__name__.lower()
    if "class" in vector: return "opened"
    digest = vector.get("plaintext_sha256") or hashlib.sha256(bytes.fromhex(vector["plaintext"])).hexdigest()
    if hashlib.sha256(plaintext).hexdigest() != digest: return "another plaintext"
    if block is None: return "no block" if "block" in vector else "opened"
    facts = {**vector["block"], "partition": dict(vector["block"]["partition"])}
    keks = [each.pop("kek", None) for each in facts["recipients"]]
    if block != facts: return "another block"
    wraps = [(each, bytes.fromhex(kek)) for each, kek in zip(block["recipients"], keks) if kek]
    return "opened" if all(unwrap(each, kek, block, envelope[8:40]) == dek for each, kek in wraps) else "another DEK"

def read(path):
    with open(path, "rb") as file: return file.read()

def pair(text):
    key, value = text.split("=", 1)
    return key, value

def parse_arguments(description, *options):
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("file", *options): arguments.add_argument(name)
    arguments.add_argument("--associated-data", type=str.encode, default=b"")
    arguments.add_argument("--context", type=pair, action="append", default=[])
    return arguments.parse_args()

@contextlib.contextmanager
def one_line(name, *faults):  # for people: what may be wrong with a file, a context or a service, without a traceback
    try: yield
    except (Malformed, Unauthentic) as error: text = f"refused, {type(error).__name__.lower()}: {error}"
    except (OSError, *faults) as error:
        name, text = getattr(error, "filename", None) or name, getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    else: return
    sys.exit(" ".join(f"{name}: {text}".split()))

def setting(name): return os.environ.get(name) or sys.exit(f"{name} is not set")

def open_wrapped(given, scheme, decrypt, *faults):  # all of tools/unwrap_*.py but decrypt(recipient, context) → DEK, and its faults
    with one_line(given.file, *faults):
        envelope = read(given.file)
        need(envelope[:4] == MAGIC, "not an envelope")
        if envelope[7:8] != b"\1": sys.exit(f"{given.file}: its dek-block is not inside")
        block = parse_block(Reader(envelope[40:]).prefixed(2))
        recipients = [each for each in block["recipients"] if each["uri"].startswith(f"{scheme}:")]
        if not recipients: sys.exit(f"{given.file}: no recipient of type {scheme}")
        dek = decrypt(recipients[0], {**block["partition"], "dekd:key": block["key"], "dekd:id": envelope[8:40].hex()})
        sys.stdout.buffer.write(open_envelope(envelope, dek, dict(given.context), given.associated_data)[0])

def main():
    given = parse_arguments(__doc__, "--dek")
    with one_line(given.file):
        if given.dek:
            plaintext, _ = open_envelope(read(given.file), read(given.dek), dict(given.context), given.associated_data)
            return sys.stdout.buffer.write(plaintext)
        try: vectors = json.loads(read(given.file))
        except ValueError: sys.exit(f"{given.file}: not JSON; an envelope is opened with --dek FILE")
    verdicts = [(vector["name"], vector.get("class", "opened"), judge(vector)) for vector in vectors["open"] + vectors["refuse"]]
    wrong = [f"{name}: expected {expected}, found {found}" for name, expected, found in verdicts if expected != found]
    print(f"{len(vectors['open'])} to open, {len(vectors['refuse'])} to refuse, {len(wrong)} wrong", *wrong, sep="\n")
    sys.exit(1 if wrong or not verdicts else 0)

if __name__ == "__main__": main()
