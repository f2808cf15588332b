import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { ToolEvent } from '../request-trace/records.ts';
import { decodeToolEvent } from './decode.ts';

export interface ToolFeedOptions {
  /** ZeroMQ address to open. */
  readonly endpoint: string;
  readonly topic: string;
  readonly onEvent: (event: ToolEvent) => void;
  /** A message that is none of a tool. */
  readonly onGarbled: () => void;
  readonly log: Logger;
}

/** A socket to which the harnesses of agents push what their tools do. */
export interface ToolFeed {
  readonly endpoint: string;
  close(): void;
}

const mostMessageBytes = 64 * 1024;
const mostWaiting = 1024;

/** Opens it. Throws `invalid_argument` for an address that cannot be used. */
export async function openToolFeed(o: ToolFeedOptions): Promise<ToolFeed> {
  if (!isLocal(o.endpoint)) {
    const message = `The address ${o.endpoint} for events of tools must be on this machine: nobody says there who they are.`;
    throw StatorError.invalid('toolEventsEndpoint', message);
  }
  // Most gateways need no ZeroMQ, so they do not load it.
  const { Pull } = await import('zeromq');
  const socket = new Pull({ receiveHighWaterMark: mostWaiting, maxMessageSize: mostMessageBytes, linger: 0 });
  try {
    await socket.bind(o.endpoint);
  } catch (cause) {
    socket.close();
    const message = `The address ${o.endpoint} for events of tools cannot be opened: ${String(cause)}`;
    throw StatorError.invalid('toolEventsEndpoint', message, { cause });
  }
  void receive(socket, o);
  return { endpoint: socket.lastEndpoint ?? o.endpoint, close: () => socket.close() };
}

function isLocal(endpoint: string): boolean {
  return /^(ipc:\/\/.+|tcp:\/\/(127(\.\d{1,3}){3}|localhost|\[::1\]):(\d+|\*))$/.test(endpoint);
}

/** Messages are [topic, number in eight bytes, MessagePack]. */
async function receive(socket: AsyncIterable<readonly Uint8Array[]>, o: ToolFeedOptions): Promise<void> {
  try {
    for await (const frames of socket) {
      const [topic, sequence, payload] = frames;
      if (topic !== undefined && Buffer.from(topic).toString('utf8') !== o.topic) continue;
      try {
        if (frames.length !== 3 || sequence?.length !== 8 || payload === undefined)
          throw new Error('a message has a topic, a number and an event');
        o.onEvent(decodeToolEvent(payload));
      } catch (thrown) {
        o.onGarbled();
        o.log.debug({ err: thrown }, 'an event of a tool cannot be read');
      }
    }
  } catch {
    // The socket was closed.
  }
}
