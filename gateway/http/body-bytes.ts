import { type Encoding, inflated, isEncoding } from '#lib/compression/inflate.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Exchange } from './exchange.ts';

/** A body that comes slower than this, after its first seconds, is an attack: a page's worth of text every second. */
const minBytesPerSecond = 4096;
const defaultTimeoutMs = 20_000;

function tooLarge(limitBytes: number): StatorError {
  const mebibytes = limitBytes / (1024 * 1024);
  const shown = mebibytes >= 1 ? `${Math.round(mebibytes * 100) / 100} MiB` : `${limitBytes} bytes`;
  return new StatorError('payload_too_large', `Request body exceeds the limit of ${shown} set by body-limit-mib`, {
    facts: { limitBytes },
  });
}

/** The bytes of a request's body, unpacked. Throws StatorError for more than the limit, packed or unpacked. */
export async function readBytes(exchange: Exchange, limitBytes: number, timeoutMs = defaultTimeoutMs): Promise<Buffer> {
  const { request } = exchange;
  const encoding = encodingOf(exchange);
  try {
    // What is declared is believed at once; what comes is counted, and again what comes out of it.
    if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw tooLarge(limitBytes);
    const sent = bounded(bodyInTime(exchange, timeoutMs), limitBytes);
    const chunks: Buffer[] = [];
    for await (const chunk of encoding === null ? sent : bounded(unpacked(sent, encoding), limitBytes))
      chunks.push(chunk);
    const [only] = chunks;
    return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
  } catch (thrown) {
    closeAfter(exchange);
    throw thrown;
  }
}

/** The pieces of a body; throws `request_timeout` where they come too slowly. The connection is not destroyed: the answer goes over it. */
export async function* bodyInTime(
  { request }: Pick<Exchange, 'request'>,
  timeoutMs = defaultTimeoutMs,
): AsyncGenerator<Buffer> {
  const pieces = request.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
  const began = performance.now();
  let bytes = 0;
  for (;;) {
    const leftMs = began + timeoutMs + (bytes / minBytesPerSecond) * 1000 - performance.now();
    const piece = await within(pieces.next(), leftMs);
    if (piece.done === true) return;
    bytes += piece.value.length;
    yield piece.value;
  }
}

function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void =>
      reject(new StatorError('request_timeout', 'The request body came too slowly (body-timeout-seconds).'));
    const timer = setTimeout(late, Math.max(0, timeoutMs));
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function encodingOf({ request }: Exchange): Encoding | null {
  const encoding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding === 'identity') return null;
  if (isEncoding(encoding)) return encoding;
  throw new StatorError('unsupported_media_type', `Content-Encoding \`${encoding.slice(0, 100)}\` is not supported`);
}

async function* unpacked(sent: AsyncIterable<Buffer>, encoding: Encoding): AsyncGenerator<Buffer> {
  try {
    yield* inflated(sent, encoding);
  } catch (thrown) {
    if (thrown instanceof StatorError) throw thrown;
    throw StatorError.invalid('', `The request body is not valid ${encoding}`, { cause: thrown });
  }
}

async function* bounded(source: AsyncIterable<Buffer>, limitBytes: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > limitBytes) throw tooLarge(limitBytes);
    yield chunk;
  }
}

/** What is still to come is not read: the connection cannot be used again. */
function closeAfter({ request, response }: Exchange): void {
  if (request.httpVersionMajor < 2 && !request.complete && !response.headersSent)
    response.setHeader('connection', 'close');
}
