/** Why the block manager refuses a whole call. What concerns single blocks of a call is told block by block instead. */
export type BlockErrorCode =
  | 'unknown_holder'
  | 'unknown_lease'
  | 'unknown_namespace'
  | 'unknown_arena'
  | 'stale_epoch'
  | 'arena_full'
  | 'quota_exceeded'
  | 'invalid_chain'
  | 'not_recovering';

/** The service maps the code to its own errors; `facts` says which numbers led to it. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
  readonly code: BlockErrorCode;
  readonly facts: Readonly<Record<string, number | string>>;

  constructor(code: BlockErrorCode, message: string, facts: Readonly<Record<string, number | string>> = {}) {
    super(message);
    this.code = code;
    this.facts = facts;
  }
}
