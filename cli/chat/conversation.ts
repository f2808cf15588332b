import type { ChatClient, ChatMessage } from './chat-client.ts';

/** What was said so far, with one model. */
export class Conversation {
  model: string;
  readonly #client: ChatClient;
  #system: string | undefined;
  #messages: ChatMessage[] = [];

  constructor(client: ChatClient, model: string, system: string | undefined) {
    this.#client = client;
    this.model = model;
    this.#system = system;
  }

  /** Forgets everything but the system message. */
  reset(): void {
    this.#messages = [];
  }

  setSystem(text: string): void {
    this.#system = text === '' ? undefined : text;
  }

  /** Says something and writes the answer piece by piece. What was interrupted stays in the history as far as it came. */
  async say(text: string, write: (piece: string) => void, signal: AbortSignal): Promise<void> {
    this.#messages.push({ role: 'user', content: text });
    const system: ChatMessage[] = this.#system === undefined ? [] : [{ role: 'system', content: this.#system }];
    let answer = '';
    try {
      for await (const piece of this.#client.answer(this.model, [...system, ...this.#messages], signal)) {
        answer += piece;
        write(piece);
      }
    } finally {
      if (answer === '') this.#messages.pop();
      else this.#messages.push({ role: 'assistant', content: answer });
    }
  }
}
