import { readFileSync } from 'node:fs';
import test from 'ava';
import {
  KEK_TRANSITIONS,
  type KekEvent,
  stateAfter,
  VERSION_TRANSITIONS,
} from '../../../src/upstream/local/transitions.ts';
import type { KekState } from '../../../src/upstream/provider.ts';
import { kekRecord } from './fixture.ts';

const STATES = Object.keys(KEK_TRANSITIONS) as KekState[];
const EVENTS = Object.keys(KEK_TRANSITIONS.active) as KekEvent[];

/** The first table of docs/key-lifecycle.md below `heading`: by state, then by the word in backquotes of the column's head. */
function documented(heading: string): Record<string, Record<string, string>> {
  const page = readFileSync(new URL('../../../docs/key-lifecycle.md', import.meta.url), 'utf8');
  const table = /^(?:\|.*\n)+/m.exec(page.split(`# ${heading}\n`)[1] ?? '')?.[0] ?? '';
  const [head = [], , ...rows] = table.trim().split('\n').map(cells);
  const row = (values: string[]) => Object.fromEntries(values.map((value, index) => [head[index + 1], value]));
  return Object.fromEntries(rows.map(([state = '', ...values]) => [state, row(values)]));
}

function cells(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim().replaceAll('`', ''));
}

test('the table of states and transitions is the one of docs/key-lifecycle.md', (t) => {
  const words = (state: KekState, event: KekEvent) => {
    const outcome = KEK_TRANSITIONS[state][event];
    if (outcome === state) return '–';
    return outcome === 'before' ? 'the one before' : outcome;
  };
  const expected = Object.fromEntries(
    STATES.map((state) => [state, Object.fromEntries(EVENTS.map((event) => [event, words(state, event)]))]),
  );
  t.deepEqual(documented('States and transitions'), expected);
});

test('the table of the states of versions is the one of docs/key-lifecycle.md', (t) => {
  const expected = Object.fromEntries(
    Object.entries(VERSION_TRANSITIONS).map(([state, events]) => [
      state,
      Object.fromEntries(Object.entries(events).map(([event, next]) => [event, next === state ? '–' : next])),
    ]),
  );
  t.deepEqual(documented('Transitions of versions'), expected);
});

for (const state of STATES) {
  for (const event of EVENTS) {
    const outcome = KEK_TRANSITIONS[state][event];
    test(`${state}: ${event} → ${outcome}`, (t) => {
      const stateBefore = state === 'disabled' || state === 'pending-deletion' ? 'archived' : null;
      const kek = kekRecord('orders', { state, stateBefore });
      if (outcome !== 'refused') {
        t.is(stateAfter(kek, event), outcome === 'before' ? 'archived' : outcome);
        return;
      }
      const error = t.throws(() => stateAfter(kek, event)) as unknown as { reason?: string; message: string };
      if (event === 'destroy') return;
      t.is(error.reason, `KEY_${state.toUpperCase().replace('-', '_')}`);
      t.regex(error.message, new RegExp(`^KEK orders is ${state}: ${state} → [a-z-]+ is not allowed; \\S+`));
    });
  }
}

test('a refused transition says from where to where, and the way out', (t) => {
  t.throws(() => stateAfter(kekRecord('orders', { state: 'disabled', stateBefore: 'active' }), 'archive'), {
    message: 'KEK orders is disabled: disabled → archived is not allowed; enable it first',
  });
  t.throws(() => stateAfter(kekRecord('orders', { state: 'pending-deletion', stateBefore: 'active' }), 'enable'), {
    message: 'KEK orders is pending-deletion: pending-deletion → active is not allowed; cancel its deletion first',
  });
  t.throws(() => stateAfter(kekRecord('orders', { state: 'destroyed' }), 'cancel'), {
    message:
      'KEK orders is destroyed: destroyed → disabled is not allowed; it never comes back; make a KEK of another name',
  });
});
