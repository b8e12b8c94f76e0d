import type { Server } from '@grpc/grpc-js';
import type { HealthImplementation } from 'grpc-health-check';
import { addLazyService, requirePackage, servicesOf } from './lazy-service.ts';

type ServingStatus = 'SERVING' | 'NOT_SERVING';

const SERVICE = '/grpc.health.v1.Health';
const METHODS = [
  { path: `${SERVICE}/Check`, requestStream: false, responseStream: false },
  { path: `${SERVICE}/List`, requestStream: false, responseStream: false },
  { path: `${SERVICE}/Watch`, requestStream: false, responseStream: true },
];

/** grpc.health.v1.Health of one server. The library behind it costs a cold start 12 ms, and is loaded by the first who asks. */
export class Health {
  readonly #statuses = new Map<string, ServingStatus>();
  #library: HealthImplementation | undefined;

  addTo(server: Server): void {
    addLazyService(server, METHODS, () => {
      const { HealthImplementation } = requirePackage('grpc-health-check') as typeof import('grpc-health-check');
      this.#library = new HealthImplementation(Object.fromEntries(this.#statuses));
      return servicesOf(this.#library);
    });
  }

  /** `service`: "" is the process. Unset services are unknown to health checks. */
  set(service: string, serving: boolean): void {
    const status = serving ? 'SERVING' : 'NOT_SERVING';
    this.#statuses.set(service, status);
    this.#library?.setStatus(service, status);
  }
}
