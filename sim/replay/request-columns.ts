import type { RequestRecord } from './request-record.ts';

/** The columns of a record, in the order in which `RequestColumns` has them. */
export const recordFields = [
  'index',
  'arrivalMs',
  'routedMs',
  'startedMs',
  'firstTokenMs',
  'lastTokenMs',
  'longestGapMs',
  'promptTokens',
  'cachedTokens',
  'outputTokens',
  'worker',
  'prefillWorker',
  'preemptions',
  'outcome',
] as const satisfies readonly (keyof RequestRecord)[];

export type RecordField = (typeof recordFields)[number];

/**
 * Records as columns, 112 bytes each. Beyond `maxRows` they are an even sample of all that were added (reservoir sampling,
 * Vitter's algorithm R), in no order.
 */
export class RequestColumns {
  readonly #maxRows: number;
  readonly #random: () => number;
  #columns: Float64Array[] = recordFields.map(() => new Float64Array(1024));
  #rows = 0;
  #added = 0;

  /** `random`: numbers from 0 up to 1, for the sample. */
  constructor(options: { readonly maxRows: number; readonly random: () => number }) {
    this.#maxRows = options.maxRows;
    this.#random = options.random;
  }

  /** Rows that are kept. */
  get rows(): number {
    return this.#rows;
  }

  /** Records that were added. */
  get added(): number {
    return this.#added;
  }

  add(record: RequestRecord): void {
    this.#added++;
    if (this.#rows < this.#maxRows) {
      this.#write(this.#rows++, record);
      return;
    }
    const row = Math.floor(this.#random() * this.#added);
    if (row < this.#maxRows) this.#write(row, record);
  }

  /** The kept values of one field, by row. A view: valid until the next `add`. */
  column(field: RecordField): Float64Array {
    return this.#columns[recordFields.indexOf(field)]?.subarray(0, this.#rows) ?? new Float64Array(0);
  }

  #write(row: number, record: RequestRecord): void {
    if (row === this.#columns[0]?.length) this.#grow();
    for (let at = 0; at < recordFields.length; at++) {
      const column = this.#columns[at];
      const field = recordFields[at];
      if (column !== undefined && field !== undefined) column[row] = record[field];
    }
  }

  #grow(): void {
    this.#columns = this.#columns.map((column) => {
      const larger = new Float64Array(Math.min(column.length * 2, Math.max(column.length + 1, this.#maxRows)));
      larger.set(column);
      return larger;
    });
  }
}
