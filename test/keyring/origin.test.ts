import test from 'ava';
import { DrilledUpstream } from '../../src/upstream/drill.ts';
import { ResilientUpstream } from '../../src/upstream/resilience/resilient-upstream.ts';
import { makeWorld, plain, uriOf, type World } from './world.ts';

const RSA_OAEP = 2;

/** Wraps of `rsa` look like those of an RSA key. */
function withRsa(world: World): World {
  world.upstream.algorithms.set(uriOf('rsa'), RSA_OAEP);
  world.upstream.allowsUnprovenOrigin = true;
  return world;
}

test('a DEK that anybody can have wrapped opens only where the configuration allows that', async (t) => {
  const world = withRsa(makeWorld(t));
  const recipients = [['rsa', 'authority']] as const;
  const { ciphertext } = await world.key({ recipients }).seal();
  const allowed = world.peer({ recipients });
  t.is((await world.value(allowed.decrypt(ciphertext))).text, 'hello');

  world.upstream.allowsUnprovenOrigin = false;
  const calls = world.upstream.count();
  for (const setup of [{ recipients }, { recipients: [['main', 'authority']] as const, decryptWith: ['rsa'] }]) {
    t.is(await world.reason(() => world.peer(setup).decrypt(ciphertext)), 'INVALID_CIPHERTEXT');
  }
  t.is(world.upstream.count(), calls, 'nobody was asked');
});

test('another recipient of the same DEK opens it', async (t) => {
  const world = withRsa(makeWorld(t));
  const recipients = [
    ['rsa', 'authority'],
    ['main', 'authority'],
  ] as const;
  const { ciphertext } = await world.key({ recipients }).seal();
  world.upstream.allowsUnprovenOrigin = false;
  const peer = world.peer({ recipients });
  const { text, dek } = await world.value(peer.decrypt(ciphertext));
  t.is(text, 'hello');
  t.deepEqual(
    dek.recipients.map(({ kek }) => kek.uri),
    [uriOf('main')],
  );
  t.is(plain(t, peer.decrypt(ciphertext)).text, 'hello');
});

test('what the configuration says reaches the keyring through all that stands before an upstream', (t) => {
  const { upstream, clock } = makeWorld(t);
  const edge = new ResilientUpstream('hsm', new DrilledUpstream(upstream, clock), clock);
  t.false(edge.allowsUnprovenOrigin);
  upstream.allowsUnprovenOrigin = true;
  t.true(edge.allowsUnprovenOrigin);
});
