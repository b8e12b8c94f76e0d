import { actor } from './admin-request.ts';
import type { Call } from './call.ts';
import { authorizeDrill } from './drill-request.ts';
import type { Parts } from './parts.ts';

/** Ends a drill before its time. */
export function stopDrill({ upstream }: { upstream: string }, call: Call, parts: Parts): object {
  authorizeDrill('StopDrill', upstream, call, parts);
  return { stopped: parts.administration.stopDrill(upstream, actor(call)) };
}
