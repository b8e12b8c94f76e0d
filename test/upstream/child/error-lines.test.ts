import { PassThrough } from 'node:stream';
import test from 'ava';
import { readErrorLines } from '../../../src/upstream/child/error-lines.ts';
import { until } from './world.ts';

function reading() {
  const stream = new PassThrough();
  const lines: string[] = [];
  let floods = 0;
  readErrorLines(
    stream,
    (line) => lines.push(line),
    () => floods++,
  );
  return { stream, lines, floods: () => floods };
}

test('lines come whole, however they were written, and the last one at the end', async (t) => {
  const { stream, lines } = reading();
  for (const piece of ['one\ntw', 'o\n\n  \n', 'three']) stream.write(piece);
  stream.end();
  t.true(await until(() => lines.length === 3));
  t.deepEqual(lines, ['one', 'two', 'three']);
});

test('a line has 500 characters, a child 50 lines', async (t) => {
  const { stream, lines } = reading();
  stream.write('x'.repeat(10_000));
  stream.end(`${'x'.repeat(10_000)}\n${'line\n'.repeat(200)}`);
  t.true(await until(() => lines.length === 51));
  t.is(lines[0], `${'x'.repeat(500)}…`);
  t.deepEqual(lines.slice(49), ['line', 'more than this is not shown']);
});

test('a mebibyte is a flood', async (t) => {
  const { stream, floods } = reading();
  for (let count = 0; count < 17; count++) stream.write('x'.repeat(65_536));
  t.true(await until(() => floods() === 1));
  t.true(stream.destroyed);
});
