import { StatorError } from '#lib/errors/errors.ts';

/** A field of a chat, and what clients of another API call it; `$1` stands for a group. */
export type Renaming = readonly (readonly [RegExp, string])[];

/** What the client calls the fields of the chat that its request became. */
export class FieldNames {
  readonly #renaming: Renaming;
  readonly #elsewhere: string;
  readonly #messages = new Map<number, string>();

  /** `elsewhere`: where messages come from that `message` does not tell of. */
  constructor(renaming: Renaming, elsewhere: string) {
    this.#renaming = renaming;
    this.#elsewhere = elsewhere;
  }

  /** Message `index` of the chat came from `field`. */
  message(index: number, field: string): void {
    this.#messages.set(index, field);
  }

  of(field: string): string {
    const [whole = '', index = ''] = /^messages\[(\d+)\]/.exec(field) ?? [];
    if (whole !== '') {
      const message = this.#messages.get(Number(index));
      // Places inside of a message are not the client's.
      return message === undefined ? this.#elsewhere : message;
    }
    for (const [pattern, name] of this.#renaming) if (pattern.test(field)) return field.replace(pattern, name);
    return field;
  }

  /** The same error in the client's words. */
  inClientTerms(error: StatorError): StatorError {
    const { field, code, message, retryAfterMs, retryable, facts } = error;
    if (field === undefined || field === '') return error;
    const name = this.of(field);
    if (name === field) return error;
    return new StatorError(code, message.replaceAll(`\`${field}\``, `\`${name}\``), {
      field: name,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(retryable === undefined ? {} : { retryable }),
      ...(facts === undefined ? {} : { facts }),
      cause: error,
    });
  }
}
