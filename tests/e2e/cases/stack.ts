import type { Cluster } from '../../support/cluster.ts';

/** What the cases of the end-to-end suite run against. */
export interface Stack {
  readonly cluster: Cluster;
  /** Model to chat with. */
  readonly model: string;
  /** Address of the worker that serves it. */
  readonly worker: string;
}

/** The stack of a suite, once its `before` hook has run. */
export type GetStack = () => Stack;
