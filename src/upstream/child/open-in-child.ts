import { DekdError } from '../../errors.ts';
import type { Upstream } from '../provider.ts';
import type { ChildUpstreamOptions, ProviderFacts } from './child-provider.ts';
import { ChildUpstream } from './child-upstream.ts';

/**
 * A line of registry.ts for a provider whose code runs in a child process. Throws DekdError that begins with the upstream's name when the
 * provider refuses its settings; a service that cannot be reached, or a child that does not start, is a warning and *unreachable*.
 */
export function openInChild<Options extends ChildUpstreamOptions>(
  facts: ProviderFacts<Options>,
): (name: string, options: Options & { readonly onWarning?: (warning: string) => void }) => Promise<Upstream> {
  return async (name, { onWarning, ...options }) => {
    try {
      return await ChildUpstream.open({
        facts,
        options: options as unknown as Options,
        onWarning: onWarning ?? (() => undefined),
      });
    } catch (error) {
      const { reason, message, cause } = DekdError.from(error);
      throw new DekdError(reason, `upstream ${name}: ${message}`, { cause });
    }
  };
}
