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
