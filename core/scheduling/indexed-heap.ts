/** An item's place in a heap; its owner keeps it to remove or move the item. */
export interface HeapNode<T> {
  readonly item: T;
  /** Index in the heap; -1: in none. */
  at: number;
}

/** A binary heap whose first item is the one that comes before all others; any node leaves or moves in O(log n). */
export class IndexedHeap<T> {
  readonly #before: (a: T, b: T) => boolean;
  readonly #nodes: HeapNode<T>[] = [];

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#nodes.length;
  }

  peek(): T | undefined {
    return this.#nodes[0]?.item;
  }

  push(item: T): HeapNode<T> {
    const node = { item, at: this.#nodes.length };
    this.#nodes.push(node);
    this.#up(node);
    return node;
  }

  pop(): T | undefined {
    const first = this.#nodes[0];
    if (first !== undefined) this.remove(first);
    return first?.item;
  }

  /** False when the node is in no heap any more. */
  remove(node: HeapNode<T>): boolean {
    if (this.#nodes[node.at] !== node) return false;
    const last = this.#nodes.pop();
    const hole = node.at;
    node.at = -1;
    if (last !== undefined && last !== node) {
      this.#put(last, hole);
      this.moved(last);
    }
    return true;
  }

  /** Must follow every change of how the node's item compares. */
  moved(node: HeapNode<T>): void {
    this.#up(node);
    this.#down(node);
  }

  /** Every item, in no order. */
  *items(): Generator<T> {
    for (const { item } of this.#nodes) yield item;
  }

  #put(node: HeapNode<T>, at: number): void {
    this.#nodes[at] = node;
    node.at = at;
  }

  #up(node: HeapNode<T>): void {
    let at = node.at;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = this.#nodes[parentAt];
      if (parent === undefined || !this.#before(node.item, parent.item)) break;
      this.#put(parent, at);
      at = parentAt;
    }
    this.#put(node, at);
  }

  #down(node: HeapNode<T>): void {
    let at = node.at;
    for (;;) {
      const leftAt = 2 * at + 1;
      let child = this.#nodes[leftAt];
      const right = this.#nodes[leftAt + 1];
      if (child !== undefined && right !== undefined && this.#before(right.item, child.item)) child = right;
      if (child === undefined || !this.#before(child.item, node.item)) break;
      const childAt = child.at;
      this.#put(child, at);
      at = childAt;
    }
    this.#put(node, at);
  }
}
