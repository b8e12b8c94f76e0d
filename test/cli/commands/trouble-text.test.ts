import test from 'ava';
import type { StatusResponse } from '../../../src/cli/commands/status-response.ts';
import { troubleTexts } from '../../../src/cli/commands/trouble-text.ts';

const at = (seconds: number) => ({ seconds, nanos: 0 });
const UNTIL = { serves_until: at(7_300), last_serves_until: at(7_300), serves_without_end: false };

/** Its KEK was last asked in the outage, and was out then; `kek` says otherwise. */
function key(name: string, upstream: string, more: object = UNTIL, kek: object = {}): object {
  const keks = [{ upstream, state: 'unreachable', as_of: at(90), ...kek }];
  return { key: name, keks, serves_until: null, last_serves_until: null, ...more };
}

function texts(upstreams: readonly object[], keys: readonly object[]): string[] {
  const all = upstreams.map((upstream) => ({
    upstream: 'vault',
    state: 'ok',
    since: at(40),
    drill: null,
    ...upstream,
  }));
  return troubleTexts({ as_of: at(100), upstreams: all, keys } as unknown as StatusResponse);
}

test('nothing while every upstream answers, or was not called yet', (t) => {
  t.deepEqual(texts([{}, { state: '' }], [key('orders', 'vault')]), []);
});

test('each upstream that is out, with its keys and no others, the most urgent first; of many the first ones', (t) => {
  const throttled = { state: 'throttled' };
  const keys = [
    key('cold', 'vault', {}, throttled),
    key('orders', 'vault', UNTIL, throttled),
    key('carts', 'store', UNTIL, { state: 'refused' }),
    key('startup', 'vault', { serves_without_end: true }, throttled),
    key('urgent', 'vault', { serves_until: at(130), last_serves_until: at(7_300) }, throttled),
  ];
  t.deepEqual(texts([{ state: 'throttled' }, { upstream: 'store', state: 'refused' }], keys), [
    `OUTAGE     upstream vault: throttled for 60s, since 1970-01-01T00:00:40.000Z
  urgent   serves until 1970-01-01T00:02:10.000Z (30s more), the last DEK until 1970-01-01T02:01:40.000Z (2h 0m more), if no upstream answers
  orders   serves until 1970-01-01T02:01:40.000Z (2h 0m more), if no upstream answers
  cold     holds no DEK: every call needs an upstream
  startup  serves without end, if no upstream answers`,
    `REFUSED  upstream store: refused for 60s, since 1970-01-01T00:00:40.000Z
  carts  serves until 1970-01-01T02:01:40.000Z (2h 0m more), if no upstream answers`,
  ]);
  const many = Array.from({ length: 12 }, (_, index) => key(`k${index}`, 'vault'));
  const [text = ''] = texts([{ state: 'unreachable' }], many);
  t.is(text.split('\n').length, 12);
  t.regex(text, /\n {2}k9 .*\n {2}more {2}2 keys$/);
});

test('keys whose own KEK there is refused or gives no answer, and none whose KEK is ok', (t) => {
  const hsm = { upstream: 'hsm', state: 'refused' };
  const refused = key('krsa', 'hsm', {}, { state: 'refused' });
  const keys = [
    key('kcl', 'hsm', UNTIL, { state: 'ok' }),
    refused,
    key('new', 'hsm', UNTIL, { state: '', as_of: null }),
  ];
  const head = 'REFUSED  upstream hsm: refused for 60s, since 1970-01-01T00:00:40.000Z';
  t.deepEqual(texts([hsm], keys), [`${head}\n  krsa   holds no DEK: every call needs an upstream`]);
  t.deepEqual(texts([hsm], [key('older', 'hsm', UNTIL, { state: 'ok', as_of: at(1) })]), [head]);
  t.deepEqual(texts([hsm], [...keys, key('kout', 'hsm', {})]), [
    `${head}
  krsa   holds no DEK: every call needs an upstream
  kout   unreachable; holds no DEK: every call needs an upstream`,
  ]);
  const two = { ...(key('two', 'hsm', {}) as { keks: object[] }) };
  two.keks = [{ upstream: 'hsm', state: 'ok', as_of: at(90) }, ...(refused as { keks: object[] }).keks];
  t.deepEqual(texts([hsm], [two]), [`${head}\n  two    holds no DEK: every call needs an upstream`]);
});

test('an outage: keys whose KEK there answered since are not in it, those that were not asked since are counted', (t) => {
  const out = key('krsa', 'hsm', {});
  const answered = key('kcl', 'hsm', UNTIL, { state: 'ok', as_of: at(41) });
  const before = key('old', 'hsm', UNTIL, { state: 'ok', as_of: at(39) });
  const never = key('new', 'hsm', UNTIL, { state: '', as_of: null });
  const hsm = { upstream: 'hsm', state: 'unreachable' };
  const head = 'OUTAGE    upstream hsm: unreachable for 60s, since 1970-01-01T00:00:40.000Z';
  const row = '  krsa    holds no DEK: every call needs an upstream';
  t.deepEqual(texts([hsm], [out, answered, before]), [
    `${head}\n${row}\n  others  1 key, whose KEK there was not asked since`,
  ]);
  t.deepEqual(texts([hsm], [out, answered, before, never, key('carts', 'vault')]), [
    `${head}\n${row}\n  others  2 keys, whose KEKs there were not asked since`,
  ]);
});

test('a drill hits every key of the upstream, whatever its KEK met', (t) => {
  const drill = { failure_class: 'refused', ends_at: at(160) };
  const keys = [key('carts', 'vault', {}, { state: 'ok' }), key('new', 'vault', {}, { state: '', as_of: null })];
  const [text = ''] = texts([{ drill }], [...keys, key('orders', 'store', {})]);
  t.deepEqual(
    text.split('\n').slice(1),
    ['carts', 'new'].map((name) => `  ${name.padEnd(5)}  holds no DEK: every call needs an upstream`),
  );
});

test('why: what was said at the last failure, of a KEK that is in that state where there is one', (t) => {
  const failed = { last_failure: 'unreachable', last_failure_message: 'connect ECONNREFUSED 127.0.0.1:8200' };
  const drill = { failure_class: 'unreachable', ends_at: at(160) };
  t.deepEqual(texts([{ state: 'unreachable', ...failed, drill }], []), [
    'OUTAGE  upstream vault: unreachable for 60s, since 1970-01-01T00:00:40.000Z: connect ECONNREFUSED 127.0.0.1:8200; a drill (unreachable) for 60s more, until 1970-01-01T00:02:40.000Z',
  ]);
  const refused = {
    upstream: 'vault',
    state: 'refused',
    last_failure: 'refused',
    last_failure_message: 'it is disabled',
  };
  const other = { upstream: 'store', state: 'refused', last_failure: 'refused', last_failure_message: 'elsewhere' };
  const well = { upstream: 'vault', state: 'ok', last_failure: 'refused', last_failure_message: 'long ago' };
  const orders = { ...key('orders', 'vault', {}), keks: [other, well, refused] };
  const [text = ''] = texts([{ state: 'refused', ...failed }], [orders]);
  t.is(
    text.split('\n')[0],
    'REFUSED   upstream vault: refused for 60s, since 1970-01-01T00:00:40.000Z: it is disabled',
  );
  for (const silent of [{}, { ...failed, last_failure: 'throttled' }, { ...failed, last_failure_message: '' }]) {
    const [row] = texts([{ state: 'unreachable', ...silent }], []);
    t.is(row, 'OUTAGE  upstream vault: unreachable for 60s, since 1970-01-01T00:00:40.000Z');
  }
});

test('a drill that no call has met yet', (t) => {
  const drill = { failure_class: 'refused', ends_at: at(300_000) };
  t.deepEqual(texts([{ drill }], []), [
    'OUTAGE  upstream vault: a drill (refused) for 3d 11h more, until 1970-01-04T11:20:00.000Z',
  ]);
});
