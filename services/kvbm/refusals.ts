import { BlockError, type BlockErrorCode } from '#core/blocks/block-error.ts';
import type { ErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';

interface Refusal {
  readonly code: ErrorCode;
  readonly field?: string;
  /** Which setting would help. */
  readonly hint?: string;
}

const refusals: Readonly<Record<BlockErrorCode, Refusal>> = {
  unknown_holder: { code: 'not_found', field: 'holder_id' },
  unknown_lease: { code: 'not_found', field: 'lease_ids' },
  unknown_namespace: { code: 'not_found', field: 'chain.namespace' },
  unknown_arena: { code: 'unsupported', field: 'tier' },
  stale_epoch: { code: 'conflict', field: 'epoch' },
  arena_full: { code: 'overloaded', hint: '--host-mib gives more room' },
  quota_exceeded: { code: 'rate_limited', hint: '--tenant-quota-percent allows more' },
  invalid_chain: { code: 'invalid_argument', field: 'chain' },
  not_recovering: { code: 'internal' },
};

/** What callers are told instead of a BlockError; anything else stays as it is. */
export function refusalOf(thrown: unknown): unknown {
  if (!(thrown instanceof BlockError)) return thrown;
  const { code, field, hint } = refusals[thrown.code];
  const message = hint === undefined ? thrown.message : `${thrown.message}; ${hint}`;
  const facts = { ...thrown.facts, reason: thrown.code };
  return new StatorError(code, message, { ...(field === undefined ? {} : { field }), facts, cause: thrown });
}

/** Runs a call of the block manager for a caller. */
export function refusing<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw refusalOf(thrown);
  }
}
