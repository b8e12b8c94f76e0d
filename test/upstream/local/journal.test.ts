import { mkdirSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { openDatabase } from '../../../src/upstream/local/database.ts';
import { isHotJournal } from '../../../src/upstream/local/journal.ts';
import { makePlace } from './fixture.ts';

test('a journal is hot from the first write into the database to the end of the transaction', (t) => {
  const place = makePlace(t);
  const { connection } = openDatabase(place.directory);
  const journal = `${place.database}-journal`;
  connection.exec('CREATE TABLE example (number INTEGER)');
  t.false(isHotJournal(journal));
  connection.exec('BEGIN IMMEDIATE');
  t.false(isHotJournal(journal));
  connection.exec('INSERT INTO example VALUES (1)');
  t.false(isHotJournal(journal));
  // More than the cache holds goes into the file before the end.
  connection.exec('PRAGMA cache_size = 1; PRAGMA cache_spill = ON; INSERT INTO example VALUES (zeroblob(100000))');
  t.true(isHotJournal(journal));
  connection.exec('COMMIT');
  t.false(isHotJournal(journal));
  connection.close();
  t.false(isHotJournal(journal));
});

test('nothing, a cut header and zeroes are not', (t) => {
  const { directory, database } = makePlace(t);
  mkdirSync(directory);
  const journal = `${database}-journal`;
  t.false(isHotJournal(journal));
  for (const bytes of ['', Buffer.from('d9d505f920a163', 'hex'), Buffer.alloc(512)]) {
    writeFileSync(journal, bytes);
    t.false(isHotJournal(journal));
  }
  writeFileSync(journal, Buffer.from('d9d505f920a163d7', 'hex'));
  t.true(isHotJournal(journal));
  t.throws(() => isHotJournal(directory), { code: 'EISDIR' });
});
