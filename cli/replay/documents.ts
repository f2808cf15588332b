import { readFile } from 'node:fs/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { parseReplayDocument, type ReplayDocument } from '#sim/report/report-json.ts';

/** What an earlier replay wrote with --report-json. Throws `invalid_argument`. */
export async function readDocument(file: string): Promise<ReplayDocument> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw StatorError.invalid('REPORT', `The report ${file} cannot be read.`, { cause });
  });
  return parseReplayDocument(text, file);
}
