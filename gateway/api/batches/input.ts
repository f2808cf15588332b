import { StatorError } from '#lib/errors/errors.ts';
import { validateBody } from '../validate.ts';
import { type BatchEndpoint, type BatchLine, type BatchObject, batchLine } from './schema.ts';

type LineErrors = NonNullable<BatchObject['errors']>['data'];

/** Requests of one batch. */
const mostLines = 50_000;
/** Faults that are told; the first ones say enough. */
const mostErrors = 100;
const mostLineBytes = 16 * 1024 ** 2;

/** The lines of a file that are not blank, by their numbers from 1. Throws StatorError for one that is too long. */
export async function* textLines(content: AsyncIterable<Uint8Array>): AsyncGenerator<{ number: number; text: string }> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  let number = 0;
  for await (const piece of content) {
    const parts = (rest + decoder.decode(piece, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > mostLineBytes)
      throw StatorError.invalid('input_file_id', `Line ${number + parts.length + 1} is longer than 16 MiB.`);
    for (const text of parts) {
      number += 1;
      if (text.trim() !== '') yield { number, text };
    }
  }
  rest += decoder.decode();
  if (rest.trim() !== '') yield { number: number + 1, text: rest };
}

/** The request of a line; throws StatorError that says what is wrong with it. */
export function requestOf(text: string, endpoint: BatchEndpoint): BatchLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw StatorError.invalid('', 'The line is not valid JSON.', { cause: thrown });
  }
  const line = validateBody(batchLine, value);
  if (line.url === endpoint) return line;
  throw StatorError.invalid('url', `Validation: \`url\`: must be ${endpoint}, as the batch says`);
}

/** Looks through a whole input: how many requests it has, and what is wrong with it. */
export async function checkInput(
  content: AsyncIterable<Uint8Array>,
  endpoint: BatchEndpoint,
): Promise<{ total: number; errors: LineErrors }> {
  const errors: LineErrors = [];
  const seen = new Set<string>();
  let total = 0;
  const add = (line: number | null, thrown: unknown): void => {
    const { code, message, field } = StatorError.from(thrown);
    if (errors.length < mostErrors) errors.push({ code, message, param: field || null, line });
  };
  try {
    for await (const { number, text } of textLines(content)) {
      total += 1;
      if (total > mostLines) throw StatorError.invalid('input_file_id', `A batch has at most ${mostLines} requests.`);
      try {
        const { custom_id: id } = requestOf(text, endpoint);
        if (seen.has(id)) throw StatorError.invalid('custom_id', `Validation: \`custom_id\`: \`${id}\` is used twice`);
        seen.add(id);
      } catch (thrown) {
        add(number, thrown);
      }
    }
    if (total === 0) throw StatorError.invalid('input_file_id', 'The input has no requests.');
  } catch (thrown) {
    const isText = !(thrown instanceof TypeError);
    add(null, isText ? thrown : StatorError.invalid('input_file_id', 'The input is not valid UTF-8.'));
  }
  return { total, errors };
}
