import type { Client } from '@connectrpc/connect';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { fromConnectError } from '#lib/rpc/errors.ts';

type TokenizerClient = Client<typeof TokenizerService>;

export interface OpenTokenizer {
  readonly client: TokenizerClient;
  close(): void;
}

/** Codes of a transport that did not reach its server, or lost it. */
const unreachable: readonly string[] = ['worker_unavailable', 'stream_incomplete', 'draining', 'not_ready'];

/** The tokenizers that discovery knows, used in turn; a call that cannot reach one goes to the next. */
export class TokenizerPool {
  readonly #open: (instance: Instance) => OpenTokenizer;
  readonly #members = new Map<bigint, OpenTokenizer>();
  #turn = 0;

  constructor(open: (instance: Instance) => OpenTokenizer) {
    this.#open = open;
  }

  get size(): number {
    return this.#members.size;
  }

  up(instance: Instance): void {
    this.down(instance);
    this.#members.set(instance.instanceId, this.#open(instance));
  }

  down(instance: Instance): void {
    this.#members.get(instance.instanceId)?.close();
    this.#members.delete(instance.instanceId);
  }

  close(): void {
    for (const member of this.#members.values()) member.close();
    this.#members.clear();
  }

  /** One client that stands for all of them. */
  client(): TokenizerClient {
    return {
      preprocess: (request, options) => this.#try((client) => client.preprocess(request, options)),
      encode: (request, options) => this.#try((client) => client.encode(request, options)),
      decode: (request, options) => this.#try((client) => client.decode(request, options)),
      countTokens: (request, options) => this.#try((client) => client.countTokens(request, options)),
      getTokenizer: (request, options) => this.#try((client) => client.getTokenizer(request, options)),
    };
  }

  async #try<T>(call: (client: TokenizerClient) => Promise<T>): Promise<T> {
    const members = [...this.#members.values()];
    const first = this.#turn++;
    let last: StatorError | null = null;
    for (let offset = 0; offset < members.length; offset++) {
      const member = members[(first + offset) % members.length];
      if (member === undefined) break;
      try {
        return await call(member.client);
      } catch (thrown) {
        const error = fromConnectError(thrown);
        if (!unreachable.includes(error.code)) throw error;
        last = error;
      }
    }
    const options = { retryAfterMs: 1000, ...(last === null ? {} : { cause: last }) };
    throw new StatorError('not_ready', 'No tokenizer can be reached; prompts cannot be prepared now.', options);
  }
}
