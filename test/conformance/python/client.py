"""A client of a running agent with stock grpcio and its default options: client.py SOCKET PROTO_DIRECTORY.

Prints one TAP line a check; the exit code is 0 whatever they say.
"""
import concurrent.futures
import importlib
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

SOCKET, PROTOS = sys.argv[1], pathlib.Path(sys.argv[2])
CONTEXT = {"tenant": "acme", "Straße": "Ülm 😀"}
MESSAGE_MAX_BYTES = 4 * 1024 * 1024
PLAINTEXT_MAX_BYTES = MESSAGE_MAX_BYTES - 128 * 1024


def compile_protos(directory):
    files = ["dekd/v1/agent.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"]
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    arguments = [f"-I{PROTOS}", f"-I{well_known}", f"--python_out={directory}", f"--grpc_python_out={directory}", *files]
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc refused dekd's proto files")
    sys.path.insert(0, directory)
    # protobuf's own google package is imported already: google.rpc lies beside it.
    import google
    google.__path__.append(f"{directory}/google")


generated = tempfile.TemporaryDirectory(prefix="dekd-protos-")
compile_protos(generated.name)
agent_pb2 = importlib.import_module("dekd.v1.agent_pb2")
agent_grpc = importlib.import_module("dekd.v1.agent_pb2_grpc")
status_pb2 = importlib.import_module("google.rpc.status_pb2")
details_pb2 = importlib.import_module("google.rpc.error_details_pb2")


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def failure(call):
    """Code, reason, domain and metadata of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        info = details_pb2.ErrorInfo()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(value)
                expect(status.code == error.code().value[0], "the code in the details is another")
                for detail in status.details:
                    detail.Unpack(info)
        return error.code(), info
    raise AssertionError("the call succeeded")


class Checks:
    def __init__(self, channel):
        self.channel = channel
        self.stub = agent_grpc.KeyAgentStub(channel)

    def encrypt(self, plaintext=b"hello", **fields):
        return self.stub.Encrypt(agent_pb2.EncryptRequest(key="default", plaintext=plaintext, **fields))

    def encrypt_and_decrypt(self):
        sealed = self.encrypt(encryption_context=CONTEXT, associated_data=b"row-1")
        expect(sealed.key == "default" and sealed.generation == 0 and not sealed.outdated, sealed)
        opened = self.stub.Decrypt(agent_pb2.DecryptRequest(
            ciphertext=sealed.ciphertext, encryption_context=CONTEXT, associated_data=b"row-1", expected_key="default"))
        expect(opened.plaintext == b"hello" and opened.key == "default", opened)

    def empty_plaintext(self):
        sealed = self.encrypt(b"")
        expect(self.stub.Decrypt(agent_pb2.DecryptRequest(ciphertext=sealed.ciphertext)).plaintext == b"", "not empty")

    def largest_plaintext(self):
        plaintext = bytes(range(256)) * (PLAINTEXT_MAX_BYTES // 256)
        context = {f"k{index}": "v" * 110 for index in range(64)}
        sealed = self.encrypt(plaintext, encryption_context=context, associated_data=b"a" * 65536)
        opened = self.stub.Decrypt(agent_pb2.DecryptRequest(
            ciphertext=sealed.ciphertext, encryption_context=context, associated_data=b"a" * 65536))
        expect(opened.plaintext == plaintext, "another plaintext came back")

    def generate_data_key(self):
        made = self.stub.GenerateDataKey(agent_pb2.GenerateDataKeyRequest(key="default", encryption_context=CONTEXT))
        expect(len(made.plaintext) == 32, len(made.plaintext))
        opened = self.stub.Decrypt(agent_pb2.DecryptRequest(ciphertext=made.ciphertext, encryption_context=CONTEXT))
        expect(opened.plaintext == made.plaintext, "another data key came back")
        blind = self.stub.GenerateDataKeyWithoutPlaintext(
            agent_pb2.GenerateDataKeyRequest(key="default", number_of_bytes=64))
        opened = self.stub.Decrypt(agent_pb2.DecryptRequest(ciphertext=blind.ciphertext))
        expect(len(opened.plaintext) == 64, len(opened.plaintext))

    def describe_key(self):
        found = self.stub.DescribeKey(agent_pb2.DescribeKeyRequest(key="default"))
        expect(found.state == agent_pb2.KEY_STATE_ACTIVE and found.suite == agent_pb2.SUITE_XAES_256_GCM, found)
        expect(found.ttl.seconds == 300 and found.recipients[0].kek.startswith("local:"), found)
        expect(found.encrypting_deks >= 1 and found.as_of.seconds > 1_700_000_000, found)

    def wrong_context(self):
        sealed = self.encrypt(encryption_context=CONTEXT)
        code, info = failure(lambda: self.stub.Decrypt(
            agent_pb2.DecryptRequest(ciphertext=sealed.ciphertext, encryption_context={"tenant": "other"})))
        expect(code == grpc.StatusCode.INVALID_ARGUMENT, code)
        expect((info.reason, info.domain) == ("INVALID_CIPHERTEXT", "dekd"), info)

    def wrong_key(self):
        sealed = self.encrypt()
        code, info = failure(lambda: self.stub.Decrypt(
            agent_pb2.DecryptRequest(ciphertext=sealed.ciphertext, expected_key="other")))
        expect((code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "KEY_MISMATCH"), (code, info))

    def too_large(self):
        code, info = failure(lambda: self.encrypt(bytes(5 * 1024 * 1024)))
        expect((code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"), (code, info))
        code, info = failure(lambda: self.encrypt(bytes(PLAINTEXT_MAX_BYTES + 1)))
        expect((code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), (code, info))
        expect(info.metadata["field"] == "plaintext", info)

    def invalid_utf8(self):
        raw = self.channel.unary_unary("/dekd.v1.KeyAgent/Encrypt")
        code, info = failure(lambda: raw(b"\x0a\x07default\x1a\x05\x0a\x01\xff\x12\x00"))
        expect((code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), (code, info))
        expect(info.metadata["field"] == "encryption_context.key", info)

    def batches(self):
        items = [agent_pb2.EncryptRequest(key="default", plaintext=b"%d" % at) for at in range(100)]
        items[7].key = "no such key"
        sealed = self.stub.EncryptBatch(agent_pb2.EncryptBatchRequest(items=items)).results
        bad = grpc.StatusCode.INVALID_ARGUMENT.value[0]
        expect([each.status.code for each in sealed] == [bad if at == 7 else 0 for at in range(100)], sealed)
        requests = [agent_pb2.DecryptRequest(ciphertext=each.response.ciphertext) for each in sealed]
        opened = self.stub.DecryptBatch(agent_pb2.DecryptBatchRequest(items=requests)).results
        expect(opened[7].status.code == bad, opened[7])
        expect([each.response.plaintext for each in opened if not each.status.code] == [b"%d" % at for at in range(100) if at != 7], opened)

    def re_encrypt(self):
        sealed = self.encrypt(encryption_context={"tenant": "acme"}).ciphertext
        answer = self.stub.ReEncrypt(
            agent_pb2.ReEncryptRequest(
                ciphertext=sealed,
                source_encryption_context={"tenant": "acme"},
                destination_key="default",
                destination_encryption_context={"tenant": "other"},
            )
        )
        request = agent_pb2.DecryptRequest(ciphertext=answer.ciphertext, encryption_context={"tenant": "other"})
        expect(self.stub.Decrypt(request).plaintext == b"hello", answer)

    def deadline(self):
        sealed = self.stub.Encrypt(agent_pb2.EncryptRequest(key="default"), timeout=30)
        expect(sealed.ciphertext, "no answer within a long deadline")
        # The one call that never ends by itself.
        watch = self.channel.unary_stream("/grpc.health.v1.Health/Watch")
        code, _ = failure(lambda: list(watch(b"", timeout=0.3)))
        expect(code == grpc.StatusCode.DEADLINE_EXCEEDED, code)

    def metadata_echo(self):
        request = agent_pb2.EncryptRequest(key="default")
        _, call = self.stub.Encrypt.with_call(request, metadata=(("x-dekd-request-id", "py-1:a_b.c"),))
        expect(("x-dekd-request-id", "py-1:a_b.c") in tuple(call.initial_metadata()), call.initial_metadata())

    def parallel_calls(self):
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            sealed = list(pool.map(lambda number: self.encrypt(b"%d" % number).ciphertext, range(500)))
        futures = [self.stub.Decrypt.future(agent_pb2.DecryptRequest(ciphertext=one)) for one in sealed]
        expect([int(each.result().plaintext) for each in futures] == list(range(500)), "answers were mixed up")

    def compression(self):
        request = agent_pb2.EncryptRequest(key="default", plaintext=b"x" * 10_000)
        try:
            self.stub.Encrypt(request, compression=grpc.Compression.Gzip)
        except grpc.RpcError as error:
            # "Compression" of the gRPC specification: a server that does not take an encoding says so.
            expect(error.code() == grpc.StatusCode.UNIMPLEMENTED, error.code())
            expect("must not be compressed" in error.details(), error.details())
        else:
            raise AssertionError("a compressed message was taken")

    def health(self):
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        expect(check(b"") == b"\x08\x01", "the process is not SERVING")
        expect(check(b"\x0a\x10dekd.v1.KeyAgent") == b"\x08\x01", "KeyAgent is not SERVING")


def main():
    for form in ("unix:PATH", "unix://PATH"):
        with grpc.insecure_channel(form.replace("PATH", SOCKET)) as channel:
            checks = Checks(channel)
            for name in [name for name in vars(Checks) if not name.startswith("_") and name != "encrypt"]:
                title = f"python grpcio {grpc.__version__}, {form}: {name}"
                try:
                    getattr(checks, name)()
                    print(f"ok {title}", flush=True)
                except Exception as error:  # every kind of failure is a failed check
                    problem = " ".join(f"{type(error).__name__}: {error}".split())
                    print(f"not ok {title}: {problem[:500]}", flush=True)


main()
