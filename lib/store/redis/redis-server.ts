import { createClient, RESP_TYPES } from '@redis/client';
import { StatorError } from '#lib/errors/errors.ts';
import type { RedisScript } from './scripts.ts';

const connectTimeoutMs = 5000;
/** A connection that says nothing to this is given up, and what waits for it fails. */
const pingMs = 2000;
const silenceMs = 10_000;
const longestBackoffMs = 1000;
/** Calls that may wait for an answer; far more than gateways make at once. */
const mostCalls = 10_000;

type Argument = string | Uint8Array;

/** A server that speaks the protocol of Redis: Redis, Valkey and others, from Redis 6 on. No cluster. */
export interface RedisServer {
  /** Strings come as bytes. Throws StatorError `storage_unavailable`. */
  send(command: readonly Argument[]): Promise<unknown>;
  run(script: RedisScript, values: readonly Argument[]): Promise<unknown>;
  close(): Promise<void>;
}

/** Connects; a connection that breaks later is made again, and calls fail at once until then. Throws like `send`. */
export async function openRedis(url: string, onBroken: (error: Error) => void): Promise<RedisServer> {
  if (!URL.canParse(url))
    throw StatorError.invalid('store', 'store redis: is no URL: use redis://USER:PASSWORD@HOST/0');
  let opened = false;
  const backoff = (retries: number, cause: Error): number | Error =>
    opened ? Math.min(longestBackoffMs, 20 * 2 ** Math.min(retries, 10)) : cause;
  const client = createClient({
    url,
    name: 'stator',
    socket: { connectTimeout: connectTimeoutMs, socketTimeout: silenceMs, reconnectStrategy: backoff },
    pingInterval: pingMs,
    disableOfflineQueue: true,
    commandsQueueMaxLength: mostCalls,
    maintNotifications: 'disabled',
    commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
  });
  client.on('error', (error: Error) => {
    if (opened) onBroken(error);
  });
  const send = async (command: readonly Argument[]): Promise<unknown> => {
    try {
      return await client.sendCommand(command.map(bufferOf));
    } catch (thrown) {
      throw failed(thrown);
    }
  };
  try {
    await client.connect();
    opened = true;
  } catch (thrown) {
    client.destroy();
    throw failed(thrown);
  }
  return {
    send,
    run: async (script, values) => {
      const rest = ['0', ...values];
      try {
        return await send(['EVALSHA', script.sha1, ...rest]);
      } catch (thrown) {
        if (!String(thrown).includes('NOSCRIPT')) throw thrown;
        return send(['EVAL', script.source, ...rest]);
      }
    },
    close: async () => {
      if (client.isReady) await client.close();
      else if (client.isOpen) client.destroy();
    },
  };
}

function bufferOf(argument: Argument): string | Buffer {
  if (typeof argument === 'string') return argument;
  return Buffer.from(argument.buffer, argument.byteOffset, argument.byteLength);
}

function failed(thrown: unknown): StatorError {
  const { message } = thrown as Error;
  return new StatorError('storage_unavailable', `The store cannot be used: ${message}`, {
    cause: thrown,
    retryAfterMs: 1000,
  });
}
