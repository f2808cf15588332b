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
  if (rawInputContents.length > 0 && rawInputContents.length !== inputs.length) {
    const message = `\`raw_input_contents\` must hold every input: it has ${rawInputContents.length} of ${inputs.length}`;
    throw StatorError.invalid('raw_input_contents', message);
  }
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
function checkShape({ name, datatype, shape }: Tensor, wanted: string): void {
  if (datatype !== wanted)
    throw StatorError.invalid(name, `The input \`${name}\` must have the datatype ${wanted}, got ${show(datatype)}`);
  if (shape.length < 1 || shape.length > 2 || shape.some((size) => size !== 1n))
    throw StatorError.invalid(name, `The input \`${name}\` must have the shape [1], got [${show(shape.join(', '))}]`);
}

function show(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text || 'none';
}

function textOf(input: Tensor, raw: Uint8Array | undefined): string {
  checkShape(input, 'BYTES');
  const bytes = raw === undefined ? only(input, (contents) => contents.bytesContents) : rawText(input, raw);
  if (!isUtf8(bytes)) throw StatorError.invalid(input.name, `The input \`${input.name}\` is not valid UTF-8`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
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
