import { Input, type Step } from './input.ts';
import { isSpace } from './read.ts';

/** A tool as far as parsing needs it. */
export interface ToolSchema {
  readonly name: string;
  /** JSON Schema of its arguments. */
  readonly parameters?: unknown;
}

/**
 * What an answer turned into, in the order of its text. Pieces are never empty. The JSON text of a call's arguments is
 * the concatenation of its `callArguments`; `complete` tells whether that is a whole JSON text. Calls do not overlap.
 */
export interface OutputSink {
  content(text: string): void;
  reasoning(text: string): void;
  /** `id` is the model's own, null where its format has none. */
  callStart(index: number, name: string, id: string | null): void;
  callArguments(index: number, json: string): void;
  callEnd(index: number, complete: boolean): void;
}

type PieceKind = 'content' | 'reasoning' | 'arguments';

/** One parse: where text comes from, where its parts go. */
export class Context {
  readonly input = new Input();
  readonly tools: ReadonlyMap<string, ToolSchema>;
  /** Whether a call was cut off by the end of the text or was no call in the end. */
  incomplete = false;
  inReasoning = false;
  /** Calls are wanted; where they are not, formats that cannot help reading them make them content. */
  readonly takesCalls: boolean;
  readonly #sink: OutputSink;
  readonly #maxCalls: number;
  readonly #holdSpace: boolean;
  #kind: PieceKind = 'content';
  #piece = '';
  #calls = 0;
  #open = false;
  /** White space that may stand between reasoning and calls, where it is no content. */
  #space = '';
  #started = false;

  constructor(
    sink: OutputSink,
    o: { readonly tools: readonly ToolSchema[]; readonly parallel: boolean; readonly takesCalls: boolean },
  ) {
    this.#sink = sink;
    this.tools = new Map(o.tools.map((tool) => [tool.name, tool]));
    this.#maxCalls = o.parallel ? Number.POSITIVE_INFINITY : 1;
    this.#holdSpace = o.takesCalls;
    this.takesCalls = o.takesCalls;
  }

  /** Whether no content other than white space came since the beginning or the last reasoning. */
  get atStart(): boolean {
    return !this.#started;
  }

  /** Calls so far, those that a limit to one call hides included. */
  get calls(): number {
    return this.#calls;
  }

  /** Calls of names that nobody offered are taken only where no tools are known. */
  knows(name: string): boolean {
    return this.tools.size === 0 || this.tools.has(name);
  }

  readonly content = (text: string): void => {
    if (text === '') return;
    if (!this.#started && this.#holdSpace) {
      if (isBlank(text)) {
        this.#space += text;
        return;
      }
      this.#add('content', this.#space + text);
      this.#space = '';
    } else this.#add('content', text);
    this.#started = true;
  };

  readonly reasoning = (text: string): void => {
    if (text !== '') this.#add('reasoning', text);
  };

  /** Content after reasoning begins anew. */
  reasoningEnded(): void {
    this.inReasoning = false;
    this.#started = false;
  }

  startCall(name: string, id: string | null): void {
    this.#space = '';
    this.#open = true;
    this.#calls++;
    this.flush();
    if (this.#calls <= this.#maxCalls) this.#sink.callStart(this.#calls - 1, name, id);
  }

  readonly arguments = (json: string): void => {
    if (json !== '' && this.#calls <= this.#maxCalls) this.#add('arguments', json);
  };

  endCall(complete: boolean): void {
    if (!this.#open) return;
    this.#open = false;
    this.#started = false;
    if (!complete) this.incomplete = true;
    this.flush();
    if (this.#calls <= this.#maxCalls) this.#sink.callEnd(this.#calls - 1, complete);
  }

  finish(): void {
    this.endCall(false);
    if (this.#calls === 0 && this.#space !== '') this.#add('content', this.#space);
    this.#space = '';
    this.flush();
  }

  /** Sends what was gathered: neighbours of one kind go out as one piece. */
  flush(): void {
    const piece = this.#piece;
    if (piece === '') return;
    this.#piece = '';
    if (this.#kind === 'arguments') this.#sink.callArguments(this.#calls - 1, piece);
    else if (this.#kind === 'reasoning') this.#sink.reasoning(piece);
    else this.#sink.content(piece);
  }

  #add(kind: PieceKind, text: string): void {
    if (this.#kind !== kind) this.flush();
    this.#kind = kind;
    this.#piece = this.#piece === '' ? text : this.#piece + text;
  }
}

/** How a model writes calls. */
export interface ToolFormat {
  /** First the name, then its aliases. */
  readonly names: readonly string[];
  /** Begin calls wherever they stand in content. */
  readonly starts: readonly string[];
  /** Markup that never is content. */
  readonly hidden?: readonly string[];
  /** Where reasoning ends that calls may end, if not at `starts` alone. */
  readonly sections?: readonly string[];
  /** Markers after which text up to the next of `starts`, `hidden` or reasoning is no content. */
  readonly headers?: readonly string[];
  /** The markers are special tokens: the engine must not leave them out. */
  readonly specialTokens?: boolean;
  /** Reads what follows a start. */
  readonly block: (context: Context, start: string) => Step<void>;
  /** Calls without a marker, tried where content begins; reads nothing but white space where there are none. */
  readonly leading?: (context: Context) => Step<void>;
}

/** How a model writes reasoning. */
export interface ReasoningFormat {
  readonly names: readonly string[];
  readonly opens: readonly string[];
  readonly closes: readonly string[];
  /** The text is reasoning from its first token on, opener or not. */
  readonly forced?: boolean;
  /** A call begins inside reasoning and ends it. */
  readonly endsAtCalls?: boolean;
  readonly hidden?: readonly string[];
  readonly headers?: readonly string[];
  readonly specialTokens?: boolean;
  /** Put in front of the content: for models whose clients look for the opener themselves. */
  readonly prefix?: string;
  /** The format of calls that reads this reasoning too. */
  readonly readBy?: ToolFormat;
}

function isBlank(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (!isSpace(text.charCodeAt(i))) return false;
  return true;
}
