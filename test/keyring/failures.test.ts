import test from 'ava';
import { fromUpstream } from '../../src/keyring/failures.ts';
import { UpstreamFailure } from '../../src/upstream/failure.ts';

test('callers are asked to wait as long as the upstream asks for, and no longer than dekd itself leaves it alone', (t) => {
  const asked = (retryAfterMs?: number): number | undefined => {
    const failure = new UpstreamFailure('throttled', 'slow down', retryAfterMs === undefined ? {} : { retryAfterMs });
    return fromUpstream('orders', 'kms', failure).retryAfterMs;
  };
  t.is(asked(), 5_000);
  t.is(asked(20_000), 20_000);
  t.is(asked(86_400_000), 30_000);
});

test('a KEK that is not there: the way out is the one of its upstream’s type', (t) => {
  const missing = new UpstreamFailure('refused', 'no', { scope: 'kek', condition: 'missing' });
  const text = (uri?: string) => fromUpstream('orders', 'kms', missing, uri).message;
  t.is(
    text('vault-transit:transit/keys/orders'),
    'key orders: upstream kms has no such KEK; make it with `bao write -f transit/keys/orders type=aes256-gcm96`',
  );
  t.is(
    text('local:0123456789abcdef/orders'),
    'key orders: upstream kms has no such KEK; a custodian makes it with `dekctl keys create orders`',
  );
  t.is(text(), 'key orders: upstream kms has no such KEK; make it there');
});
