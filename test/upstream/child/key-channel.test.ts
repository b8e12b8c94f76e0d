import { readSync, writeSync } from 'node:fs';
import test from 'ava';
import { closeKeyChannel, createKey, dekId, freeKey, openArena, openKeyChannel } from '../../../src/crypto/native.ts';
import { KeyChannel } from '../../../src/upstream/child/key-channel.ts';

openArena({ size: 1 << 20, lock: 'best-effort' });

test('a DEK goes over it, and one comes back', (t) => {
  const { parent, child } = openKeyChannel();
  const channel = new KeyChannel(parent);
  const dek = createKey('dek');
  channel.send(7, dek);
  const packet = Buffer.alloc(40);
  t.is(readSync(child, packet), 40);
  writeSync(child, packet);
  const back = channel.receive(7);
  t.deepEqual(dekId(back as typeof dek), dekId(dek));
  for (const handle of [dek, back as typeof dek]) freeKey(handle);
  closeKeyChannel(child);
  channel.close();
});

test('whose fault a failure is', (t) => {
  const { parent, child } = openKeyChannel();
  const channel = new KeyChannel(parent);
  const dek = createKey('dek');
  t.throws(() => channel.receive(1), { name: 'ReplyError', message: 'no key of call 1 on the key channel' });
  writeSync(child, Buffer.alloc(40));
  t.throws(() => channel.receive(1), { name: 'ReplyError' });
  t.throws(() => channel.send(1, (2 ** 21) as typeof dek), { name: 'DekdError' });
  closeKeyChannel(child);
  t.throws(() => channel.send(1, dek), { name: 'UpstreamFailure', message: /takes no key: .*Broken pipe/ });
  freeKey(dek);
  channel.close();
});
