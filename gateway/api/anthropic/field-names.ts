import { StatorError } from '#lib/errors/errors.ts';

/** Fields of a chat, and what a client of Anthropic's API calls them. */
const renamed: readonly (readonly [RegExp, string])[] = [
  [/^max_completion_tokens$|^max_tokens$/, 'max_tokens'],
  [/^stop$|^stop_token_ids$/, 'stop_sequences'],
  [/^response_format.*$/, 'output_config.format'],
  [/^reasoning_effort$/, 'output_config.effort'],
  [/^parallel_tool_calls$/, 'tool_choice.disable_parallel_tool_use'],
  [/^tools\[(\d+)\]\.function\.parameters/, 'tools[$1].input_schema'],
  [/^tools\[(\d+)\]\.function\./, 'tools[$1].'],
];

/** What the client calls the fields of the chat that its request became. */
export class FieldNames {
  readonly #messages = new Map<number, string>();

  /** Message `index` of the chat came from `field`. */
  message(index: number, field: string): void {
    this.#messages.set(index, field);
  }

  of(field: string): string {
    const [whole = '', index = ''] = /^messages\[(\d+)\]/.exec(field) ?? [];
    if (whole !== '') {
      const message = this.#messages.get(Number(index));
      // Places inside of a message are not the client's.
      return message === undefined ? 'system' : message;
    }
    for (const [pattern, name] of renamed) if (pattern.test(field)) return field.replace(pattern, name);
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
