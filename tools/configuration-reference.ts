// Writes the reference part of docs/configuration.md from the schema of src/config/: `node tools/configuration-reference.ts`.
// A test fails while the page says anything else.
import { readFileSync, writeFileSync } from 'node:fs';
import type { z } from 'zod';
import { schema } from '../src/config/schema.ts';

export const PAGE = new URL('../docs/configuration.md', import.meta.url);

const MARK =
  '<!-- From here on written by tools/configuration-reference.ts from src/config/*schema.ts: change those. -->';

/** A place in a configuration; NAME stands for a name of the operator's choice, [] for each item of a list. */
export interface Field {
  readonly path: string;
  readonly form: string;
  /** What leaving it out means, in Markdown. */
  readonly fallback: string;
  readonly meaning: string;
  /** The fields of the map that lies there, or of each map of that list or those names. */
  readonly inner: Section | undefined;
}

export interface Section {
  readonly path: string;
  /** What one of several is; empty for a map that its own row describes. */
  readonly meaning: string;
  readonly fields: readonly Field[];
  /** What it is further, by the value of one of its fields. */
  readonly variants: readonly Variant[];
}

export interface Variant extends Section {
  /** `type: local`. */
  readonly when: string;
}

/** The page with its reference part written anew; what people wrote above the mark stays. */
export function configurationPage(page: string): string {
  const [written] = page.split(MARK);
  const sections = [...nested(configurationSection())];
  return `${written}${MARK}\n\n${sections.map((section) => sectionText(section)).join('\n')}`;
}

export function configurationSection(): Section {
  return sectionOf('', schema, '');
}

/** The section and all inside it, in the order of the schema. */
export function* nested(section: Section | Variant): Generator<Section | Variant> {
  yield section;
  for (const variant of section.variants) yield* nested(variant);
  for (const { inner } of section.fields) if (inner !== undefined) yield* nested(inner);
}

function sectionText(section: Section | Variant): string {
  const { path, meaning, fields } = section;
  const rows = fields.map((field) => {
    const form = field.inner === undefined ? field.form : `${field.form}: [see below](${anchor(field.inner.path)})`;
    return `| \`${field.path}\` | ${form} | ${field.fallback} | ${field.meaning} |`;
  });
  const when = 'when' in section ? ` with \`${section.when}\`` : '';
  const heading = path === '' ? '## Reference: the top level' : `## \`${path}\`${when}`;
  const lead = meaning === '' ? '' : `${meaning}\n\n`;
  return `${heading}\n\n${lead}| field | takes | left out | meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
}

/** As GitHub makes it of a heading. */
function anchor(path: string): string {
  return `#${path.toLowerCase().replaceAll(/[^a-z0-9_-]/g, '')}`;
}

function sectionOf(path: string, map: z.ZodObject, meaning: string): Section {
  const fields = Object.entries(map.shape).map(([name, value]) =>
    fieldOf(path === '' ? name : `${path}.${name}`, value as z.ZodType),
  );
  return { path, meaning, fields, variants: [] };
}

/** Maps that differ by one field: that field, and then what each of them has beside it. */
function unionSection(path: string, maps: readonly z.ZodObject[], by: string): Section {
  const variants = maps.map((map): Variant => {
    const { [by]: _, ...rest } = map.shape;
    return {
      ...sectionOf(path, map.clone({ ...map.def, shape: rest }), described(map)),
      when: `${by}: ${tagOf(map, by)}`,
    };
  });
  const meaning = described(maps[0]?.shape[by] as z.ZodType);
  const form = maps.map((map) => `\`${tagOf(map, by)}\``).join(', ');
  return {
    path,
    meaning: '',
    fields: [{ path: `${path}.${by}`, form: `one of ${form}`, fallback: 'required', meaning, inner: undefined }],
    variants,
  };
}

function tagOf(map: z.ZodObject, by: string): string {
  return String((map.shape[by] as z.ZodLiteral).value);
}

function fieldOf(path: string, wrapped: z.ZodType): Field {
  const { core, fallback } = unwrap(wrapped);
  const meaning = described(wrapped) || described(core);
  if (meaning === '') throw new Error(`${path}: the schema does not describe it`);
  return { path, fallback, meaning, ...content(path, core) };
}

function content(path: string, core: z.ZodType): Pick<Field, 'form' | 'inner'> {
  const { def } = core;
  if (def.type === 'object') return { form: 'a map', inner: sectionOf(path, core as z.ZodObject, '') };
  if (def.type === 'array') {
    const { element } = def as unknown as { element: z.ZodType };
    const item = content(`${path}[]`, element);
    if (item.inner === undefined) return { form: `a list, each item ${item.form}`, inner: undefined };
    return { form: 'a list of maps', inner: { ...item.inner, meaning: described(element) } };
  }
  if (def.type === 'union') {
    const { options, discriminator } = def as unknown as { options: readonly z.ZodObject[]; discriminator: string };
    return { form: 'a map', inner: unionSection(path, options, discriminator) };
  }
  if (def.type === 'record') {
    const { keyType, valueType } = def as unknown as { keyType: z.ZodType; valueType: z.ZodType };
    const { inner } = content(`${path}.NAME`, valueType);
    if (inner === undefined) throw new Error(`${path}: a map from names to something else than maps`);
    const meaning = `${described(valueType)} NAME is ${formOf(path, keyType)}.`;
    return { form: 'a map by name', inner: { ...inner, meaning } };
  }
  return { form: formOf(path, core), inner: undefined };
}

interface Unwrapped {
  readonly core: z.ZodType;
  readonly fallback: string;
}

function unwrap(wrapped: z.ZodType): Unwrapped {
  const { def } = wrapped;
  const { innerType, defaultValue } = def as unknown as { innerType: z.ZodType; defaultValue: unknown };
  if (def.type === 'prefault') return { core: unwrap(innerType).core, fallback: 'as if empty' };
  if (def.type === 'default') {
    const { core } = unwrap(innerType);
    const print = (core.meta()?.['print'] ?? JSON.stringify) as (value: unknown) => string;
    return { core, fallback: `\`${print(defaultValue)}\`` };
  }
  if (def.type !== 'optional') return { core: wrapped, fallback: 'required' };
  const without = wrapped.meta()?.['without'];
  if (typeof without !== 'string') throw new Error('an optional field without `without`');
  return { core: unwrap(innerType).core, fallback: without };
}

function formOf(path: string, core: z.ZodType): string {
  const form = core.meta()?.['form'];
  if (typeof form !== 'string') throw new Error(`${path}: the schema does not say what it takes`);
  return form;
}

function described(value: z.ZodType): string {
  return value.description ?? '';
}

if (import.meta.main) writeFileSync(PAGE, configurationPage(readFileSync(PAGE, 'utf8')));
