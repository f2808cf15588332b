import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { isConnectionError, refused } from './http-errors.ts';

export interface DownloadRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** File that exists only when it is complete and checked; until then `target.part` grows. */
  readonly target: string;
  readonly bytes?: number | undefined;
  /** Hex digest that the content must have. */
  readonly sha256?: string | undefined;
  readonly onBytes?: (done: number, total: number | undefined) => void;
  readonly signal?: AbortSignal | undefined;
  /** Attempts without progress after which it gives up. */
  readonly attempts?: number;
  /** Longest wait for the answer to begin and between two pieces of it. */
  readonly stallMs?: number;
}

interface Partial {
  hash: Hash;
  bytes: number;
}

const FIRST_BACKOFF_MS = 500;
const SPARE_BYTES = 64 * 1024 * 1024;

/** Downloads a file, resuming what an earlier run left. Throws StatorError: checksum, refusals of the server, no network. */
export async function download(request: DownloadRequest): Promise<{ sha256: string; bytes: number }> {
  const { target, signal, attempts = 5 } = request;
  const part = `${target}.part`;
  await mkdir(dirname(target), { recursive: true });
  let partial = await readPartial(part);
  let resumed = partial.bytes > 0;
  for (let failures = 0; ; ) {
    const before = partial.bytes;
    try {
      partial = await receive(request, part, partial);
      const sha256 = partial.hash.copy().digest('hex');
      if (request.sha256 === undefined || sha256 === request.sha256) {
        await rename(part, target);
        await rm(`${part}.etag`, { force: true });
        return { sha256, bytes: partial.bytes };
      }
      await rm(part, { force: true });
      await rm(`${part}.etag`, { force: true });
      partial = { hash: createHash('sha256'), bytes: 0 };
      // What was resumed may have been damaged; a whole download that differs is not what was asked for.
      if (!resumed) throw checksumError(request, sha256);
      resumed = false;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isTransient(error)) throw error;
      failures = partial.bytes > before ? 1 : failures + 1;
      if (failures >= attempts) throw unreachable(request.url, error);
      await delay(FIRST_BACKOFF_MS * 2 ** (failures - 1), undefined, { signal });
    }
  }
}

async function readPartial(part: string): Promise<Partial> {
  const hash = createHash('sha256');
  const size = await stat(part).then(
    (info) => info.size,
    () => 0,
  );
  if (size > 0) for await (const chunk of createReadStream(part)) hash.update(chunk as Buffer);
  return { hash, bytes: size };
}

/** Appends what the server sends to the partial file. `partial` always says what is on disk, also after an error. */
async function receive(request: DownloadRequest, part: string, partial: Partial): Promise<Partial> {
  const { url, headers, bytes: expected, stallMs = 30_000 } = request;
  if (expected !== undefined && partial.bytes === expected) return partial;
  const stall = new AbortController();
  let timer = setTimeout(() => stall.abort(new StallError(stallMs)), stallMs);
  const signal = request.signal === undefined ? stall.signal : AbortSignal.any([request.signal, stall.signal]);
  try {
    const response = await fetch(url, { headers: { ...headers, ...(await rangeHeaders(part, partial)) }, signal });
    if (response.status === 416) throw await restart(part, partial, 'the server has less than was kept');
    if (!response.ok || response.body === null) throw refused(response, url);
    if (response.status !== 206 && partial.bytes > 0) reset(partial);
    const length = Number(response.headers.get('content-length') ?? Number.NaN);
    const total = expected ?? (Number.isNaN(length) ? undefined : partial.bytes + length);
    await requireSpace(part, (total ?? 0) - partial.bytes);
    const etag = response.headers.get('etag');
    if (etag !== null) await writeFile(`${part}.etag`, etag);
    const file = await open(part, partial.bytes === 0 ? 'w' : 'a');
    try {
      request.onBytes?.(partial.bytes, total);
      for await (const chunk of response.body) {
        clearTimeout(timer);
        timer = setTimeout(() => stall.abort(new StallError(stallMs)), stallMs);
        await file.writeFile(chunk);
        partial.hash.update(chunk);
        partial.bytes += chunk.byteLength;
        request.onBytes?.(partial.bytes, total);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    if (total !== undefined && partial.bytes < total) throw new StallError(0);
    if (total !== undefined && partial.bytes > total)
      throw await restart(part, partial, 'more came than was announced');
    return partial;
  } finally {
    clearTimeout(timer);
  }
}

/** Asks for the rest only if the file is still the one whose beginning is kept. */
async function rangeHeaders(part: string, partial: Partial): Promise<Record<string, string>> {
  if (partial.bytes === 0) return {};
  const etag = await readFile(`${part}.etag`, 'utf8').catch(() => undefined);
  const range = { range: `bytes=${partial.bytes}-` };
  return etag === undefined || etag.startsWith('W/') ? range : { ...range, 'if-range': etag };
}

async function restart(part: string, partial: Partial, reason: string): Promise<Error> {
  reset(partial);
  await rm(part, { force: true });
  return new TransientError(reason);
}

function reset(partial: Partial): void {
  partial.hash = createHash('sha256');
  partial.bytes = 0;
}

async function requireSpace(file: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(file));
  const freeBytes = bavail * bsize;
  if (freeBytes > neededBytes + SPARE_BYTES) return;
  const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  throw new StatorError('overloaded', `${dirname(file)} has ${mb(freeBytes)} free; ${mb(neededBytes)} are needed.`);
}

class TransientError extends Error {}

class StallError extends TransientError {
  constructor(stallMs: number) {
    super(stallMs === 0 ? 'the connection ended early' : `nothing came for ${stallMs} ms`);
  }
}

function isTransient(error: unknown): boolean {
  if (error instanceof TransientError || isConnectionError(error)) return true;
  return error instanceof StatorError && error.retryable === true;
}

function unreachable(url: string, cause: unknown): StatorError {
  const host = new URL(url).host;
  const reason = cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : '';
  return new StatorError('not_ready', `${host} cannot be reached: ${reason}.`, { cause, retryable: true });
}

function checksumError({ url, sha256 }: DownloadRequest, actual: string): StatorError {
  return new StatorError('backend_protocol', `${url} has SHA-256 ${actual}, not ${sha256}: it was discarded.`);
}
