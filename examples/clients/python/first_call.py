"""A first call from Python: encrypts a value, opens it again, and meets a refusal.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python -m grpc_tools.protoc -I ../../../proto --python_out=. --grpc_python_out=. dekd/v1/agent.proto
    .venv/bin/python first_call.py
"""

import os
import pathlib

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dekd.v1 import agent_pb2, agent_pb2_grpc

SOCKET = os.environ.get("DEKD_SOCKET") or pathlib.Path(__file__).resolve().parents[3] / ".dekd" / "agent.sock"
SECONDS = 5  # Without a deadline a call may wait 10 s for a KMS.


def reason(error: grpc.RpcError) -> str:
    """The stable name of what went wrong (docs/architecture.md lists them all)."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    found = status is not None and any(detail.Unpack(info) for detail in status.details)
    return info.reason if found else "?"


with grpc.insecure_channel(f"unix:{SOCKET}") as channel:
    agent = agent_pb2_grpc.KeyAgentStub(channel)
    context = {"tenant": "acme", "table": "orders"}

    encrypted = agent.Encrypt(
        agent_pb2.EncryptRequest(key="default", plaintext=b"hello", encryption_context=context), timeout=SECONDS
    )
    print(f"ciphertext: {len(encrypted.ciphertext)} bytes")

    decrypted = agent.Decrypt(
        agent_pb2.DecryptRequest(ciphertext=encrypted.ciphertext, encryption_context=context), timeout=SECONDS
    )
    print(f"plaintext: {decrypted.plaintext.decode()}")

    try:
        agent.Decrypt(
            agent_pb2.DecryptRequest(ciphertext=encrypted.ciphertext, encryption_context={"tenant": "other"}),
            timeout=SECONDS,
        )
    except grpc.RpcError as error:
        print(f"another context: {error.code().name} {reason(error)}: {error.details()}")
