import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { MissingTool } from '#bench/report.ts';

export type RawWay = 'memcpy' | 'readv' | 'socket';

interface RawMove {
  readonly pieceBytes: number;
  readonly pieces: number;
  readonly times: number;
  /** `readv` takes every so many-th piece. */
  readonly stride: number;
}

/** A process without Stator or Node that moves as many bytes the shortest way that the system has: what we compare with. */
export class RawMover {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }

  /** `readv` reads from this address of a process. Throws MissingTool without a C++ compiler. */
  static async start(from: {
    readonly pid: number;
    readonly address: bigint;
    readonly bytes: number;
  }): Promise<RawMover> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-bench-'));
    const program = path.join(folder, 'raw');
    try {
      const source = path.join(import.meta.dirname, 'raw.cc');
      await promisify(execFile)('c++', ['-std=c++20', '-O2', '-o', program, source]).catch((error: Error) => {
        throw new MissingTool(
          `This benchmark compares with a small C++ program, which cannot be built: ${error.message}`,
        );
      });
      const args = [String(from.pid), String(from.address), String(from.bytes)];
      const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const mover = new RawMover(child, lines);
      await mover.move('memcpy', { pieceBytes: 4096, pieces: 1, times: 1, stride: 1 });
      return mover;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** GB/s of so many goes, after one that is not counted. */
  async move(way: RawWay, { pieceBytes, pieces, times, stride }: RawMove): Promise<number> {
    this.#child.stdin?.write(`${way} ${pieceBytes} ${pieces} ${times} ${stride}\n`);
    const { value, done } = await this.#lines.next();
    const speed = Number(value);
    if (done || !(speed > 0)) throw new Error(`The system does not let ${way} work here.`);
    return speed;
  }

  close(): void {
    this.#child.stdin?.end();
    this.#child.kill();
  }
}
