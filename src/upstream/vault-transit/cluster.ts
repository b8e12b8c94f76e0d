import type { ChildCall } from '../child/child-provider.ts';
import { UpstreamFailure } from '../failure.ts';
import { HttpAddress, type HttpAnswer, type HttpRequest, type TlsSettings } from './http.ts';

/** How long a connection may take while another address is left to try: a lost packet is sent again after a second, which is the time of a whole attempt. */
const CONNECT_MS = 500;
/** A standby sends on to the active node, and nobody sends on from there. */
const MAX_REDIRECTS = 2;

/** Sends a request to one address, and where that redirects it to another one of the configuration, there. */
export type Send = (request: HttpRequest) => Promise<HttpAnswer>;

/** The addresses of one cluster. The one that answered last is asked first, the others after it when it is *unreachable*. */
export class Cluster {
  readonly #addresses: readonly HttpAddress[];
  #first = 0;

  constructor(addresses: readonly string[], tls: TlsSettings) {
    this.#addresses = addresses.map((address) => new HttpAddress(address, tls));
  }

  /** Gives `work` one address after the other until it ends otherwise than *unreachable*, or the call is given up. */
  async attempt<T>(call: ChildCall, work: (send: Send) => Promise<T>): Promise<T> {
    const start = this.#first;
    const count = this.#addresses.length;
    const problems: string[] = [];
    for (let tried = 0; tried < count; tried++) {
      const index = (start + tried) % count;
      const connectMs = tried < count - 1 ? CONNECT_MS : undefined;
      try {
        return await work((request) => this.#send(index, request, { ...call, connectMs }));
      } catch (error) {
        const failure = UpstreamFailure.from(error);
        if (failure.class !== 'unreachable') throw failure;
        problems.push(failure.message);
        // The next call begins elsewhere: a server that hangs takes the whole time of its call, so this one gets no further.
        if (this.#first === index) this.#first = (index + 1) % count;
        if (call.signal.aborted) break;
      }
    }
    throw new UpstreamFailure('unreachable', problems.join('; '));
  }

  close(): void {
    for (const address of this.#addresses) address.close();
  }

  async #send(
    start: number,
    request: HttpRequest,
    call: ChildCall & { connectMs: number | undefined },
  ): Promise<HttpAnswer> {
    let index = start;
    let path = request.path;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      if (call.signal.aborted) throw new UpstreamFailure('unreachable', 'the call was given up before it was sent');
      const address = this.#addresses[index]!;
      const answer = await address.exchange({ ...request, path }, call);
      // 307 and 308 keep method and body (RFC 9110, sections 15.4.8 and 15.4.9). The others would make a GET of it, and Vault sends none.
      if (answer.status !== 307 && answer.status !== 308) return answer;
      const target = this.#redirectTarget(answer);
      if (target === undefined) {
        const problem = `${address.address} redirects to a place that is none of the addresses of the configuration`;
        throw new UpstreamFailure('unreachable', problem);
      }
      ({ index, path } = target);
    }
    throw new UpstreamFailure(
      'unreachable',
      `${this.#addresses[start]!.address}: more than ${MAX_REDIRECTS} redirects`,
    );
  }

  /** Token and DEK go to no address but those that the operator named. */
  #redirectTarget({ location = '' }: HttpAnswer): { index: number; path: string } | undefined {
    if (!URL.canParse(location)) return undefined;
    const { origin, pathname, search } = new URL(location);
    const index = this.#addresses.findIndex((address) => address.origin === origin);
    if (index < 0 || !pathname.startsWith('/v1/')) return undefined;
    return { index, path: `${pathname.slice('/v1/'.length)}${search}` };
  }
}
