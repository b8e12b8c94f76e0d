import { FRESH_MS } from '../child/child-provider.ts';

/** What is needed of a KMSClient to keep and to end it. */
export interface Closable {
  destroy(): void;
}

interface Connection<Client extends Closable> {
  readonly client: Client;
  readonly madeAtMs: number;
  calls: number;
  retired: boolean;
}

/** One client per region, each with its open connections and the credentials that it resolved. */
export class Connections<Client extends Closable> {
  readonly #make: (region: string) => Client;
  readonly #current = new Map<string, Connection<Client>>();

  constructor(make: (region: string) => Client) {
    this.#make = make;
  }

  /** Keeps the client alive until the call has ended, also when it is retired meanwhile. */
  async run<Answer>(region: string, call: (client: Client) => Promise<Answer>): Promise<Answer> {
    const connection = this.#connection(region);
    connection.calls++;
    try {
      return await call(connection.client);
    } finally {
      connection.calls--;
      endUnused(connection);
    }
  }

  /** The next call connects anew, with credentials resolved anew; those under way end as they would have. `client`: only while it is that one. */
  retire(region: string, client?: Client): void {
    const connection = this.#current.get(region);
    if (connection === undefined || (client !== undefined && connection.client !== client)) return;
    this.#current.delete(region);
    connection.retired = true;
    endUnused(connection);
  }

  /** As retire, unless the client is fresh. */
  renew(region: string): void {
    const { madeAtMs = 0 } = this.#current.get(region) ?? {};
    if (performance.now() - madeAtMs >= FRESH_MS) this.retire(region);
  }

  retireAll(): void {
    for (const region of [...this.#current.keys()]) this.retire(region);
  }

  #connection(region: string): Connection<Client> {
    const known = this.#current.get(region);
    if (known !== undefined) return known;
    const made = { client: this.#make(region), madeAtMs: performance.now(), calls: 0, retired: false };
    this.#current.set(region, made);
    return made;
  }
}

function endUnused({ client, calls, retired }: Connection<Closable>): void {
  if (retired && calls === 0) client.destroy();
}
