import type { Client } from '@connectrpc/connect';
import { createTokenTable, type TokenTable } from '#core/tokens/token-table.ts';
import type { TokenizerService, TokenTable as TokenTableMessage } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ModelEntry } from '../models/catalog.ts';
import type { Markup } from '../parsing/formats.ts';

/** Everything to turn a model's token ids into text. */
export class ModelTokens {
  readonly table: TokenTable;
  readonly #data: Uint8Array;
  readonly #offsets: readonly number[];
  readonly #decoder = new TextDecoder();
  readonly #withMarkup = new WeakMap<Markup, TokenTable>();

  constructor(message: TokenTableMessage) {
    this.table = createTokenTable(message);
    this.#data = message.data;
    this.#offsets = message.offsets;
  }

  /** The table for text that is parsed: special tokens that markup is made of are left in it. */
  tableWith(markup: Markup): TokenTable {
    let table = this.#withMarkup.get(markup);
    if (table === undefined) {
      const special = this.table.special.map((flag, tokenId) =>
        flag === 1 && this.#isMarkup(tokenId, markup) ? 0 : flag,
      );
      table = { ...this.table, special };
      this.#withMarkup.set(markup, table);
    }
    return table;
  }

  #isMarkup(tokenId: number, { markers, specialTokens }: Markup): boolean {
    if (specialTokens && !this.table.eosTokenIds.has(tokenId)) return true;
    const text = this.text(tokenId);
    return text !== '' && markers.some((marker) => marker.includes(text));
  }

  /** Bytes of one token; empty for ids beyond the vocabulary. */
  bytes(tokenId: number): Uint8Array {
    const start = this.#offsets[tokenId];
    const end = this.#offsets[tokenId + 1];
    return start === undefined || end === undefined ? new Uint8Array() : this.#data.subarray(start, end);
  }

  /** Text of one token by itself; bytes that are no UTF-8 become U+FFFD. */
  text(tokenId: number): string {
    return this.#decoder.decode(this.bytes(tokenId));
  }
}

type TokenizerClient = Pick<Client<typeof TokenizerService>, 'getTokenizer'>;

/** Token tables by vocabulary, fetched once from the tokenizer service. Bounded: the least recently used leave. */
export class TokenTables {
  readonly #tokenizer: TokenizerClient;
  readonly #limit: number;
  readonly #tables = new Map<string, Promise<ModelTokens>>();

  constructor(tokenizer: TokenizerClient, o: { limit: number }) {
    this.#tokenizer = tokenizer;
    this.#limit = o.limit;
  }

  get size(): number {
    return this.#tables.size;
  }

  async get(model: ModelEntry, signal: AbortSignal): Promise<ModelTokens> {
    const digest = model.card.tokenizer?.digest ?? new Uint8Array();
    const key = digest.length === 0 ? `model ${model.name}` : Buffer.from(digest).toString('hex');
    const found = this.#tables.get(key);
    if (found !== undefined) {
      this.#tables.delete(key);
      this.#tables.set(key, found);
      return found;
    }
    const fetched = this.#fetch(model.name);
    this.#tables.set(key, fetched);
    fetched.catch(() => {
      if (this.#tables.get(key) === fetched) this.#tables.delete(key);
    });
    for (const oldest of this.#tables.keys()) {
      if (this.#tables.size <= this.#limit) break;
      this.#tables.delete(oldest);
    }
    signal.throwIfAborted();
    return fetched;
  }

  async #fetch(model: string): Promise<ModelTokens> {
    const { table } = await this.#tokenizer.getTokenizer({ model });
    if (table === undefined)
      throw new StatorError('backend_protocol', `The tokenizer has no token table for \`${model}\`.`);
    return new ModelTokens(table);
  }
}
