import { ByteReader, ByteWriter } from "./bytes.ts";

/** RabbitMQ's type letters of a field: `t` boolean, `b B s u I i l` integers, `f d` floats, `D` decimal, `S` text, `x` bytes, `T` time, `A` array, `F` table, `V` nothing. */
export type FieldType =
  | "t"
  | "b"
  | "B"
  | "s"
  | "u"
  | "I"
  | "i"
  | "l"
  | "f"
  | "d"
  | "D"
  | "S"
  | "x"
  | "T"
  | "A"
  | "F"
  | "V";

/** A field whose type on the wire is stated, not guessed from its value. `type` may be any letter, to send what does not exist. */
export class TypedField {
  readonly type: string;
  readonly value: unknown;

  constructor(type: string, value: unknown) {
    this.type = type;
    this.value = value;
  }
}

/** {@link TypedField}, without `new`. */
export function typed(type: FieldType | (string & {}), value: unknown): TypedField {
  return new TypedField(type, value);
}

/**
 * A value within a table. Guessed: integers `I` or `l`, other numbers `d`, bytes `x`, dates `T` (seconds).
 * Decoded tables have no prototype, so that a key `__proto__` is a key like any other.
 */
export type Field =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Date
  | TypedField
  | readonly Field[]
  | FieldTable;
/** A Map holds any key, also `__proto__`; entries may also come as they are meant to stand on the wire. */
export type FieldTable = { readonly [key: string]: Field } | ReadonlyMap<string, Field>;
/** What comes off the wire. */
export interface DecodedTable {
  [key: string]: DecodedField;
}
export type DecodedField = null | boolean | number | bigint | string | Buffer | Date | DecodedField[] | DecodedTable;

export function writeTable(to: ByteWriter, table: FieldTable): void {
  const entries = table instanceof Map ? [...table] : Object.entries(table as Record<string, Field>);
  to.sized((inner) => {
    for (const [key, value] of entries) {
      inner.shortText(key);
      writeField(inner, value);
    }
  });
}

function writeField(to: ByteWriter, field: Field): void {
  const { type, value } = field instanceof TypedField ? field : new TypedField(guess(field), field);
  to.u8(type.charCodeAt(0));
  switch (type) {
    case "t":
      return to.u8(value ? 1 : 0);
    case "b":
    case "B":
      return to.u8(value as number);
    case "s":
    case "u":
      return to.u16(value as number);
    case "I":
    case "i":
      return to.u32(value as number);
    case "l":
      return to.u64(value as number | bigint);
    case "T":
      return to.u64(value instanceof Date ? Math.floor(value.getTime() / 1000) : (value as number | bigint));
    case "f":
      return to.f32(value as number);
    case "d":
      return to.f64(value as number);
    case "D":
      to.u8((value as { places: number }).places);
      return to.u32((value as { digits: number }).digits);
    case "S":
      return to.sized((inner) => inner.raw(Buffer.from(value as string)));
    case "A":
      return to.sized((inner) => (value as readonly Field[]).forEach((one) => writeField(inner, one)));
    case "F":
      return writeTable(to, value as FieldTable);
    case "V":
      return;
    default: // "x", and letters that do not exist: bytes behind a length
      return to.sized((inner) => inner.raw(value instanceof Uint8Array ? value : Buffer.from(String(value))));
  }
}

function guess(field: Exclude<Field, TypedField>): FieldType {
  if (field === null) return "V";
  if (typeof field === "boolean") return "t";
  if (typeof field === "string") return "S";
  if (typeof field === "bigint") return "l";
  if (typeof field === "number") return !Number.isSafeInteger(field) ? "d" : (field | 0) === field ? "I" : "l";
  if (field instanceof Uint8Array) return "x";
  if (field instanceof Date) return "T";
  return Array.isArray(field) ? "A" : "F";
}

/** @throws RangeError for a table that ends too early or has a type that does not exist */
export function readTable(from: ByteReader): DecodedTable {
  const inner = new ByteReader(from.sized());
  const table: DecodedTable = Object.create(null);
  while (!inner.done) {
    const key = inner.shortText();
    table[key] = readField(inner);
  }
  return table;
}

function readField(from: ByteReader): DecodedField {
  const type = String.fromCharCode(from.u8());
  switch (type) {
    case "t":
      return from.u8() !== 0;
    case "b":
      return from.i8();
    case "B":
      return from.u8();
    case "s":
      return from.i16();
    case "u":
      return from.u16();
    case "I":
      return from.i32();
    case "i":
      return from.u32();
    case "l":
      return from.i64();
    case "T":
      return new Date(Number(from.u64()) * 1000);
    case "f":
      return from.f32();
    case "d":
      return from.f64();
    case "D": {
      const places = from.u8();
      return from.u32() / 10 ** places;
    }
    case "S":
      return from.sized().toString("utf8");
    case "x":
      return from.sized();
    case "A": {
      const inner = new ByteReader(from.sized());
      const list: DecodedField[] = [];
      while (!inner.done) list.push(readField(inner));
      return list;
    }
    case "F":
      return readTable(from);
    case "V":
      return null;
    default:
      throw new RangeError(`a field of type ${JSON.stringify(type)} does not exist`);
  }
}
