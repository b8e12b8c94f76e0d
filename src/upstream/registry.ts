import { DekdError } from '../errors.ts';
import { openLocal } from './local/open.ts';
import type { LocalOptions } from './local/options.ts';
import type { Upstream } from './provider.ts';

/** The settings of one upstream; `type` says whose they are. A new provider adds its own to this union and to OPENERS. */
export type UpstreamOptions = LocalOptions;

type Open<Options> = (name: string, options: Options) => Promise<Upstream>;

const OPENERS: { readonly [Type in UpstreamOptions['type']]: Open<Extract<UpstreamOptions, { type: Type }>> } = {
  local: openLocal,
};

/** Opens the upstream that the configuration calls `name`. Throws DekdError: what is wrong, where, and the way out. */
export async function openUpstream(name: string, options: UpstreamOptions): Promise<Upstream> {
  if (!Object.hasOwn(OPENERS, options.type)) {
    const known = Object.keys(OPENERS).join(', ');
    throw new DekdError(
      'INVALID_REQUEST',
      `upstream ${name}: type "${options.type}" is not supported; known: ${known}`,
    );
  }
  return OPENERS[options.type](name, options);
}
