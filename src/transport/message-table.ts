import { isDeepStrictEqual } from 'node:util';
import type { MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader';

type MessageType = MessageTypeDefinition<object, object>;

export const VARINT = 0;
export const FIXED64 = 1;
export const DELIMITED = 2;
export const FIXED32 = 5;

/** What a varint holds. `int32` is written in 10 bytes when it is negative. */
export type VarintType = 'uint32' | 'int32' | '64 bits';

/** What the check must know of a field. */
export interface Field {
  readonly name: string;
  readonly content: 'string' | 'bytes' | 'message' | 'scalar';
  readonly wireType: number;
  /** Of a scalar that is a varint. */
  readonly varint: VarintType | undefined;
  readonly repeated: boolean;
  /** Most elements, or entries, of a repeated field. */
  readonly max: number;
  /** Of a message field. */
  readonly table: Table | undefined;
  /** The message is the entry of a map. */
  readonly mapEntry: boolean;
}

/** A message type. */
export interface Table {
  /** By number (dekd's numbers are small). */
  readonly fields: (Field | undefined)[];
  /** Most fields of a message: the elements of all its repeated fields, and others. Over it one is over its own `max`, or it has too many others. */
  maxFields: number;
}

/** Most elements of repeated fields, by full name of the field, e.g. `dekd.v1.EncryptBatchRequest.items`. */
export type Maxima = Readonly<Record<string, number>>;

/** Of repeated fields that `Maxima` does not name. */
const DEFAULT_MAX = 64;

/** Fields of a message that are not repeated: few, each comes once; but it may come again, and a later version may have more of them. */
const MAX_OTHER_FIELDS = 32;

/** Compiles message types of `definitions` to tables, each type once. */
export class MessageTables {
  readonly #descriptors = new Map<string, Descriptor>();
  readonly #tables = new Map<string, Table>();
  readonly #maxima: Maxima;

  constructor(definitions: PackageDefinition, maxima: Maxima = {}) {
    this.#maxima = maxima;
    for (const [fullName, definition] of Object.entries(definitions)) {
      if (isMessageType(definition)) this.#index(fullName, definition.type as Descriptor);
    }
  }

  /** Throws when the type is not among the definitions. */
  of(type: MessageType): Table {
    // proto-loader's method definitions give a message type without its package.
    const { name } = type.type as Descriptor;
    for (const [fullName, descriptor] of this.#descriptors) {
      const sameName = fullName === name || fullName.endsWith(`.${name}`);
      if (sameName && isDeepStrictEqual(descriptor, type.type)) return this.#compile(fullName, descriptor);
    }
    throw new Error(`internal error: the definitions lack message type ${name}`);
  }

  #index(fullName: string, descriptor: Descriptor): void {
    this.#descriptors.set(fullName, descriptor);
    for (const nested of descriptor.nestedType) this.#index(`${fullName}.${nested.name}`, nested);
  }

  #compile(fullName: string, descriptor: Descriptor): Table {
    const known = this.#tables.get(fullName);
    if (known !== undefined) return known;
    const table: Table = { fields: [], maxFields: MAX_OTHER_FIELDS };
    // Set before the fields are compiled, since a type may contain itself.
    this.#tables.set(fullName, table);
    for (const descriptorOfField of descriptor.field) {
      const field = this.#field(descriptorOfField, fullName);
      table.fields[descriptorOfField.number] = field;
      table.maxFields += field.max;
    }
    return table;
  }

  #field(field: FieldDescriptor, scope: string): Field {
    const repeated = field.label === 'LABEL_REPEATED';
    const base = {
      name: field.name,
      varint: undefined,
      repeated,
      max: repeated ? (this.#maxima[`${scope}.${field.name}`] ?? DEFAULT_MAX) : 0,
      table: undefined,
      mapEntry: false,
    };
    switch (field.type) {
      case 'TYPE_STRING':
        return { ...base, content: 'string', wireType: DELIMITED };
      case 'TYPE_BYTES':
        return { ...base, content: 'bytes', wireType: DELIMITED };
      case 'TYPE_MESSAGE': {
        const fullName = this.#resolve(field.typeName, scope);
        const descriptor = this.#descriptors.get(fullName)!;
        const mapEntry = descriptor.options?.mapEntry === true;
        return {
          ...base,
          content: 'message',
          wireType: DELIMITED,
          table: this.#compile(fullName, descriptor),
          mapEntry,
        };
      }
      default:
        return { ...base, content: 'scalar', ...scalar(field.type) };
    }
  }

  /** protobuf's scoping: a relative name is looked for from the innermost scope outwards. */
  #resolve(typeName: string, scope: string): string {
    for (let prefix = scope; prefix !== ''; prefix = prefix.slice(0, Math.max(0, prefix.lastIndexOf('.')))) {
      const fullName = `${prefix}.${typeName}`;
      if (this.#descriptors.has(fullName)) return fullName;
    }
    const fullName = typeName.replace(/^\./, '');
    if (this.#descriptors.has(fullName)) return fullName;
    throw new Error(`internal error: ${scope} refers to the unknown type ${typeName}`);
  }
}

/** What is used of google.protobuf.DescriptorProto, in the form that proto-loader gives it. */
interface Descriptor {
  readonly name: string;
  readonly field: readonly FieldDescriptor[];
  readonly nestedType: readonly Descriptor[];
  readonly options: { readonly mapEntry?: boolean } | null;
}

interface FieldDescriptor {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

function isMessageType(definition: PackageDefinition[string]): definition is MessageType {
  return definition['format'] === 'Protocol Buffer 3 DescriptorProto';
}

function scalar(type: string): Pick<Field, 'wireType' | 'varint'> {
  switch (type) {
    case 'TYPE_DOUBLE':
    case 'TYPE_FIXED64':
    case 'TYPE_SFIXED64':
      return { wireType: FIXED64, varint: undefined };
    case 'TYPE_FLOAT':
    case 'TYPE_FIXED32':
    case 'TYPE_SFIXED32':
      return { wireType: FIXED32, varint: undefined };
    case 'TYPE_BOOL':
    case 'TYPE_UINT32':
    case 'TYPE_SINT32':
      return { wireType: VARINT, varint: 'uint32' };
    case 'TYPE_INT32':
    case 'TYPE_ENUM':
      return { wireType: VARINT, varint: 'int32' };
    default:
      return { wireType: VARINT, varint: '64 bits' };
  }
}
