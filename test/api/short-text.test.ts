import test from 'ava';
import { shortText } from '../../src/api/short-text.ts';

test('what fits stays as it is', (t) => {
  for (const text of ['', 'a', 'a'.repeat(64), 'é'.repeat(32), '€'.repeat(21), '😀'.repeat(16)]) {
    t.is(shortText(text, 64), text);
  }
});

test('what does not loses its middle', (t) => {
  t.is(
    shortText(`partition: has the entry "${'x'.repeat(100)}", but key orders is not partitioned`, 64),
    ['partition: has the entry "xxxxx', '…', 'ut key orders is not partitioned'.slice(2)].join(''),
  );
});

test('at most so many bytes, of whole characters, for every kind of text and length', (t) => {
  for (const character of ['a', 'é', '€', '😀', 'a😀', '€a', '\u{10FFFF}é']) {
    const text = character.repeat(1_000);
    for (let maxBytes = 16; maxBytes < 80; maxBytes++) {
      const short = shortText(text, maxBytes);
      const bytes = Buffer.byteLength(short);
      t.true(bytes <= maxBytes && bytes > maxBytes - 8, `${character} ${maxBytes}: ${bytes}`);
      t.true(short.isWellFormed() && !short.includes('\uFFFD'), `${character} ${maxBytes}`);
      const [start, end] = short.split('…');
      t.true(text.startsWith(start!) && text.endsWith(end!), `${character} ${maxBytes}`);
    }
  }
});

test('half a surrogate pair becomes U+FFFD, in short texts and in long ones', (t) => {
  t.is(shortText('a\ud800b', 64), 'a\uFFFDb');
  t.true(shortText('\ud800'.repeat(1_000), 64).isWellFormed());
});
