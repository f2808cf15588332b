import type { Cluster, EngineName } from '../../support/cluster.ts';

/** What the cases of the end-to-end suite run against. */
export interface Stack {
  readonly cluster: Cluster;
  readonly engine: EngineName;
  /** Model to ask for. */
  readonly model: string;
  /** Address of the worker that serves it. */
  readonly worker: string;
  /** GGUF file of the real model; empty where there is none. */
  readonly modelFile: string;
}

/** The stack of a suite, once its `before` hook has run. */
export type GetStack = () => Stack;
