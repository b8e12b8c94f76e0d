import { loadSync, type PackageDefinition } from '@grpc/proto-loader';

/**
 * The files behind a package definition as serialised FileDescriptorProtos that every reflection client can read.
 *
 * proto-loader's own lack what protoc writes, and Go's protobuf refuses them: files must name the files that they depend on, type names
 * must be absolute, the entry type of the map `my_field` must be named `MyFieldEntry`, and a reserved range ends before its `end`
 * (descriptor.proto: dependency, type_name, map_entry, ReservedRange).
 */
export function fileDescriptors(definitions: PackageDefinition): Buffer[] {
  const codec = fileCodec();
  const files = new Map<string, FileDescriptor>();
  for (const { fileDescriptorProtos } of Object.values(definitions) as { fileDescriptorProtos?: Buffer[] }[]) {
    for (const bytes of fileDescriptorProtos ?? []) {
      const file = codec.deserialize(bytes);
      files.set(file.name, file);
    }
  }
  const owners = new Map<string, string>();
  for (const file of files.values()) collectNames(file, `.${file.package}`, file.name, owners);
  return [...files.values()].map((file) => {
    new Repair(file, owners).run();
    return codec.serialize(file);
  });
}

// What is used of descriptor.proto. Absent lists are left out by the codec.
interface Scope {
  messageType?: Message[];
  nestedType?: Message[];
  enumType?: { name: string }[];
}

interface FileDescriptor extends Scope {
  name: string;
  package: string;
  dependency?: string[];
  service?: { method?: { inputType: string; outputType: string }[] }[];
}

interface Message extends Scope {
  name: string;
  field?: Field[];
  reservedRange?: { start: number; end: number }[];
  options?: { mapEntry?: boolean };
}

interface Field {
  name: string;
  typeName?: string;
  jsonName?: string;
}

interface FileCodec {
  deserialize(bytes: Buffer): FileDescriptor;
  serialize(file: FileDescriptor): Buffer;
}

/** proto-loader brings descriptor.proto along. */
function fileCodec(): FileCodec {
  const { 'google.protobuf.FileDescriptorProto': type } = loadSync('google/protobuf/descriptor.proto');
  return type as unknown as FileCodec;
}

/** Which file declares which type, by absolute name. */
function collectNames(scope: Scope, prefix: string, file: string, owners: Map<string, string>): void {
  for (const { name } of scope.enumType ?? []) owners.set(`${prefix}.${name}`, file);
  for (const message of [...(scope.messageType ?? []), ...(scope.nestedType ?? [])]) {
    owners.set(`${prefix}.${message.name}`, file);
    collectNames(message, `${prefix}.${message.name}`, file, owners);
  }
}

/** Completes one file in place. */
class Repair {
  readonly #file: FileDescriptor;
  readonly #owners: ReadonlyMap<string, string>;
  readonly #dependencies = new Set<string>();

  constructor(file: FileDescriptor, owners: ReadonlyMap<string, string>) {
    this.#file = file;
    this.#owners = owners;
  }

  run(): void {
    const scope = `.${this.#file.package}`;
    for (const message of this.#file.messageType ?? []) this.#message(message, `${scope}.${message.name}`);
    for (const method of (this.#file.service ?? []).flatMap((service) => service.method ?? [])) {
      method.inputType = this.#absolute(method.inputType, scope);
      method.outputType = this.#absolute(method.outputType, scope);
    }
    this.#dependencies.delete(this.#file.name);
    this.#file.dependency = [...this.#dependencies];
  }

  #message(message: Message, fullName: string): void {
    for (const range of message.reservedRange ?? []) range.end += 1;
    for (const nested of message.nestedType ?? []) this.#message(nested, `${fullName}.${nested.name}`);
    for (const field of message.field ?? []) {
      field.jsonName = camelCase(field.name);
      if (field.typeName === undefined) continue;
      const entry = mapEntry(message, field.typeName);
      if (entry === undefined) {
        field.typeName = this.#absolute(field.typeName, fullName);
      } else {
        entry.name = `${field.jsonName.charAt(0).toUpperCase()}${field.jsonName.slice(1)}Entry`;
        field.typeName = `${fullName}.${entry.name}`;
      }
    }
  }

  /** protobuf's scoping: a relative name is looked for from the innermost scope outwards. */
  #absolute(typeName: string, scope: string): string {
    for (let prefix = typeName.startsWith('.') ? '' : scope; ; prefix = prefix.slice(0, prefix.lastIndexOf('.'))) {
      const name = typeName.startsWith('.') ? typeName : `${prefix}.${typeName}`;
      const owner = this.#owners.get(name);
      if (owner !== undefined) {
        this.#dependencies.add(owner);
        return name;
      }
      if (prefix === '') throw new Error(`internal error: ${scope} refers to the unknown type ${typeName}`);
    }
  }
}

function mapEntry(message: Message, typeName: string): Message | undefined {
  return message.nestedType?.find(({ name, options }) => name === typeName && options?.mapEntry === true);
}

function camelCase(name: string): string {
  return name.replace(/_+([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
