import { Readable } from 'node:stream';
import { StatorError } from '#lib/errors/errors.ts';
import { bodyInTime } from '../../http/body-bytes.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { NewFile } from './file-store.ts';

/** What an upload says of a file, and the file. */
export interface Upload {
  readonly filename: string;
  readonly purpose: 'batch' | 'user_data';
  /** Seconds after which it is deleted; null: the default. */
  readonly expiresAfter: number | null;
  readonly file: Blob;
}

const fields = ['file', 'purpose', 'expires_after[anchor]', 'expires_after[seconds]'];

/** Reads multipart/form-data of at most so many bytes; throws StatorError naming the part at fault. */
export async function readUpload(exchange: Exchange, limitBytes: number): Promise<Upload> {
  const contentType = exchange.request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data\s*;/i.test(contentType))
    throw new StatorError('unsupported_media_type', 'Content-Type must be multipart/form-data');
  const form = await formOf(exchange, contentType, limitBytes);
  for (const name of form.keys()) {
    if (!fields.includes(name)) throw StatorError.invalid(name, `Unsupported parameter(s): \`${name.slice(0, 100)}\``);
  }
  const file = form.get('file');
  if (!(file instanceof File)) throw StatorError.invalid('file', 'Validation: `file`: is required, as a file');
  const purpose = form.get('purpose');
  if (purpose !== 'batch' && purpose !== 'user_data')
    throw StatorError.invalid('purpose', 'Validation: `purpose`: must be batch or user_data');
  return { filename: file.name.slice(0, 256), purpose, expiresAfter: expiryOf(form), file };
}

function expiryOf(form: FormData): number | null {
  const anchor = form.get('expires_after[anchor]');
  const seconds = form.get('expires_after[seconds]');
  if (anchor === null && seconds === null) return null;
  if (anchor !== 'created_at')
    throw StatorError.invalid('expires_after.anchor', 'Validation: `expires_after.anchor`: must be created_at');
  const number = Number(seconds);
  if (typeof seconds !== 'string' || !Number.isInteger(number) || number < 3600 || number > 2_592_000)
    throw StatorError.invalid(
      'expires_after.seconds',
      'Validation: `expires_after.seconds`: must be from 3600 to 2592000',
    );
  return number;
}

async function formOf({ request, response }: Exchange, contentType: string, limitBytes: number): Promise<FormData> {
  let tooLarge: StatorError | null = null;
  async function* limited(): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const chunk of bodyInTime({ request })) {
      bytes += chunk.length;
      if (bytes > limitBytes) {
        tooLarge = refusal(limitBytes);
        throw tooLarge;
      }
      yield chunk;
    }
  }
  try {
    const body = Readable.toWeb(Readable.from(limited())) as ReadableStream<Uint8Array>;
    return await new Response(body, { headers: { 'content-type': contentType } }).formData();
  } catch (thrown) {
    const own = tooLarge ?? (thrown instanceof StatorError ? thrown : null);
    if (own === null) throw StatorError.invalid('', 'The form cannot be read', { cause: thrown });
    // What is still to come is not read: the connection cannot be used again.
    if (request.httpVersionMajor < 2) response.setHeader('connection', 'close');
    throw own;
  }
}

function refusal(limitBytes: number): StatorError {
  const message = `The upload exceeds the limit of ${Math.floor(limitBytes / 1024 ** 2)} MiB set by max-file-mib`;
  return new StatorError('payload_too_large', message, { field: 'file', facts: { limitBytes } });
}

/** How the store describes an upload. */
export function newFileOf({ filename, purpose, expiresAfter }: Upload, defaultDays: number): NewFile {
  const createdUnix = Math.floor(Date.now() / 1000);
  const expiresUnix = createdUnix + Math.floor(expiresAfter ?? defaultDays * 86_400);
  return { filename, purpose, createdUnix, expiresUnix };
}
