import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { startInProcess } from './cluster-in-process.ts';
import { startAsProcesses } from './cluster-processes.ts';
import { type EtcdServer, startEtcd } from './etcd.ts';
import type { Overrides } from './stator-process.ts';
import { until } from './until.ts';

export type EngineName = 'mocker' | 'llamacpp';
export type Role = 'gateway' | 'tokenizer' | 'router' | EngineName;

export interface WorkerSpec {
  readonly engine: EngineName;
  /** Settings of this worker by their name in code. */
  readonly settings?: Overrides;
}

export interface ClusterOptions {
  readonly workers: readonly WorkerSpec[];
  /** Whether every service is a process of its own. Otherwise all run in this one. */
  readonly separateProcesses?: boolean;
  readonly discovery?: 'memory' | 'file' | 'etcd';
  readonly gateway?: Overrides;
  readonly tokenizer?: Overrides;
  readonly router?: Overrides;
  /** Settings of every service. */
  readonly common?: Overrides;
}

/** One running service of a cluster. */
export interface Member {
  readonly role: Role;
  /** host:port. */
  readonly address: string;
  /** Process id where it is a process of its own. */
  readonly pid: number | undefined;
  /** Milliseconds from its start until it had registered. */
  readonly startMs: number;
  /** What it has written, where it is a process of its own. */
  readonly output: () => string;
  /** Stops it as SIGTERM does: it drains. */
  stop(): Promise<void>;
  /** Ends it at once; only for members that are processes. */
  kill(): Promise<void>;
}

export interface Cluster extends AsyncDisposable {
  /** http://host:port of the gateway. */
  readonly url: string;
  readonly discoveryUrl: string;
  readonly namespace: string;
  readonly members: readonly Member[];
  member(role: Role, index?: number): Member;
  /** Adds a worker to the running cluster. */
  addWorker(spec: WorkerSpec): Promise<Member>;
  /** Adds any service to the running cluster, for example a second router. */
  add(role: Role, settings?: Overrides): Promise<Member>;
  /** Resolves once the gateway lists at least this many models and reaches every worker that it knows. */
  listsModels(count: number): Promise<string[]>;
  stop(): Promise<void>;
}

/** What a form of the cluster needs to start one service. */
export interface MemberPlan {
  readonly role: Role;
  readonly settings: Overrides;
}

export type StartMember = (plan: MemberPlan) => Promise<Member>;

/** Boots gateway, tokenizer, router and workers on free ports; resolves when the gateway lists a model. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const cluster = new RunningCluster(options);
  try {
    await cluster.start();
    return cluster;
  } catch (error) {
    const outputs = cluster.members.map((member) => `── ${member.role}\n${member.output()}`).join('\n');
    await cluster.stop().catch(() => undefined);
    throw new Error(`The cluster did not start: ${error instanceof Error ? error.message : error}\n${outputs}`, {
      cause: error,
    });
  }
}

class RunningCluster implements Cluster {
  readonly namespace = `test-${randomBytes(4).toString('hex')}`;
  readonly members: Member[] = [];
  discoveryUrl = '';
  readonly #options: ClusterOptions;
  readonly #startMember: StartMember;
  #folder: string | undefined;
  #etcd: EtcdServer | null = null;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#startMember = options.separateProcesses === true ? startAsProcesses : startInProcess;
  }

  get url(): string {
    return `http://${this.member('gateway').address}`;
  }

  async start(): Promise<void> {
    this.discoveryUrl = await this.#openDiscovery();
    const { workers, gateway, tokenizer, router } = this.#options;
    await this.add('router', router);
    await this.add('tokenizer', tokenizer);
    await Promise.all(workers.map((spec) => this.add(spec.engine, spec.settings)));
    await this.add('gateway', gateway);
    if (workers.length > 0) await this.listsModels(1);
  }

  member(role: Role, index = 0): Member {
    const found = this.members.filter((member) => member.role === role)[index];
    if (found === undefined) throw new Error(`The cluster has no ${role} number ${index}`);
    return found;
  }

  addWorker(spec: WorkerSpec): Promise<Member> {
    return this.add(spec.engine, spec.settings);
  }

  async add(role: Role, settings: Overrides = {}): Promise<Member> {
    const shared: Overrides = {
      listen: '127.0.0.1:0',
      discovery: this.discoveryUrl,
      namespace: this.namespace,
      shutdownGraceSeconds: 5,
    };
    const member = await this.#startMember({ role, settings: { ...shared, ...this.#options.common, ...settings } });
    this.members.push(member);
    return member;
  }

  listsModels(count: number): Promise<string[]> {
    return until(
      `the gateway lists ${count} models`,
      async () => {
        const response = await fetch(`${this.url}/v1/models`);
        const { data } = (await response.json()) as { data: { id: string }[] };
        return data.length >= count && (await this.#reachesWorkers()) && data.map(({ id }) => id);
      },
      60_000,
    );
  }

  async #reachesWorkers(): Promise<boolean> {
    const response = await fetch(`${this.url}/health`);
    const { instances = [] } = (await response.json()) as { instances?: { session: string }[] };
    return instances.every(({ session }) => session === 'ready');
  }

  async stop(): Promise<void> {
    // The gateway first: requests that still run may then end in the other services.
    for (const member of this.members.splice(0).reverse()) await member.stop();
    await this.#etcd?.stop();
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #openDiscovery(): Promise<string> {
    const { discovery, separateProcesses } = this.#options;
    const kind = discovery ?? (separateProcesses === true ? 'file' : 'memory');
    if (kind === 'memory') return `memory:${this.namespace}`;
    if (kind === 'file') {
      this.#folder = await mkdtemp(path.join(os.tmpdir(), 'stator-discovery-'));
      return `file:${this.#folder}`;
    }
    this.#etcd = await startEtcd();
    if (this.#etcd === null) throw new Error('there is no etcd on this machine');
    return this.#etcd.discoveryUrl;
  }
}
