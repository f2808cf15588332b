/** What is known of a sequence whose worker failed it. */
export interface FailedSequence {
  /** Stable code of the error, for people. */
  readonly code: string;
  /** Whether the worker's error says that another worker may succeed. */
  readonly retryable: boolean;
  /** Attempts made so far, the failed one included. */
  readonly attempts: number;
  readonly promptTokens: number;
  readonly deliveredTokens: number;
  /** Output tokens wanted altogether. */
  readonly maxTokens: number;
  /** Grammar state would begin anew. */
  readonly guided: boolean;
  /** The client named the worker. */
  readonly pinned: boolean;
  readonly cancelled: boolean;
}

export interface MigrationPolicy {
  /** Most migrations of one sequence; 0: never. */
  readonly limit: number;
  /** Sequences with more tokens than this are not replayed; null: no bound. */
  readonly maxSequenceTokens: number | null;
}

export type MigrationDecision =
  /** Submit again: the prompt with the delivered tokens appended, for the tokens still wanted. */
  | { readonly action: 'replay'; readonly type: 'new_request' | 'ongoing_request'; readonly maxTokens: number }
  /** Everything wanted was delivered before the worker was lost. */
  | { readonly action: 'complete' }
  | { readonly action: 'fail'; readonly because: string };

/** Whether and how a failed sequence goes on elsewhere. Algorithm: Dynamo's request migration. */
export function decideMigration(failed: FailedSequence, policy: MigrationPolicy): MigrationDecision {
  const fail = (because: string): MigrationDecision => ({ action: 'fail', because });
  if (failed.cancelled) return fail('the request was cancelled');
  if (failed.deliveredTokens >= failed.maxTokens) return { action: 'complete' };
  if (!failed.retryable) return fail(`${failed.code} would fail on another worker too`);
  if (failed.pinned) return fail('the request names its worker');
  if (failed.guided && failed.deliveredTokens > 0) return fail('constrained output cannot be resumed');
  if (failed.attempts > policy.limit) return fail(`the limit of ${policy.limit} migrations is reached`);
  const tokens = failed.promptTokens + failed.deliveredTokens;
  if (policy.maxSequenceTokens !== null && tokens > policy.maxSequenceTokens) {
    return fail(`${tokens} tokens are more than may be replayed (${policy.maxSequenceTokens})`);
  }
  const type = failed.deliveredTokens === 0 ? 'new_request' : 'ongoing_request';
  return { action: 'replay', type, maxTokens: failed.maxTokens - failed.deliveredTokens };
}
