import { readFileSync } from 'node:fs';
import test from 'ava';
import { Counters } from '../../src/keyring/counters.ts';
import { EVENTS } from '../../src/telemetry/names.ts';
import { loadProtos } from '../../src/transport/protos.ts';

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');

/** The words in backticks of the first cells under a heading. */
function firstCells(heading: string): string[] {
  const section = page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const cells = [...section.matchAll(/^\| (`.*?) \|/gm)].map(([, cell = '']) => cell);
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word));
}

test('docs/operations.md explains every event of the log, and no other', (t) => {
  t.deepEqual(firstCells('Log events').sort(), Object.values(EVENTS).sort());
});

test('it explains every counter, and no other', (t) => {
  t.deepEqual(firstCells('Counters').sort(), Object.keys(new Counters()).sort());
});

interface MessageType {
  readonly type: { readonly field: readonly { readonly name: string; readonly typeName: string }[] };
}

test('what to alert on are fields that GetStatus and DescribeKey have', (t) => {
  const protos = loadProtos() as unknown as Record<string, MessageType>;
  const has = (message: string, path: string): boolean => {
    const [first = '', ...rest] = path.replaceAll('[]', '').split('.');
    const field = protos[`dekd.v1.${message}`]?.type.field.find(({ name }) => name === first);
    if (field === undefined || rest.length === 0) return field !== undefined;
    return has(field.typeName.split('.').at(-1) ?? '', rest.join('.'));
  };
  const paths = firstCells('What to alert on').filter((word) => !word.startsWith('dekctl '));
  t.true(paths.length > 10);
  for (const path of paths) {
    t.true(has('GetStatusResponse', path) || has('AdminDescribeKeyResponse', path), path);
  }
});
