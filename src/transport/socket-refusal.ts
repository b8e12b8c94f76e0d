import { DekdError } from '../errors.ts';

/** Why no socket is opened at `path`, for the operator: INVALID_REQUEST. */
export function socketRefusal(path: string, problem: string, cause?: unknown): DekdError {
  return new DekdError('INVALID_REQUEST', `socket ${path}: ${problem}`, { cause, metadata: { path } });
}
