/** An answer's error as clients see it. */
export interface ErrorBody {
  readonly error: { message: string; type: string; param: string | null; code: string };
}

/** A chunk of a streamed answer, chat or completion. */
export interface Chunk {
  readonly object: string;
  readonly choices: {
    readonly index: number;
    readonly delta?: { readonly role?: string; readonly content?: string };
    readonly text?: string;
    readonly logprobs: { readonly content?: unknown[] } | null;
    readonly finish_reason: string | null;
  }[];
  readonly usage?: { prompt_tokens: number; completion_tokens: number } | null;
}

/** The chunks of a stream that must end with [DONE]. */
export async function chunksOf(response: Response): Promise<Chunk[]> {
  const events = (await response.text()).split('\n\n').filter((event) => event !== '');
  if (events.pop() !== 'data: [DONE]') throw new Error('the stream does not end with [DONE]');
  return events.filter((event) => event.startsWith('data: ')).map((event) => JSON.parse(event.slice(6)) as Chunk);
}

/** The text of one choice of a streamed chat. */
export function contentOf(chunks: readonly Chunk[], index: number): string {
  return chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta?.content ?? '')
    .join('');
}
