import type { LookupFunction } from 'node:net';
import { buildConnector, Client, type Dispatcher } from 'undici';
import type { AddressRules } from './addresses.ts';
import type { ResolvedAddress } from './resolve.ts';

const maxHeaderBytes = 16 * 1024;
const connectTimeoutMs = 10_000;

export interface HopOptions {
  readonly addresses: readonly ResolvedAddress[];
  readonly rules: AddressRules;
  readonly accept: string;
  readonly userAgent: string;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Authorities instead of the system's. */
  readonly ca: string | Buffer | undefined;
}

/** One answer, and what ends its connection. */
export interface Hop {
  readonly answer: Dispatcher.ResponseData;
  close(): void;
}

/**
 * Asks one URL over a connection of its own, which goes to one of the addresses that were checked and nowhere else:
 * nothing is looked up again, no proxy and no pool lies between. The headers are the same for every URL, so that
 * nothing of the caller's, of an earlier hop's or of ours can travel along.
 */
export async function requestOnce(url: URL, options: HopOptions): Promise<Hop> {
  const { rules, signal, timeoutMs, ca } = options;
  const connect = buildConnector({
    timeout: Math.min(connectTimeoutMs, timeoutMs),
    allowH2: false,
    maxCachedSessions: 0,
    lookup: pinned(options.addresses),
    ...(ca !== undefined && { ca }),
  });
  const client = new Client(url.origin, {
    pipelining: 0,
    allowH2: false,
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    // Should the address differ after all, whatever the reason, nothing is asked of it.
    connect: (target, callback) =>
      connect(target, (...result) => {
        const [error, socket] = result;
        if (error !== null || rules.allows(socket.remoteAddress ?? '')) return callback(...result);
        socket.destroy();
        callback(new Error('connected to an address that was not checked'), null);
      }),
  });
  const close = (): void => void client.destroy().catch(() => {});
  try {
    const answer = await client.request({
      method: 'GET',
      path: `${url.pathname}${url.search}`,
      headers: { accept: options.accept, 'accept-encoding': 'gzip, deflate, br', 'user-agent': options.userAgent },
      signal,
    });
    return { answer, close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/** Answers every lookup with the addresses that are known already. */
function pinned(addresses: readonly ResolvedAddress[]): LookupFunction {
  return (_host, options, callback) => {
    const [first] = addresses;
    if (options.all === true) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family ?? 4);
  };
}
