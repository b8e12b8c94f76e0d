import { readFileSync } from 'node:fs';
import test from 'ava';
import { packageVersion } from '../../src/cli/version.ts';

test('the version is that of package.json', (t) => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  t.is(packageVersion(), (JSON.parse(text) as { version: string }).version);
});
