import { readdirSync, readFileSync } from 'node:fs';

/** Processes that this one started and that have not been waited for, the oldest first. */
export function childPids(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  const lists = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1'));
  return lists
    .join(' ')
    .split(' ')
    .filter(Boolean)
    .map(Number)
    .sort((a, b) => a - b);
}
