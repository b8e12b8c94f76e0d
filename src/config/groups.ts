import { readFileSync } from 'node:fs';

/** Number of a group by its name, as group(5) has it. Undefined when the file cannot be read or does not name it. */
export function groupId(name: string, groupFile: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(groupFile, 'utf8');
  } catch {
    return undefined;
  }
  for (const line of text.split('\n')) {
    const [group, , gid] = line.split(':');
    if (group === name && gid !== undefined && /^\d{1,10}$/.test(gid)) return Number(gid);
  }
  return undefined;
}
