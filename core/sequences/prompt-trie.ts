import { Holders } from './holders.ts';

/** Told of what changes while prompts come and go. */
export interface TrieObserver {
  /** A slot holds so many more (or fewer) different prompt blocks. */
  distinctBlocks(slot: number, change: number): void;
  /** A request is the only one of its slot to hold so many more (or fewer) of its prompt blocks. */
  soleBlocks(request: number, change: number): void;
}

/** A run of blocks that the same requests hold. */
export interface TrieNode {
  /** A whole prompt that runs through here, two words per block; the node's own blocks are [start, end). */
  words: Uint32Array;
  start: number;
  end: number;
  /** Its place among its parent's children. */
  key: number;
  parent: TrieNode | undefined;
  children: Map<number, TrieNode> | undefined;
  /** Requests that end here. */
  tails: number;
  holders: Holders;
}

/**
 * Which prompt blocks the running requests of every slot hold: one compressed trie for all slots, so that a single walk
 * tells how much of a prompt is active on each of them, and a prompt that hundreds of slots share is one node.
 * A sequence hash stands for its whole prefix, so two prompts that agree in a block agree in all before it: where they
 * part is found by bisection. Inputs that break this rule are miscounted, but still leave nothing behind.
 */
export class PromptTrie {
  readonly #root: TrieNode = createNode(new Uint32Array(), 0, 0, undefined, new Holders());
  readonly #observer: TrieObserver;
  #nodes = 0;

  constructor(observer: TrieObserver) {
    this.#observer = observer;
  }

  /** Nodes, for tests and memory figures; at most two per prompt. */
  get nodes(): number {
    return this.#nodes;
  }

  /** Adds a request's prompt; the answer is needed to release it. Undefined: it has no blocks. */
  acquire(slot: number, request: number, words: Uint32Array): TrieNode | undefined {
    const blocks = words.length >>> 1;
    if (blocks === 0) return undefined;
    let node = this.#root;
    while (node.end < blocks) {
      const child = node.children?.get(keyAt(words, node.end));
      if (child === undefined) {
        const leaf = createNode(words, node.end, blocks, node, new Holders());
        this.#attach(node, leaf, keyAt(words, leaf.start));
        this.#hold(leaf, slot, request);
        node = leaf;
        break;
      }
      const common = commonEnd(child, words, blocks);
      node = common < child.end ? this.#split(child, common) : child;
      this.#hold(node, slot, request);
    }
    node.tails++;
    return node;
  }

  release(tail: TrieNode, slot: number, request: number): void {
    tail.tails--;
    let node: TrieNode | undefined = tail;
    while (node !== undefined && node !== this.#root) {
      const { parent }: TrieNode = node;
      this.#letGo(node, slot, request);
      if (node.holders.size === 0) this.#detach(node);
      else this.#mergeIntoChild(node);
      node = parent;
    }
  }

  /** Writes at each slot how many leading blocks of a prompt its requests hold; slots that hold none are left as they are. */
  leading(words: Uint32Array, blocksOfSlot: Uint32Array): void {
    const blocks = words.length >>> 1;
    let node = this.#root;
    let matched = 0;
    while (matched < blocks) {
      const child = node.children?.get(keyAt(words, matched));
      if (child === undefined) break;
      // A child's holders are among its parent's: where they are as many, the child's own entry overwrites all.
      if (child.holders.size < node.holders.size) node.holders.write(blocksOfSlot, matched);
      matched = commonEnd(child, words, blocks);
      node = child;
      if (matched < child.end) break;
    }
    node.holders.write(blocksOfSlot, matched);
  }

  #hold(node: TrieNode, slot: number, request: number): void {
    const blocks = node.end - node.start;
    const holder = node.holders.add(slot, request);
    if (holder.count === 1) {
      this.#observer.distinctBlocks(slot, blocks);
      this.#observer.soleBlocks(request, blocks);
    } else if (holder.count === 2) {
      this.#observer.soleBlocks(holder.requestSum - request, -blocks);
    }
  }

  #letGo(node: TrieNode, slot: number, request: number): void {
    const blocks = node.end - node.start;
    const holder = node.holders.remove(slot, request);
    if (holder.count === 0) {
      this.#observer.soleBlocks(request, -blocks);
      this.#observer.distinctBlocks(slot, -blocks);
    } else if (holder.count === 1) {
      this.#observer.soleBlocks(holder.requestSum, blocks);
    }
  }

  /** Cuts a node in two and returns the upper half; the lower one stays the same object, because tails refer to it. */
  #split(node: TrieNode, at: number): TrieNode {
    const { parent = this.#root } = node;
    const upper = createNode(node.words, node.start, at, parent, node.holders.copy());
    // Its own words may have another key, if it was merged and hashes are no chain: its place must not become another's.
    this.#attach(parent, upper, node.key);
    this.#nodes--;
    node.start = at;
    node.parent = upper;
    this.#attach(upper, node, keyAt(node.words, at));
    return upper;
  }

  /** Undoes a split that no request needs any more: everything that runs through the node runs through its only child. */
  #mergeIntoChild(node: TrieNode): void {
    const { parent, children } = node;
    if (node.tails > 0 || children?.size !== 1 || parent === undefined) return;
    for (const child of children.values()) {
      child.start = node.start;
      child.key = node.key;
      child.parent = parent;
      parent.children?.set(child.key, child);
    }
    this.#nodes--;
  }

  #attach(parent: TrieNode, child: TrieNode, key: number): void {
    child.key = key;
    parent.children ??= new Map();
    parent.children.set(child.key, child);
    this.#nodes++;
  }

  #detach(node: TrieNode): void {
    const { children } = node.parent ?? this.#root;
    children?.delete(node.key);
    if (children?.size === 0 && node.parent !== undefined) node.parent.children = undefined;
    this.#nodes--;
  }
}

/** Two 32-bit words per block of a packed column of hashes: a view where it is aligned, otherwise a copy. */
export function wordsOf(packed: Uint8Array): Uint32Array {
  const aligned = packed.byteOffset % 4 === 0 ? packed : packed.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.length / 8) * 2);
}

function createNode(
  words: Uint32Array,
  start: number,
  end: number,
  parent: TrieNode | undefined,
  holders: Holders,
): TrieNode {
  return { words, start, end, key: 0, parent, children: undefined, tails: 0, holders };
}

/** 53 of a hash's 64 bits, as a number: the chance that two children of a node share them is nil, and would cost a miscount only. */
function keyAt(words: Uint32Array, block: number): number {
  return ((words[2 * block + 1] ?? 0) & 0x1fffff) * 2 ** 32 + (words[2 * block] ?? 0);
}

function sameBlock(a: Uint32Array, b: Uint32Array, block: number): boolean {
  return a[2 * block] === b[2 * block] && a[2 * block + 1] === b[2 * block + 1];
}

/** Where a prompt parts from a node whose first block it has. */
function commonEnd(node: TrieNode, words: Uint32Array, blocks: number): number {
  const limit = Math.min(node.end, blocks);
  if (sameBlock(node.words, words, limit - 1)) return limit;
  let same = node.start + 1;
  let different = limit - 1;
  while (same < different) {
    const middle = (same + different) >>> 1;
    if (sameBlock(node.words, words, middle)) same = middle + 1;
    else different = middle;
  }
  return same;
}
