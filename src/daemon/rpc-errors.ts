import type { PackageDefinition } from '@grpc/proto-loader';
import type { Call as ApiCall } from '../api/call.ts';
import { shortText } from '../api/short-text.ts';
import { type DetailSerializers, failedCall, type ItemStatus, itemStatus, MAX_TEXT_BYTES } from '../api/status.ts';
import { DekdError, invalidField } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';
import { type CallIdentity, MalformedMessage, type RpcStatus, UnimplementedMethod } from '../transport/transport.ts';

/** Whatever ended a call becomes the status that its caller sees; what is our own fault goes to the log with its cause. */
export function rpcErrors(
  protos: PackageDefinition,
  logger: Logger,
): (thrown: unknown, call: CallIdentity) => RpcStatus {
  const serialize = serializers(protos);
  return (thrown, call) => {
    const error = toDekdError(thrown);
    log(error, { method: call.method, requestId: call.requestId, uid: call.principal.uid }, logger);
    return failedCall(error, call, serialize);
  };
}

/** The same for one item of a batch. */
export function itemErrors(protos: PackageDefinition, logger: Logger): (thrown: unknown, call: ApiCall) => ItemStatus {
  const serialize = serializers(protos);
  return (thrown, call) => {
    const error = DekdError.from(thrown);
    log(error, { requestId: call.requestId, uid: call.principal.uid }, logger);
    return itemStatus(error, call, serialize);
  };
}

function log(error: DekdError, call: object, logger: Logger): void {
  const fields = { ...call, reason: error.reason };
  if (error.reason === 'INTERNAL') {
    logger.error({ event: EVENTS.internalError, ...fields, err: error.cause }, 'internal error');
  } else {
    logger.debug(
      { event: EVENTS.callFailed, ...fields, cause: causeText(error) },
      shortText(error.message, MAX_TEXT_BYTES),
    );
  }
}

function serializers(protos: PackageDefinition): DetailSerializers {
  return {
    status: serializer(protos, 'google.rpc.Status'),
    errorInfo: serializer(protos, 'google.rpc.ErrorInfo'),
    retryInfo: serializer(protos, 'google.rpc.RetryInfo'),
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
