import type { TransferCounters } from '#lib/transfer/transfer.ts';

/** What the parent asks its peer process for, one line of JSON each. */
export type Ask =
  | { readonly op: 'offer' }
  | { readonly op: 'fill'; readonly seed: number }
  | { readonly op: 'checksum' }
  | { readonly op: 'revoke' }
  | { readonly op: 'register' }
  | { readonly op: 'counters' }
  | { readonly op: 'notifications' }
  | { readonly op: 'leave' };

export interface Answer {
  readonly metadata?: string;
  readonly descriptors?: string;
  readonly checksum?: number;
  readonly counters?: TransferCounters;
  readonly notifications?: readonly string[];
  readonly failure?: string;
}
