import { z } from 'zod';
import { duration, flag, integer, size, text } from './leaves.ts';

const SECOND = 1000;
const DAY = 86_400 * SECOND;
const MIB = 2 ** 20;

/** What every upstream takes whose client runs in a child process. */
export const childFields = {
  max_calls: integer(1, 1_000_000)
    .default(1_000)
    .describe('Calls after which the child process is replaced, so that what is left in its memory goes.'),
  idle: duration(SECOND, DAY)
    .default(60 * SECOND)
    .describe('Time without a call after which a child process that has served one is replaced.'),
  warm_child: flag()
    .default(true)
    .describe('A second child process stands ready. `false` saves its memory; then a call waits for a start at times.'),
  memory: size(64 * MIB, 4096 * MIB)
    .default(256 * MIB)
    .describe('What a child process may take beside what a bare Node takes; half of it is its heap.'),
  environment: z
    .array(text('the name of an environment variable', /^[A-Za-z_][A-Za-z0-9_]{0,127}$/), {
      error: 'a list of names of environment variables',
    })
    .max(32, { error: 'at most 32 names of environment variables' })
    .default([])
    .describe('Variables of dekd’s environment that the child process sees too; at most 32.'),
};
