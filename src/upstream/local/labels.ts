import { invalidField } from '../../errors.ts';
import { KEK_NAME } from '../uri.ts';

const MAX_LABELS = 64;
const MAX_LABEL_KEY_BYTES = 128;
const MAX_LABEL_VALUE_BYTES = 256;

/** Throws DekdError INVALID_REQUEST for a name that a KEK cannot have. */
export function checkName(name: string): void {
  if (KEK_NAME.test(name)) return;
  throw invalidField('key', 'must be 1-128 of A-Z a-z 0-9 . _ - and begin with a letter or digit');
}

/** A copy, at most 64 labels, keys of 1-128 bytes, values of at most 256. Throws DekdError INVALID_REQUEST. */
export function checkLabels(labels: ReadonlyMap<string, string>): Map<string, string> {
  if (labels.size > MAX_LABELS)
    throw invalidField('labels', `${labels.size} labels, at most ${MAX_LABELS} are allowed`);
  for (const [key, value] of labels) {
    if (!key.isWellFormed() || !value.isWellFormed())
      throw invalidField('labels', 'a key or value is not valid Unicode');
    const keyBytes = Buffer.byteLength(key);
    if (keyBytes < 1 || keyBytes > MAX_LABEL_KEY_BYTES) {
      throw invalidField('labels', `a key of ${keyBytes} bytes, 1 to ${MAX_LABEL_KEY_BYTES} are allowed`);
    }
    const valueBytes = Buffer.byteLength(value);
    if (valueBytes > MAX_LABEL_VALUE_BYTES) {
      throw invalidField('labels', `a value of ${valueBytes} bytes, at most ${MAX_LABEL_VALUE_BYTES} are allowed`);
    }
  }
  return new Map(labels);
}
