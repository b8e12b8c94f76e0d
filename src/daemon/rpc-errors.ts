import type { PackageDefinition } from '@grpc/proto-loader';
import { type DetailSerializers, failedCall } from '../api/status.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import { type Call, MalformedMessage, type RpcStatus, UnimplementedMethod } from '../transport/transport.ts';

/** Whatever ended a call becomes the status that its caller sees; what is our own fault goes to the log with its cause. */
export function rpcErrors(protos: PackageDefinition, logger: Logger): (thrown: unknown, call: Call) => RpcStatus {
  const serialize: DetailSerializers = {
    status: serializer(protos, 'google.rpc.Status'),
    errorInfo: serializer(protos, 'google.rpc.ErrorInfo'),
    retryInfo: serializer(protos, 'google.rpc.RetryInfo'),
  };
  return (thrown, call) => {
    const error = toDekdError(thrown);
    const fields = { method: call.method, reason: error.reason, requestId: call.requestId, uid: call.principal.uid };
    if (error.reason === 'INTERNAL') {
      logger.error({ event: EVENTS.internalError, ...fields, err: error.cause }, 'internal error');
    } else {
      logger.debug({ event: EVENTS.callFailed, ...fields, cause: causeText(error) }, error.message);
    }
    return failedCall(error, call, serialize);
  };
}

function toDekdError(thrown: unknown): DekdError {
  if (thrown instanceof MalformedMessage) return invalidField(thrown.field || 'message', thrown.message);
  if (thrown instanceof UnimplementedMethod) return new DekdError('UNIMPLEMENTED', thrown.message);
  return DekdError.from(thrown);
}

function causeText(error: DekdError): string | undefined {
  return error.cause instanceof Error ? error.cause.message : undefined;
}

function serializer(protos: PackageDefinition, name: string): (message: object) => Uint8Array {
  const type = protos[name];
  if (type === undefined || !('serialize' in type)) throw new Error(`no message ${name} in the protos`);
  return type.serialize as (message: object) => Uint8Array;
}
