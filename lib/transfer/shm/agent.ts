import { randomBytes, timingSafeEqual } from 'node:crypto';
import { StatorError } from '#lib/errors/errors.ts';
import { type Attempt, Ledger } from '../ledger.ts';
import { endpointField, openMetadata, sealMetadata } from '../metadata.ts';
import { RegionTable, revoked, SLOTS, slotOf } from '../regions.ts';
import { startTcpAgent, type TcpAgent } from '../tcp/agent.ts';
import {
  type AgentOptions,
  defaultTimeoutMs,
  type Peer,
  type Piece,
  type Region,
  type TransferAgent,
  type TransferBackend,
  type TransferCounters,
  type TransferOptions,
} from '../transfer.ts';
import { ControlFile, checkControlFile } from './control-file.ts';
import type { HostMemory, Lender } from './host-memory.ts';

const PROBE_BYTES = 32;
const PIECE_WORDS = 6;
/** Up to here a copy is done at once, sooner than another thread would begin. */
const AT_ONCE_BYTES = 1 << 20;
/** One core seldom copies as fast as memory is. */
const THREADS = 2;
/** Slot and id of the region that every agent lends: random bytes that prove whose memory is read. */
const PROBE_SLOT = 0;
const PROBE_ID = SLOTS;

/**
 * Copies between processes of one host and user, straight out of the peer's memory: one copy, and none of the peer's time.
 * Notifications go over a socket.
 */
export class ShmAgent implements TransferAgent {
  readonly backend: TransferBackend = 'shm';
  readonly name: string;
  readonly #options: AgentOptions;
  readonly #memory: HostMemory;
  readonly #control: ControlFile;
  readonly #messages: TcpAgent;
  readonly #table: RegionTable;
  readonly #ledger: Ledger;
  readonly #probe = randomBytes(PROBE_BYTES);

  /** Use `startShmAgent`. */
  constructor(options: AgentOptions, memory: HostMemory, control: ControlFile, messages: TcpAgent) {
    this.name = options.name;
    this.#options = options;
    this.#memory = memory;
    this.#control = control;
    this.#messages = messages;
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#table = new RegionTable(options.maxRegions ?? SLOTS - 1, ({ ref }) =>
      control.takeBack(slotOf(ref.id), timeoutMs),
    );
    this.#ledger = new Ledger(this.#table, options, 'shm');
    control.lend(PROBE_SLOT, PROBE_ID, this.#probe);
  }

  async register(buffer: Uint8Array): Promise<Region> {
    const region = this.#table.add(buffer, 0n);
    this.#control.lend(slotOf(region.ref.id), region.ref.id, buffer);
    return region;
  }

  async metadata(): Promise<Uint8Array> {
    const endpoint = {
      control: this.#control.path,
      probe: this.#probe.toString('base64'),
      messages: Buffer.from(await this.#messages.metadata()).toString('base64'),
    };
    return sealMetadata({ backend: 'shm', agent: this.name, endpoint }, this.#options.secret);
  }

  async connect(bytes: Uint8Array, options: Omit<TransferOptions, 'notification'> = {}): Promise<Peer> {
    const metadata = openMetadata(bytes, { backend: 'shm', secret: this.#options.secret });
    const control = endpointField(metadata, 'control');
    checkControlFile(control, this.#memory);
    const lender = this.#memory.openLender(control);
    if (lender === null) throw new StatorError('worker_unavailable', 'The peer is gone.');
    try {
      await this.#ledger.attempt(options, (attempt) => this.#prove(lender, endpointField(metadata, 'probe'), attempt));
      const endpoint = Buffer.from(endpointField(metadata, 'messages'), 'base64');
      const messages = await this.#messages.connect(endpoint, options);
      return new ShmPeer(metadata.agent, lender, messages, this.#memory, this.#ledger);
    } catch (error) {
      this.#memory.closeLender(lender);
      throw error;
    }
  }

  counters(): TransferCounters {
    return this.#ledger.counters(this.#messages.counters().peers);
  }

  /** A transfer that has settled touches nothing. */
  async quiet(): Promise<void> {}

  async close(): Promise<void> {
    await this.#ledger.close();
    await this.#table.revokeAll();
    await this.#messages.close();
    this.#control.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Reads what only the right process holds: numbers of processes mean others in other namespaces. */
  async #prove(lender: Lender, expected: string, attempt: Attempt): Promise<void> {
    const found = Buffer.alloc(PROBE_BYTES);
    const words = Float64Array.of(PROBE_SLOT, PROBE_ID, 0, 0, 0, PROBE_BYTES);
    await copy(this.#memory, lender, false, { buffers: [found], words }, attempt);
    const wanted = Buffer.from(expected, 'base64');
    if (wanted.length !== PROBE_BYTES || !timingSafeEqual(found, wanted))
      throw StatorError.unsupported(
        'agent_metadata',
        "The peer's memory cannot be reached: another namespace or host.",
      );
  }
}

class ShmPeer implements Peer {
  readonly backend: TransferBackend = 'shm';
  readonly name: string;
  readonly #lender: Lender;
  readonly #messages: Peer;
  readonly #memory: HostMemory;
  readonly #ledger: Ledger;
  readonly #closed = new AbortController();

  constructor(name: string, lender: Lender, messages: Peer, memory: HostMemory, ledger: Ledger) {
    this.name = name;
    this.#lender = lender;
    this.#messages = messages;
    this.#memory = memory;
    this.#ledger = ledger;
  }

  pull(pieces: readonly Piece[], options: TransferOptions = {}): Promise<void> {
    return this.#transfer(pieces, options, false);
  }

  push(pieces: readonly Piece[], options: TransferOptions = {}): Promise<void> {
    return this.#transfer(pieces, options, true);
  }

  notify(message: Uint8Array, options: Omit<TransferOptions, 'notification'> = {}): Promise<void> {
    return this.#messages.notify(message, options);
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#memory.closeLender(this.#lender);
    await this.#messages.close();
  }

  #transfer(pieces: readonly Piece[], options: TransferOptions, write: boolean): Promise<void> {
    const own = this.#closed.signal;
    const direction = write ? 'push' : 'pull';
    if (options.notification === undefined && isAtOnce(pieces) && !own.aborted)
      return this.#ledger.atOnce(direction, pieces, options, (timeoutMs) => {
        const { buffers, words } = listOf(pieces);
        const problem = this.#memory.copy(this.#lender, write, timeoutMs, buffers, words, 1);
        if (typeof problem !== 'string') throw new StatorError('internal', 'The addon did not copy at once.');
        check(problem);
      });
    const signal = options.signal === undefined ? own : AbortSignal.any([own, options.signal]);
    return this.#ledger.transfer(direction, pieces, { ...options, signal }, async (attempt) => {
      await copy(this.#memory, this.#lender, write, listOf(pieces), attempt);
      if (options.notification === undefined) return;
      const timeoutMs = Math.max(0, attempt.deadlineMs - Date.now());
      await this.#messages.notify(options.notification, { timeoutMs, signal });
    });
  }
}

/** Pieces as the addon takes them. */
interface CopyList {
  readonly buffers: readonly Uint8Array[];
  readonly words: Float64Array;
}

function listOf(pieces: readonly Piece[]): CopyList {
  const words = new Float64Array(pieces.length * PIECE_WORDS);
  const buffers: Uint8Array[] = [];
  const places = new Map<Region, number>();
  let at = 0;
  for (const { local, localOffset, remote, remoteOffset, bytes } of pieces) {
    let place = places.get(local);
    if (place === undefined) {
      place = buffers.push(local.buffer) - 1;
      places.set(local, place);
    }
    words[at] = slotOf(remote.id);
    words[at + 1] = remote.id;
    words[at + 2] = place;
    words[at + 3] = localOffset;
    words[at + 4] = remoteOffset;
    words[at + 5] = bytes;
    at += PIECE_WORDS;
  }
  return { buffers, words };
}

function isAtOnce(pieces: readonly Piece[]): boolean {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.bytes;
  return bytes <= AT_ONCE_BYTES;
}

/** Returns only when nothing touches the memory any more, also when it was cancelled. */
async function copy(
  memory: HostMemory,
  lender: Lender,
  write: boolean,
  { buffers, words }: CopyList,
  attempt: Attempt,
) {
  const timeoutMs = Math.max(0, attempt.deadlineMs - Date.now());
  const running = memory.copy(lender, write, timeoutMs, buffers, words, THREADS);
  if (typeof running === 'string') return check(running);
  attempt.signal.addEventListener('abort', running.cancel, { once: true });
  const problem = await running.done;
  attempt.signal.removeEventListener('abort', running.cancel);
  if (problem === 'canceled') throw attempt.signal.reason;
  check(problem);
}

/** Throws what the addon found wrong. */
function check(problem: string): void {
  if (problem === '') return;
  if (problem === 'late') throw new StatorError('deadline_exceeded', 'The copy was not done in time.');
  if (problem === 'revoked' || problem === 'outside') throw revoked();
  if (problem === 'gone') throw new StatorError('worker_unavailable', 'The peer is gone.');
  if (problem === 'denied')
    throw new StatorError('permission_denied', 'The system does not let this process read its peer (ptrace scope).');
  throw new StatorError('internal', `The system refused the copy: ${problem}.`);
}

/** Throws where the folder /dev/shm cannot be written to. */
export async function startShmAgent(options: AgentOptions, memory: HostMemory): Promise<ShmAgent> {
  const control = new ControlFile(memory);
  try {
    const messages = await startTcpAgent({ ...options, path: control.socketPath });
    return new ShmAgent(options, memory, control, messages);
  } catch (error) {
    control.close();
    throw error;
  }
}
