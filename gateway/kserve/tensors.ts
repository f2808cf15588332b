import { isUtf8 } from 'node:buffer';
import type {
  InferTensorContents,
  ModelInferRequest,
  ModelInferRequest_InferInputTensor,
} from '#gen/inference/kserve_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** What a model of text is asked. */
export interface TextInputs {
  readonly text: string;
  readonly stream: boolean;
}

type Tensor = ModelInferRequest_InferInputTensor;

/** Raw texts have their length in front. */
export const lengthBytes = 4;
const sharedMemory = 'shared_memory_';

/** Reads the inputs of a request for text. Throws `invalid_argument` or `unsupported` that names the input. */
export function readInputs({ inputs, rawInputContents }: ModelInferRequest): TextInputs {
  checkRaw(inputs, rawInputContents);
  let text: string | undefined;
  let stream: boolean | undefined;
  for (const [index, input] of inputs.entries()) {
    const raw = rawInputContents[index];
    refuseOptions(input);
    if (input.name === 'text_input') text = once(input, text, () => textOf(input, raw));
    else if (input.name === 'streaming' || input.name === 'stream')
      stream = once(input, stream, () => flagOf(input, raw));
    else throw unknownInput(input.name);
  }
  if (text === undefined) throw StatorError.invalid('text_input', 'The input `text_input` is required');
  return { text, stream: stream ?? false };
}

/** Reads the texts of a request for vectors, as many as its input has. Throws as readInputs. */
export function readTexts({ inputs, rawInputContents }: ModelInferRequest): readonly string[] {
  checkRaw(inputs, rawInputContents);
  let texts: readonly string[] | undefined;
  for (const [index, input] of inputs.entries()) {
    refuseOptions(input);
    if (input.name !== 'text_input')
      throw StatorError.invalid(input.name.slice(0, 100), 'A model that embeds takes the input `text_input` alone');
    texts = once(input, texts, () => textsOf(input, rawInputContents[index]));
  }
  if (texts === undefined) throw StatorError.invalid('text_input', 'The input `text_input` is required');
  return texts;
}

function checkRaw(inputs: readonly Tensor[], raw: readonly Uint8Array[]): void {
  if (raw.length === 0 || raw.length === inputs.length) return;
  const message = `\`raw_input_contents\` must hold every input: it has ${raw.length} of ${inputs.length}`;
  throw StatorError.invalid('raw_input_contents', message);
}

function unknownInput(name: string): StatorError {
  const shown = name.slice(0, 100);
  return StatorError.invalid(shown, `The input \`${shown}\` is not known: there are \`text_input\` and \`streaming\``);
}

function refuseOptions({ name, parameters }: Tensor): void {
  const [option] = Object.keys(parameters);
  if (option === undefined) return;
  const field = `${name}.${option}`.slice(0, 200);
  const why = option.startsWith(sharedMemory) ? 'shared memory is not offered' : 'inputs have no options';
  throw StatorError.unsupported(field, `\`${field}\` is not supported: ${why}`);
}

/** Reads an input that must not come twice. */
function once<T>({ name }: Tensor, known: T | undefined, read: () => T): T {
  if (known === undefined) return read();
  throw StatorError.invalid(name, `The input \`${name}\` is given twice`);
}

/** Checks that an input is one element of a type. */
function checkShape(input: Tensor, wanted: string): void {
  checkType(input, wanted);
  const { name, shape } = input;
  if (shape.length < 1 || shape.length > 2 || shape.some((size) => size !== 1n))
    throw StatorError.invalid(name, `The input \`${name}\` must have the shape [1], got [${show(shape.join(', '))}]`);
}

function checkType({ name, datatype }: Tensor, wanted: string): void {
  if (datatype === wanted) return;
  throw StatorError.invalid(name, `The input \`${name}\` must have the datatype ${wanted}, got ${show(datatype)}`);
}

/** Texts in one column. */
function textsOf(input: Tensor, raw: Uint8Array | undefined): readonly string[] {
  checkType(input, 'BYTES');
  const { name, shape, contents } = input;
  const [count = 0n, width = 1n] = shape;
  const elements = raw === undefined ? (contents?.bytesContents ?? []) : rawElements(input, raw);
  if (shape.length < 1 || shape.length > 2 || width !== 1n || count !== BigInt(elements.length) || count === 0n) {
    const message = `The input \`${name}\` must have the shape [n] or [n, 1] of its n texts, got [${show(shape.join(', '))}] of ${elements.length}`;
    throw StatorError.invalid(name, message);
  }
  return elements.map((bytes) => utf8(input, bytes));
}

/** Texts, each behind its length. */
function rawElements({ name }: Tensor, raw: Uint8Array): readonly Uint8Array[] {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const elements: Uint8Array[] = [];
  for (let at = 0; at < raw.byteLength; ) {
    const left = raw.byteLength - at - lengthBytes;
    const said = left < 0 ? 0 : view.getUint32(at, true);
    if (said > left) {
      const message = `The raw contents of \`${name}\` must be texts: for each its length as four bytes, little-endian, and its bytes`;
      throw StatorError.invalid(name, message);
    }
    elements.push(raw.subarray(at + lengthBytes, at + lengthBytes + said));
    at += lengthBytes + said;
  }
  return elements;
}

function utf8({ name }: Tensor, bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw StatorError.invalid(name, `The input \`${name}\` is not valid UTF-8`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

function show(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text || 'none';
}

function textOf(input: Tensor, raw: Uint8Array | undefined): string {
  checkShape(input, 'BYTES');
  const bytes = raw === undefined ? only(input, (contents) => contents.bytesContents) : rawText(input, raw);
  return utf8(input, bytes);
}

function rawText({ name }: Tensor, raw: Uint8Array): Uint8Array {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const said = raw.byteLength < lengthBytes ? -1 : view.getUint32(0, true);
  if (said === raw.byteLength - lengthBytes) return raw.subarray(lengthBytes);
  const message = `The raw contents of \`${name}\` must be one text: its length as four bytes, little-endian, and its bytes`;
  throw StatorError.invalid(name, message);
}

function flagOf(input: Tensor, raw: Uint8Array | undefined): boolean {
  checkShape(input, 'BOOL');
  if (raw === undefined) return only(input, (contents) => contents.boolContents);
  if (raw.byteLength === 1) return raw[0] !== 0;
  throw StatorError.invalid(
    input.name,
    `The raw contents of \`${input.name}\` must be one byte, not ${raw.byteLength}`,
  );
}

function only<T>({ name, contents }: Tensor, field: (contents: InferTensorContents) => readonly T[]): T {
  const elements = contents === undefined ? [] : field(contents);
  const [element] = elements;
  if (element !== undefined && elements.length === 1) return element;
  throw StatorError.invalid(
    name,
    `The input \`${name}\` must hold one element of its datatype, not ${elements.length}`,
  );
}
