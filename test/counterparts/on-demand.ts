import test, { type ExecutionContext } from 'ava';
import { type Counterpart, installation, missing } from './counterpart.ts';

/**
 * A service that a file's tests share, started by the first that asks and ended after the last. Where it is not installed, each test says so
 * loudly and passes; in CI (`CI=true`) it fails: a proof that did not run proves nothing.
 */
export function onDemand<Service extends Counterpart>(
  name: string,
  start: (directory: string) => Promise<Service>,
): (t?: ExecutionContext) => Promise<Service | undefined> {
  let started: Promise<Service> | undefined;
  test.after.always(async () => {
    const service = await started?.catch(() => undefined);
    await service?.stop();
  });
  return async (t) => {
    const directory = installation(name);
    if (directory === undefined) {
      if (t !== undefined) missing(t, name);
      return undefined;
    }
    started ??= start(directory);
    return await started;
  };
}
