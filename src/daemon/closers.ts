import { DekdError } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import { EVENTS } from '../telemetry/names.ts';

type Close = () => Promise<void> | void;

/** What has been started and must be stopped, the last first. */
export class Closers {
  readonly #logger: Logger;
  readonly #closers: Close[] = [];

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add(close: Close): void {
    this.#closers.push(close);
  }

  /** Calls each once, whatever the others do: keys must be zeroed though a socket will not close. Returns what they threw, which is logged. */
  async closeAll(): Promise<DekdError[]> {
    const failures: DekdError[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(DekdError.from(error));
        this.#logger.error({ event: EVENTS.internalError, err: error }, 'a part did not stop as it should');
      }
    }
    return failures;
  }
}
