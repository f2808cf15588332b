import type { Dispatcher } from 'undici';
import { inflated, isEncoding } from '#lib/compression/inflate.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Limiter } from '#lib/objectstore/limiter.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { fetchFailure } from './failure.ts';
import { type Hop, requestOnce } from './hop.ts';
import { type FetchMetrics, fetchMetrics } from './metrics.ts';
import { type NameResolver, openResolver, resolveChecked } from './resolve.ts';
import { hostOf, type UrlPolicy, UrlRules } from './url-rules.ts';

export interface FetchLimits {
  /** Most bytes of one answer, as sent and inflated. */
  readonly maxBytes: number;
  /** Milliseconds for the whole fetch: names, redirects, body. */
  readonly timeoutMs: number;
  readonly maxRedirects: number;
  /** Fetches at once, and fetches that wait for their turn; more are refused. */
  readonly maxRunning: number;
  readonly maxWaiting: number;
}

export interface FetcherOptions {
  readonly policy: UrlPolicy;
  readonly limits: FetchLimits;
  readonly telemetry: Pick<Telemetry, 'metrics' | 'log'>;
  readonly userAgent: string;
  /** Who is asked for addresses; default: the system's name servers. */
  readonly resolver?: NameResolver;
  /** Authorities, PEM, instead of the system's. */
  readonly ca?: string | Buffer;
}

/** What is wanted of a URL. */
export interface FetchWish {
  readonly url: string;
  /** The caller's name of it, for errors. */
  readonly field: string;
  /** Media types that are taken, whole or up to the slash: `image/`. */
  readonly types: readonly string[];
  readonly signal: AbortSignal;
}

export interface Fetched {
  readonly bytes: Buffer;
  /** Media type as the host says, in lower case, without parameters. */
  readonly type: string;
}

const redirects = new Set([301, 302, 303, 307, 308]);

/**
 * Fetches what strangers name, so that they reach nothing that they could not reach without us. Every hop's URL is checked,
 * its host resolved once, and the connection made to the checked address. docs/security.md tells the attacks.
 */
export class Fetcher {
  readonly #options: FetcherOptions;
  readonly #rules: UrlRules;
  readonly #resolver: NameResolver;
  readonly #limiter: Limiter;
  readonly #metrics: FetchMetrics;

  /** Throws `invalid_argument` for a policy that cannot be read. */
  constructor(options: FetcherOptions) {
    this.#options = options;
    this.#rules = new UrlRules(options.policy);
    this.#resolver = options.resolver ?? openResolver();
    this.#limiter = new Limiter(options.limits.maxRunning, options.limits.maxWaiting, 'media');
    this.#metrics = fetchMetrics(options.telemetry.metrics);
  }

  /**
   * What lies at the URL. Throws StatorError: `invalid_argument` with the field and a `reason` where the URL or what lies
   * there is at fault, `overloaded` where too many wait, and the signal's reason when it aborts.
   */
  async fetch(wish: FetchWish): Promise<Fetched> {
    const { limits, telemetry } = this.#options;
    const deadline = AbortSignal.timeout(limits.timeoutMs);
    const signal = AbortSignal.any([wish.signal, deadline]);
    let host = '';
    try {
      const url = this.#rules.check(wish.url, wish.field);
      host = hostOf(url);
      const fetched = await this.#inTurn(signal, () => this.#follow(url, wish, signal));
      this.#metrics.fetches.inc({ outcome: 'ok' });
      this.#metrics.bytes.inc(fetched.bytes.length);
      return fetched;
    } catch (thrown) {
      const error = wish.signal.aborted
        ? StatorError.from(wish.signal.reason)
        : deadline.aborted
          ? fetchFailure('timeout', wish.field, `took longer than ${limits.timeoutMs} ms to fetch`)
          : failureOf(thrown, wish.field);
      const outcome = String(error.facts?.['reason'] ?? error.code);
      this.#metrics.fetches.inc({ outcome });
      // The path and the query may be secrets of the caller's.
      telemetry.log.debug({ host, outcome, err: error }, 'media were not fetched');
      throw error;
    }
  }

  async #inTurn<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    const limiter = this.#limiter;
    const show = (): void => {
      this.#metrics.running.set(limiter.inside);
      this.#metrics.waiting.set(limiter.waiting);
    };
    const entering = limiter.enter(signal);
    show();
    await entering;
    const end = this.#metrics.seconds.startTimer();
    show();
    try {
      return await run();
    } finally {
      end();
      limiter.leave();
      show();
    }
  }

  async #follow(first: URL, wish: FetchWish, signal: AbortSignal): Promise<Fetched> {
    const { maxRedirects } = this.#options.limits;
    let url = first;
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const { answer, close } = await this.#request(url, wish, signal);
      try {
        if (!redirects.has(answer.statusCode)) return await this.#read(answer, wish);
        url = this.#next(url, headerOf(answer, 'location'), wish.field);
      } finally {
        close();
      }
    }
    throw fetchFailure('redirects', wish.field, `leads on more than ${maxRedirects} times`);
  }

  async #request(url: URL, { field, types }: FetchWish, signal: AbortSignal): Promise<Hop> {
    const { limits, userAgent, ca } = this.#options;
    const rules = this.#rules.addresses;
    const resolving = resolveChecked(hostOf(url), { resolver: this.#resolver, rules, field });
    const addresses = await orAborted(resolving, signal);
    const accept = types.map((type) => (type.endsWith('/') ? `${type}*` : type)).join(', ');
    return requestOnce(url, { addresses, rules, accept, userAgent, signal, timeoutMs: limits.timeoutMs, ca });
  }

  #next(from: URL, location: string, field: string): URL {
    if (location === '') throw fetchFailure('redirects', field, 'leads on to nowhere');
    const url = this.#rules.check(location, field, from);
    if (from.protocol === 'https:' && url.protocol !== 'https:')
      throw fetchFailure('redirects', field, 'leads from https to clear text');
    return url;
  }

  async #read(answer: Dispatcher.ResponseData, { field, types }: FetchWish): Promise<Fetched> {
    const { maxBytes } = this.#options.limits;
    if (answer.statusCode !== 200)
      throw fetchFailure('status', field, `could not be fetched: its host answered ${answer.statusCode}`);
    const type = (headerOf(answer, 'content-type').split(';', 1)[0] ?? '').trim().toLowerCase();
    if (!types.some((wanted) => (wanted.endsWith('/') ? type.startsWith(wanted) : type === wanted)))
      throw fetchFailure('content_type', field, `is of a type that is not taken here: ${show(type)}`);
    const tooLarge = (): StatorError => fetchFailure('too_large', field, `has more than ${maxBytes} bytes`);
    if (Number(headerOf(answer, 'content-length') || 0) > maxBytes) throw tooLarge();
    const encoding = headerOf(answer, 'content-encoding').trim().toLowerCase();
    const sent = bounded(answer.body, maxBytes, tooLarge);
    const content =
      encoding === '' || encoding === 'identity' ? sent : bounded(undo(sent, encoding, field), maxBytes, tooLarge);
    const chunks: Buffer[] = [];
    for await (const chunk of content) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    if (bytes.length === 0) throw fetchFailure('damaged', field, 'is empty');
    return { bytes, type };
  }
}

function undo(sent: AsyncIterable<Buffer>, encoding: string, field: string): AsyncIterable<Buffer> {
  if (!isEncoding(encoding)) throw fetchFailure('damaged', field, 'is packed in a way that is not known here');
  return inflated(sent, encoding);
}

async function* bounded(source: AsyncIterable<Buffer>, most: number, tooLarge: () => Error): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > most) throw tooLarge();
    yield chunk;
  }
}

/** A resolver cannot be interrupted; it is not waited for. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  promise.catch(() => {});
  aborted.catch(() => {});
  return Promise.race([promise, aborted]);
}

function headerOf({ headers }: Dispatcher.ResponseData, name: string): string {
  const value = headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? '';
}

function failureOf(thrown: unknown, field: string): StatorError {
  if (thrown instanceof StatorError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  if (
    code.startsWith('Z_') ||
    code.startsWith('ERR_BROTLI') ||
    code.startsWith('ERR__ERROR') ||
    code.startsWith('ZSTD_')
  )
    return fetchFailure('damaged', field, 'is damaged: it cannot be unpacked', thrown);
  return fetchFailure('unreachable', field, 'could not be fetched', thrown);
}

function show(type: string): string {
  return type === '' ? 'none is given' : JSON.stringify(type.slice(0, 100));
}
