import { setTimeout as sleep } from 'node:timers/promises';
import { startAgent } from '../helpers/agent-process.ts';
import type { DekdClient } from '../helpers/client.ts';
import type { Teardown } from '../helpers/place.ts';
import type { Sealed } from './outage-load.ts';
import { BRIEF, type OutageWorld, UPSTREAMS, type UpstreamName } from './outage-world.ts';

/** How many DEKs of each upstream there are of each kind. */
export interface DekCounts {
  /** In use all the time. */
  readonly busy: Readonly<Record<UpstreamName, number>>;
  /** Used more seldom than once a ttl. */
  readonly idle: Readonly<Record<UpstreamName, number>>;
  /** Of the key with the short grace: in use; and never loaded. */
  readonly brief: number;
  readonly cold: number;
}

export type Corpus = Readonly<Record<'busy' | 'idle' | 'brief' | 'cold', readonly Sealed[]>>;

const AT_ONCE = 16;
const MAX_TRIES = 20;
const UNAVAILABLE = 14;

/** What another agent on the same upstreams encrypted, each message under a DEK of its own; that agent is gone. */
export async function makeCorpus(t: Teardown, { place }: OutageWorld, counts: DekCounts): Promise<Corpus> {
  const agent = await startAgent(t, place);
  const seal = async (kind: keyof Corpus, suffix: string, count: (upstream: UpstreamName) => number) => {
    const wanted = UPSTREAMS.flatMap((upstream) =>
      Array.from({ length: count(upstream) }, (_, at) => ({
        at,
        key: `${upstream}${suffix}`,
        tenant: `${kind}-${at}`,
      })),
    ).sort((a, b) => a.at - b.at);
    const sealed: Sealed[] = [];
    const rest = wanted.values();
    const worker = async () => {
      for (const { key, tenant } of rest) sealed.push(await encrypt(agent.client, key, tenant));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return sealed;
  };
  const corpus = {
    busy: await seal('busy', '', (upstream) => counts.busy[upstream]),
    idle: await seal('idle', '', (upstream) => counts.idle[upstream]),
    brief: await seal('brief', BRIEF, () => counts.brief),
    cold: await seal('cold', BRIEF, () => counts.cold),
  };
  await agent.stop();
  return corpus;
}

/** On a busy machine an upstream may take longer than an attempt. */
async function encrypt(client: DekdClient, key: string, tenant: string): Promise<Sealed> {
  const plaintext = Buffer.from(`${key} ${tenant}`);
  for (let tries = 0; ; tries++) {
    const request = { key, plaintext, encryption_context: { tenant } };
    const { code, text, message } = await client.outcome('Encrypt', request);
    if (code === 0) return { key, tenant, ciphertext: message.ciphertext, plaintext };
    if (code !== UNAVAILABLE || tries === MAX_TRIES) throw new Error(`${code} ${text}`);
    await sleep(1_000);
  }
}
