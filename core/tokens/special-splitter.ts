import type { AddedToken } from './tokenizer-json.ts';

interface Node {
  readonly next: Map<number, Node>;
  token: AddedToken | null;
}

/**
 * Cuts text where tokenising cannot tell: before special tokens that match exactly and overlap no other added token.
 * Tokenising the pieces one by one gives the same ids as tokenising the whole, whatever the tokenizer does in between.
 */
export class SpecialSplitter {
  readonly #root: Node;
  /** Ids that begin every piece but perhaps the first. */
  readonly cutIds: ReadonlySet<number>;

  constructor(tokens: readonly AddedToken[]) {
    const conflicts = conflicting(tokens.filter((token) => token.text !== ''));
    const cuts = tokens.filter(
      (token) => token.exact && token.text.length >= minCutLength && !conflicts.has(token.text),
    );
    this.#root = buildTrie(cuts);
    this.cutIds = new Set(cuts.map((token) => token.id));
  }

  /** The pieces, in order; joined they are the text. Only the first may begin without a cut token. */
  split(text: string): string[] {
    const pieces: string[] = [];
    let from = 0;
    let at = 0;
    while (at < text.length) {
      const length = match(this.#root, text, at);
      if (length === 0) {
        at++;
        continue;
      }
      if (at > from) pieces.push(text.slice(from, at));
      from = at;
      at += length;
    }
    if (from < text.length) pieces.push(text.slice(from));
    return pieces;
  }
}

/** Tokens of one character (a newline, a tab) would cut text into crumbs. */
const minCutLength = 3;

function buildTrie(tokens: readonly AddedToken[]): Node {
  const root: Node = { next: new Map(), token: null };
  for (const token of tokens) {
    let node = root;
    for (let i = 0; i < token.text.length; i++) {
      const unit = token.text.charCodeAt(i);
      let next = node.next.get(unit);
      if (next === undefined) {
        next = { next: new Map(), token: null };
        node.next.set(unit, next);
      }
      node = next;
    }
    node.token = token;
  }
  return root;
}

/** Length of the longest token that stands at a place; 0 for none. */
function match(root: Node, text: string, at: number): number {
  let node = root.next.get(text.charCodeAt(at));
  let length = 0;
  for (let i = at + 1; node !== undefined; i++) {
    if (node.token !== null) length = i - at;
    if (i >= text.length) break;
    node = node.next.get(text.charCodeAt(i));
  }
  return length;
}

/** Texts of tokens that could share characters of one text with another token (or with themselves, shifted). */
function conflicting(tokens: readonly AddedToken[]): Set<string> {
  const root = buildTrie(tokens);
  const conflicts = new Set<string>();
  for (const { text } of tokens) {
    for (let at = 1; at < text.length; at++) {
      const inside = overlap(root, text, at);
      if (inside.length === 0) continue;
      conflicts.add(text);
      for (const other of inside) conflicts.add(other);
    }
    // A token that is the beginning of a longer one.
    for (const other of prefixesOf(root, text)) conflicts.add(other).add(text);
  }
  return conflicts;
}

/** Tokens that lie inside `text` from `at`, or that begin there and run beyond its end. */
function overlap(root: Node, text: string, at: number): string[] {
  const found: string[] = [];
  let node: Node | undefined = root;
  for (let i = at; i < text.length; i++) {
    node = node.next.get(text.charCodeAt(i));
    if (node === undefined) return found;
    if (node.token !== null) found.push(node.token.text);
  }
  collect(node, found);
  return found;
}

function prefixesOf(root: Node, text: string): string[] {
  const found: string[] = [];
  let node: Node | undefined = root;
  for (let i = 0; i < text.length - 1; i++) {
    node = node.next.get(text.charCodeAt(i));
    if (node === undefined) break;
    if (node.token !== null) found.push(node.token.text);
  }
  return found;
}

function collect(node: Node, found: string[]): void {
  if (node.token !== null && !found.includes(node.token.text)) found.push(node.token.text);
  for (const next of node.next.values()) collect(next, found);
}
