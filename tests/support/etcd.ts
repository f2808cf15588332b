import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd3 } from 'etcd3';
import { freePort } from '#cli/free-port.test-support.ts';
import { findEtcd } from './etcd-binary.ts';

const START_TIMEOUT_MS = 20_000;

/** A real etcd of one member on free loopback ports, with the faults that tests need. */
export interface EtcdServer {
  /** For example `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  /** For example `etcd:http://127.0.0.1:41234`. */
  readonly discoveryUrl: string;
  /** Certificate that signs its own with `autoTls`; undefined without TLS. */
  readonly caFile: string | undefined;
  /** A client of its own, for looking and for doing what operators do. */
  readonly client: Etcd3;
  /** Whether its process lives, frozen or not. */
  readonly running: boolean;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  freeze(): void;
  /** SIGCONT after `freeze`. */
  thaw(): void;
  /** Starts it again on the same ports and data; kills it before when it runs. */
  restart(): Promise<void>;
  /** Kills it and removes its data; `restart` then starts an empty one. */
  wipe(): Promise<void>;
  /** Removes all history before the current revision. */
  compact(): Promise<void>;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
}

export interface EtcdServerOptions {
  /** TLS with a certificate that etcd makes for itself. */
  readonly autoTls?: boolean;
  /** Further command line arguments. */
  readonly flags?: readonly string[];
}

/** Starts an etcd; null when the machine has none (`node scripts/run.cjs scripts/etcd.ts` obtains one). */
export async function startEtcd(o: EtcdServerOptions = {}): Promise<EtcdServer | null> {
  const members = await startMembers(1, o);
  return members?.[0] ?? null;
}

/** Starts a cluster of several members; null when the machine has no etcd. */
export async function startEtcdCluster(size: number): Promise<readonly EtcdServer[] | null> {
  return startMembers(size, {});
}

async function startMembers(size: number, o: EtcdServerOptions): Promise<EtcdServer[] | null> {
  const binary = await findEtcd();
  if (binary === undefined) return null;
  const flags = [...(await supportedFlags(binary)), ...(o.flags ?? []), ...(o.autoTls === true ? ['--auto-tls'] : [])];
  for (let attempt = 1; ; attempt += 1) {
    const members = await planMembers(size, { binary, flags, tls: o.autoTls === true });
    const started = await Promise.allSettled(members.map((member) => member.restart()));
    const failure = started.find((outcome) => outcome.status === 'rejected');
    if (failure === undefined) return members;
    await Promise.all(members.map((member) => member.stop()));
    // Somebody may have taken a port between our look and etcd's.
    if (attempt === 3) throw failure.reason;
  }
}

interface MemberOptions {
  readonly binary: string;
  readonly flags: readonly string[];
  readonly tls: boolean;
}

async function planMembers(size: number, o: MemberOptions): Promise<LocalEtcd[]> {
  const ports = await Promise.all(Array.from({ length: 2 * size }, freePort));
  const peers = ports.slice(size).map((port) => `http://127.0.0.1:${port}`);
  const cluster = peers.map((peer, index) => `m${index}=${peer}`).join(',');
  return Promise.all(
    peers.map(async (peerUrl, index) => {
      const clientUrl = `${o.tls ? 'https' : 'http'}://127.0.0.1:${ports[index]}`;
      const directory = await mkdtemp(path.join(tmpdir(), 'stator-etcd-'));
      return new LocalEtcd(directory, { ...o, name: `m${index}`, clientUrl, peerUrl, cluster });
    }),
  );
}

interface LocalEtcdOptions extends MemberOptions {
  readonly name: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly cluster: string;
}

class LocalEtcd implements EtcdServer {
  readonly endpoint: string;
  readonly discoveryUrl: string;
  readonly caFile: string | undefined;
  readonly #binary: string;
  readonly #arguments: readonly string[];
  readonly #directory: string;
  #client: Etcd3 | undefined;
  #process: ChildProcess | undefined;
  #output = '';

  constructor(directory: string, o: LocalEtcdOptions) {
    this.endpoint = o.clientUrl;
    this.discoveryUrl = `etcd:${this.endpoint}`;
    this.#binary = o.binary;
    this.#directory = directory;
    this.caFile = o.tls ? path.join(directory, 'data', 'fixtures', 'client', 'cert.pem') : undefined;
    this.#arguments = [
      `--name=${o.name}`,
      `--data-dir=${path.join(directory, 'data')}`,
      `--listen-client-urls=${o.clientUrl}`,
      `--advertise-client-urls=${o.clientUrl}`,
      `--listen-peer-urls=${o.peerUrl}`,
      `--initial-advertise-peer-urls=${o.peerUrl}`,
      `--initial-cluster=${o.cluster}`,
      ...o.flags,
    ];
  }

  get client(): Etcd3 {
    if (this.#client === undefined) throw new Error('etcd is not started');
    return this.#client;
  }

  get running(): boolean {
    const child = this.#process;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  async restart(): Promise<void> {
    await this.kill();
    this.#output = '';
    const child = spawn(this.#binary, this.#arguments, { stdio: ['ignore', 'pipe', 'pipe'], cwd: this.#directory });
    if (child.pid !== undefined) killWithUs(child, child.pid);
    child.on('error', (error) => this.#collect(String(error)));
    child.stdout.on('data', (chunk) => this.#collect(String(chunk)));
    child.stderr.on('data', (chunk) => this.#collect(String(chunk)));
    this.#process = child;
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (performance.now() < deadline && this.running && child.pid !== undefined) {
      // A new client each time: an old one's circuit breaker and backoff would add to the outage.
      await this.#connect();
      if (await this.#answers()) return;
      await sleep(25);
    }
    throw new Error(`etcd did not start:\n${this.#output.slice(-4000)}`);
  }

  async #connect(): Promise<void> {
    this.#client?.close();
    const certificate =
      this.caFile === undefined ? undefined : await readFile(this.caFile).catch(() => Buffer.alloc(0));
    this.#client = new Etcd3({
      hosts: this.endpoint,
      ...(certificate === undefined ? {} : { credentials: { rootCertificate: certificate } }),
    });
  }

  /** A read through the quorum; being asked for a user is an answer too. */
  async #answers(): Promise<boolean> {
    try {
      await this.client.kv.range({ key: Buffer.from('/') }, { deadline: Date.now() + 1000 });
      return true;
    } catch (error) {
      return error instanceof Error && error.message.includes('user name is empty');
    }
  }

  #collect(text: string): void {
    this.#output = (this.#output + text).slice(-64 * 1024);
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child?.pid === undefined || !this.running) return;
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

  async wipe(): Promise<void> {
    await this.kill();
    await rm(path.join(this.#directory, 'data'), { recursive: true });
  }

  async compact(): Promise<void> {
    const { header } = await this.client.kv.range({ key: Buffer.from('/'), count_only: true });
    await this.client.kv.compact({ revision: header.revision, physical: true });
  }

  async stop(): Promise<void> {
    this.#client?.close();
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** A test run that dies, of whatever cause, leaves no server behind: the end of our pipe is the end of it. */
function killWithUs(child: ChildProcess, pid: number): void {
  const guard = spawn('/bin/sh', ['-c', `cat >/dev/null; kill -9 ${pid}`], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => undefined);
  guard.unref();
  child.once('exit', () => guard.kill('SIGKILL'));
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
