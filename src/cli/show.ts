import type { GlobalFlags } from './flags.ts';
import { publicJson } from './json-document.ts';
import { writeText } from './output.ts';

/** Prints an answer without key material: for people as `text` says, with `--json` as it is. Text that others wrote is `text`'s to make printable. */
export function show<Response>(flags: GlobalFlags, response: Response, text: (response: Response) => string): void {
  writeText(flags.json === true ? `${JSON.stringify(publicJson(response), undefined, 2)}\n` : `${text(response)}\n`);
}
