import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { decodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { RegionRef, TransferBackend } from '#lib/transfer/transfer.ts';
import type { Answer, Ask } from './protocol.ts';

const FIXTURE = path.join(import.meta.dirname, 'peer.fixture.ts');

/** A process of its own that lends memory. */
export class PeerProcess {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.child = child;
    this.#lines = lines;
  }

  static async start(backend: TransferBackend, bytes: number, secret = ''): Promise<PeerProcess> {
    const args = ['--conditions=source', '--no-warnings', FIXTURE, backend, String(bytes), secret];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done || first.value !== 'ready') throw new Error(`The peer process of ${backend} did not start.`);
    return new PeerProcess(child, lines);
  }

  async ask(ask: Ask): Promise<Answer> {
    this.child.stdin?.write(`${JSON.stringify(ask)}\n`);
    const line = await this.#lines.next();
    if (line.done) throw new Error('The peer process ended.');
    const answer = JSON.parse(line.value) as Answer;
    if (answer.failure !== undefined) throw new Error(answer.failure);
    return answer;
  }

  async offer(): Promise<{ metadata: Uint8Array; region: RegionRef }> {
    const { metadata = '', descriptors = '' } = await this.ask({ op: 'offer' });
    const [piece] = decodeDescriptors(Buffer.from(descriptors, 'base64'));
    if (piece === undefined) throw new Error('The peer offers nothing.');
    return { metadata: Buffer.from(metadata, 'base64'), region: piece.region };
  }

  stop(): void {
    this.child.kill('SIGSTOP');
  }

  resume(): void {
    this.child.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}
