// Drills of a running agent: what is held serves in grace and says so, what is not is refused in time, and all is well again afterwards.
import { setTimeout as sleep } from 'node:timers/promises';
import { dekctl } from '../cli/run.ts';
import { requireOpenBao } from '../counterparts/openbao/start.ts';
import { type Agent, startAgent } from '../helpers/agent-process.ts';
import { keyConfig, makePlace, type Place } from '../helpers/place.ts';
import { test } from '../helpers/serial.ts';
import { issueToken, makeKek, policyOf, Servers, writePolicy } from '../upstream/vault-transit/world.ts';

const servers = new Servers();
test.after.always(() => servers.stop());

/** A DEK is due after a second, and an hour of grace never ends here. */
const SETTINGS = { cache: { ttl: '1s', grace: '1h' }, partition_by: ['tenant'] };
/** Many times what it takes. */
const PATIENCE_MS = 15_000;

class Used {
  readonly agent: Agent;
  readonly #place: Place;

  constructor(agent: Agent, place: Place) {
    this.agent = agent;
    this.#place = place;
  }

  /** "fresh" or "grace", or the reason why not. */
  async encrypt(tenant = 'held'): Promise<string> {
    const { message, reason } = await this.agent.client.outcome('Encrypt', sealed(tenant));
    if (reason !== '') return reason;
    return message.served_in_grace === true ? 'grace' : 'fresh';
  }

  async ciphertext(): Promise<Buffer> {
    return (await this.agent.client.call('Encrypt', sealed('held'))).message.ciphertext;
  }

  async decrypt(ciphertext: Buffer): Promise<string> {
    const request = { ciphertext, encryption_context: { tenant: 'held' } };
    const { message, reason } = await this.agent.client.outcome('Decrypt', request);
    return reason === '' ? message.plaintext.toString() : reason;
  }

  /** Uses the DEK until it is served like that; until then it must be as in `before`. */
  async until(wanted: string, before: string): Promise<void> {
    let found = '';
    for (const untilMs = performance.now() + PATIENCE_MS; performance.now() < untilMs; await sleep(20)) {
      found = await this.encrypt();
      if (found === wanted) return;
      if (found !== before) break;
    }
    throw new Error(`${found}, neither ${wanted} nor ${before}\n${this.agent.stderr()}`);
  }

  async dekctl(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await dekctl([...args, '--admin-socket', this.#place.adminSocket]);
    if (code !== 0) throw new Error(stderr);
    return stdout.toString();
  }

  // biome-ignore lint/suspicious/noExplicitAny: a test knows what it asks for
  async status(): Promise<any> {
    const { message } = await this.agent.admin.call('GetStatus', {});
    return { upstream: message.upstreams[0], key: message.keys[0] };
  }

  logged(event: string): Record<string, unknown>[] {
    const lines = this.agent.stderr().split('\n').filter(Boolean);
    return lines.map((line) => JSON.parse(line)).filter((line) => line.event === event);
  }
}

function sealed(tenant: string): object {
  return { key: 'orders', plaintext: Buffer.from('x'), encryption_context: { tenant } };
}

test('local: a drill that ends by itself, and one of class refused, which purges', async (t) => {
  const place = makePlace(t, { keys: { orders: keyConfig('orders', SETTINGS) } });
  const used = new Used(await startAgent(t, place), place);
  t.is(await used.encrypt(), 'fresh');
  const old = await used.ciphertext();

  t.regex(await used.dekctl('drill', 'outage', '--upstream', 'store', '--for', '1m'), /store looks unreachable until /);
  await used.until('grace', 'fresh');
  t.is(await used.decrypt(old), 'x');
  t.is(await used.encrypt('cold'), 'UPSTREAM_UNAVAILABLE');
  const { upstream, key } = await used.status();
  t.like(upstream, { upstream: 'store', state: 'unreachable', last_failure: 'unreachable' });
  t.is(upstream.drill?.failure_class, 'unreachable');
  t.like(key, { deks_in_grace: '1', encrypting_deks: '1' });
  t.like(key.keks[0], { role: 'RECIPIENT_ROLE_AUTHORITY', state: 'unreachable' });
  const servesMs = Number(key.serves_until.seconds) * 1_000 - Date.now();
  t.true(servesMs > 55 * 60_000 && servesMs <= 3_601_000, String(servesMs));

  // Another one in its place, which is over soon.
  await used.agent.admin.call('StartDrill', { upstream: 'store', duration: { nanos: 100_000_000 } });
  await used.until('fresh', 'grace');
  t.is(await used.encrypt('cold'), 'fresh');
  const healed = await used.status();
  t.is(healed.upstream.drill, null);
  t.like(healed.upstream, { state: 'ok', last_failure: 'unreachable' });
  t.is(used.logged('drill_ended')[0]?.['by'], undefined);

  await used.dekctl('drill', 'outage', '--upstream', 'store', '--for', '1m', '--class', 'refused');
  await used.until('UPSTREAM_REFUSED', 'fresh');
  t.is(await used.decrypt(old), 'UPSTREAM_REFUSED');
  t.true(Number((await used.status()).key.counters.purged) >= 1);
  t.is(
    await used.dekctl('drill', 'stop', '--upstream', 'store'),
    'the drill at upstream store is over: it answers for itself again\n',
  );
  t.not((await used.status()).upstream.state, 'refused');
  t.is(await used.decrypt(old), 'x');
  t.is(await used.encrypt(), 'fresh');

  const by = `uid ${process.getuid?.()}`;
  t.like(used.logged('drill_started')[0], { level: 40, upstream: 'store', failureClass: 'unreachable', by });
  t.like(used.logged('drill_started')[1], { replaced: 'unreachable' });
  t.like(used.logged('drill_ended')[1], { level: 40, failureClass: 'refused', by });
  t.true(used.logged('upstream_refusal_confirmed').length >= 1);
});

test('OpenBao: status names what is out, the breaker and the child; a stop ends the drill at once', async (t) => {
  if (!requireOpenBao(t)) return;
  const bao = await servers.get();
  const { name, kek } = await makeKek(bao);
  await writePolicy(bao, name, policyOf(name));
  const { file } = await issueToken(t, bao, name);
  const place = makePlace(t, {
    upstreams: { vault: { type: 'vault-transit', addresses: [bao.address], login: { token: { file } } } },
    keys: {
      orders: keyConfig('orders', { ...SETTINGS, recipients: [{ upstream: 'vault', kek, role: 'authority' }] }),
    },
  });
  const used = new Used(await startAgent(t, place), place);
  t.is(await used.encrypt(), 'fresh');
  t.like(await used.status(), { upstream: { state: 'ok', breaker: 'closed', drill: null, last_failure: '' } });

  await used.agent.admin.call('StartDrill', { upstream: 'vault', duration: { seconds: 60 } });
  await used.until('grace', 'fresh');
  for (let call = 0; call < 5; call++) t.is(await used.encrypt(`cold ${call}`), 'UPSTREAM_UNAVAILABLE');
  const { upstream, key } = await used.status();
  t.like(upstream, { state: 'unreachable', breaker: 'open' });
  t.true(upstream.child_pids.length >= 1);
  t.is(key.keks[0].kek, kek);
  const text = await used.dekctl('status');
  t.regex(
    text,
    /^OUTAGE +upstream vault: unreachable for \d+s, since .*; a drill \(unreachable\) for \d+s more, until /m,
  );
  t.regex(text, /^ +orders +serves until .* \(59m more\)/m);

  t.deepEqual((await used.agent.admin.call('StopDrill', { upstream: 'vault' })).message, { stopped: true });
  await used.until('fresh', 'grace');
  t.is(await used.encrypt('cold'), 'fresh');
  t.like(await used.status(), { upstream: { state: 'ok', breaker: 'closed', drill: null } });
  t.notRegex(await used.dekctl('status'), /OUTAGE/);
});
