import { status as codes } from '@grpc/grpc-js';
import type { Handler, ServerOptions } from '../transport.ts';
import type { StreamingCall } from './streaming-call.ts';

type ServingStatus = 'SERVING' | 'NOT_SERVING';

interface CheckRequest {
  readonly service: string;
}

export const HEALTH_SERVICE = 'grpc.health.v1.Health';

class UnknownService extends Error {
  override readonly name = 'UnknownService';
}

/** How health's own failure ends a call, and every other as `toStatus` says. */
export function healthStatus(toStatus: ServerOptions['toStatus']): ServerOptions['toStatus'] {
  return (thrown, call) =>
    thrown instanceof UnknownService
      ? { code: codes.NOT_FOUND, message: 'the service is unknown' }
      : toStatus(thrown, call);
}

/**
 * grpc.health.v1.Health of one server (github.com/grpc/grpc/blob/master/doc/health-checking.md). It remembers the services that were `set`, and
 * the calls that watch: a name that a caller made up is nowhere but in its call.
 */
export class Health {
  readonly #statuses = new Map<string, ServingStatus>();
  readonly #watchers = new Map<StreamingCall, string>();

  /** Of the unary RPCs. */
  readonly handlers: Readonly<Record<string, Handler>> = {
    Check: ({ service }: CheckRequest) => {
      const status = this.#statuses.get(service);
      if (status === undefined) throw new UnknownService();
      return { status };
    },
    List: () => ({ statuses: Object.fromEntries([...this.#statuses].map(([name, status]) => [name, { status }])) }),
  };

  /** `service`: "" is the process. Unset services are unknown to health checks. */
  set(service: string, serving: boolean): void {
    const status = serving ? 'SERVING' : 'NOT_SERVING';
    if (this.#statuses.get(service) === status) return;
    this.#statuses.set(service, status);
    for (const [call, watched] of this.#watchers) if (watched === service) call.answer({ status });
  }

  readonly watch = (request: unknown, call: StreamingCall): void => {
    const { service } = request as CheckRequest;
    this.#watchers.set(call, service);
    call.whenOver(() => this.#watchers.delete(call));
    call.answer({ status: this.#statuses.get(service) ?? 'SERVICE_UNKNOWN' });
  };
}
