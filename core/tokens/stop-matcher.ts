/** What a piece of text became: what may be shown now, and the stop string that ended the text, if one did. */
export interface StopMatch {
  readonly text: string;
  readonly stopped: string | null;
}

/** A node of the automaton: one prefix of at least one stop string. */
interface Node {
  /** Length of the prefix in UTF-16 units. */
  readonly depth: number;
  readonly next: Map<number, Node>;
  /** Longest proper suffix of the prefix that is a prefix of a stop string too. */
  fail: Node | null;
  /** Longest stop string that ends here. */
  stop: string | null;
}

/**
 * Finds stop strings in text that comes in pieces (Aho and Corasick, 1975). Text is withheld only while its tail is a
 * proper prefix of a stop string. The match that ends first wins, of several ending together the longest.
 * Stop strings that are empty or hold half a surrogate pair never match.
 */
export class StopMatcher {
  readonly #root: Node;
  readonly #include: boolean;
  #state: Node;
  #withheld = '';
  #stopped: string | null = null;

  constructor(stops: readonly string[], o: { readonly include: boolean }) {
    this.#root = buildAutomaton(stops.filter((stop) => stop !== '' && stop.isWellFormed()));
    this.#include = o.include;
    this.#state = this.#root;
  }

  /** After a stop string matched, everything further is dropped. */
  push(text: string): StopMatch {
    if (this.#stopped !== null) return { text: '', stopped: this.#stopped };
    for (let i = 0; i < text.length; i++) {
      this.#state = advance(this.#state, text.charCodeAt(i));
      if (this.#state.stop !== null) return this.#matched(this.#state.stop, this.#withheld + text.slice(0, i + 1));
    }
    return this.#release(this.#withheld + text);
  }

  /** The text ended: what was withheld, which no stop string completed. */
  end(): string {
    const rest = this.#withheld;
    this.#withheld = '';
    this.#state = this.#root;
    return rest;
  }

  #matched(stop: string, all: string): StopMatch {
    this.#stopped = stop;
    this.#withheld = '';
    return { text: this.#include ? all : all.slice(0, all.length - stop.length), stopped: stop };
  }

  #release(all: string): StopMatch {
    let keep = this.#state.depth;
    // Half a character is never shown: its other half comes with the next piece.
    if (keep === 0 && isHighSurrogate(all.charCodeAt(all.length - 1))) keep = 1;
    if (keep === 0) {
      this.#withheld = '';
      return { text: all, stopped: null };
    }
    this.#withheld = all.slice(all.length - keep);
    return { text: all.slice(0, all.length - keep), stopped: null };
  }
}

function buildAutomaton(stops: readonly string[]): Node {
  const root = createNode(0);
  for (const stop of stops) insert(root, stop);
  const queue: Node[] = [root];
  for (const node of queue) {
    for (const [unit, child] of node.next) {
      child.fail = node.fail === null ? root : advance(node.fail, unit);
      child.stop ??= child.fail.stop;
      queue.push(child);
    }
  }
  return root;
}

function insert(root: Node, stop: string): void {
  let node = root;
  for (let i = 0; i < stop.length; i++) {
    const unit = stop.charCodeAt(i);
    let next = node.next.get(unit);
    if (next === undefined) {
      next = createNode(node.depth + 1);
      node.next.set(unit, next);
    }
    node = next;
  }
  node.stop = stop;
}

function createNode(depth: number): Node {
  return { depth, next: new Map(), fail: null, stop: null };
}

function advance(from: Node, unit: number): Node {
  let node = from;
  for (;;) {
    const next = node.next.get(unit);
    if (next !== undefined) return next;
    if (node.fail === null) return node;
    node = node.fail;
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
