import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd3 } from 'etcd3';
import { findEtcd } from './etcd-binary.ts';

const START_TIMEOUT_MS = 20_000;

/** A real etcd of one member on free loopback ports, with the faults that tests need. */
export interface EtcdServer {
  /** For example `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  /** For example `etcd:http://127.0.0.1:41234`. */
  readonly discoveryUrl: string;
  /** A client of its own, for looking and for doing what operators do. */
  readonly client: Etcd3;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  freeze(): void;
  /** SIGCONT after `freeze`. */
  thaw(): void;
  /** Starts it again after `kill`, on the same ports and data. */
  restart(): Promise<void>;
  /** Removes all history before the current revision. */
  compact(): Promise<void>;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
}

/** Starts an etcd; null when the machine has none (`node scripts/run.cjs scripts/etcd.ts` obtains one). */
export async function startEtcd(): Promise<EtcdServer | null> {
  const binary = await findEtcd();
  if (binary === undefined) return null;
  const flags = await supportedFlags(binary);
  const directory = await mkdtemp(path.join(tmpdir(), 'stator-etcd-'));
  const server = new LocalEtcd(binary, flags, directory, await freePorts(2));
  try {
    await server.restart();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

class LocalEtcd implements EtcdServer {
  readonly endpoint: string;
  readonly discoveryUrl: string;
  readonly #binary: string;
  readonly #arguments: readonly string[];
  readonly #directory: string;
  #client: Etcd3;
  #process: ChildProcess | undefined;
  #output = '';

  constructor(binary: string, flags: readonly string[], directory: string, ports: readonly number[]) {
    const [clientUrl, peerUrl] = ports.map((port) => `http://127.0.0.1:${port}`);
    this.endpoint = clientUrl ?? '';
    this.discoveryUrl = `etcd:${this.endpoint}`;
    this.#binary = binary;
    this.#directory = directory;
    this.#client = new Etcd3({ hosts: this.endpoint });
    this.#arguments = [
      `--data-dir=${path.join(directory, 'data')}`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      ...flags,
    ];
  }

  get client(): Etcd3 {
    return this.#client;
  }

  async restart(): Promise<void> {
    this.#output = '';
    const child = spawn(this.#binary, this.#arguments, { stdio: ['ignore', 'pipe', 'pipe'], cwd: this.#directory });
    child.on('error', (error) => this.#collect(String(error)));
    child.stdout.on('data', (chunk) => this.#collect(String(chunk)));
    child.stderr.on('data', (chunk) => this.#collect(String(chunk)));
    this.#process = child;
    // A new client: the old one's circuit breaker and backoff would add to the outage.
    this.#client.close();
    this.#client = new Etcd3({ hosts: this.endpoint });
    await this.#answers(child);
  }

  async #answers(child: ChildProcess): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (performance.now() < deadline && child.exitCode === null && child.pid !== undefined) {
      const healthy = await fetch(`${this.endpoint}/health`, { signal: AbortSignal.timeout(1000) }).then(
        async (response) => response.ok && (await response.text()).includes('true'),
        () => false,
      );
      if (healthy) return;
      await sleep(25);
    }
    throw new Error(`etcd did not start:\n${this.#output.slice(-4000)}`);
  }

  #collect(text: string): void {
    this.#output = (this.#output + text).slice(-64 * 1024);
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  async compact(): Promise<void> {
    const { header } = await this.#client.kv.range({ key: Buffer.from('/'), count_only: true });
    await this.#client.kv.compact({ revision: header.revision, physical: true });
  }

  async stop(): Promise<void> {
    this.#client.close();
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Data that a test writes need not survive a power cut; older releases do not know the flag. */
async function supportedFlags(binary: string): Promise<string[]> {
  const child = spawn(binary, ['--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let help = '';
  child.stdout.on('data', (chunk) => {
    help += chunk;
  });
  child.stderr.on('data', (chunk) => {
    help += chunk;
  });
  await once(child, 'close');
  return help.includes('unsafe-no-fsync') ? ['--unsafe-no-fsync'] : [];
}

/** Free loopback ports, all different because all are held until the last is known. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  try {
    return await Promise.all(
      servers.map(async (server) => {
        server.listen(0, '127.0.0.1');
        await once(server, 'listening');
        const address = server.address();
        if (address === null || typeof address === 'string') throw new Error('no port');
        return address.port;
      }),
    );
  } finally {
    for (const server of servers) server.close();
  }
}
