/** What a test asks a worker process to do. */
export type Ask =
  | { readonly op: 'attach' | 'rest' | 'leave' }
  | { readonly op: 'reserve' | 'store' | 'read'; readonly prompt: string; readonly blocks: number }
  | { readonly op: 'write' | 'commit'; readonly prompt: string }
  | { readonly op: 'churn'; readonly seed: number };

/** What became of a worker's random work. */
export interface Churned {
  readonly stored: number;
  readonly read: number;
  /** Blocks whose generation or checksum said that they must not be used. */
  readonly unsound: number;
  /** Calls that failed. */
  readonly lost: number;
  readonly attached: number;
}

export interface Answer {
  readonly slots?: number[];
  readonly outcomes?: number[];
  readonly blocks?: number;
  readonly wrong?: number[];
  readonly churned?: Churned;
  /** Code and field of the error. */
  readonly failure?: string;
  readonly message?: string;
}
