import { equal } from './operators.ts';
import { Callable, type Value } from './value.ts';

/** The `loop` of one iteration. */
export function loopObject(
  items: readonly Value[],
  index: number,
  depth: number,
  shared: LoopMemory,
  again: ((items: Value) => Value) | null,
): Value {
  const length = items.length;
  const attributes = new Map<string, Value>([
    ['index', index + 1],
    ['index0', index],
    ['revindex', length - index],
    ['revindex0', length - index - 1],
    ['first', index === 0],
    ['last', index === length - 1],
    ['length', length],
    ['depth', depth + 1],
    ['depth0', depth],
    ['previtem', index > 0 ? items[index - 1] : undefined],
    ['nextitem', items[index + 1]],
    ['cycle', new Callable((args) => args[index % args.length])],
    ['changed', new Callable((args) => shared.changed(args))],
  ]);
  return new Callable(([more]) => {
    if (again === null) throw new TypeError('the loop is not recursive');
    return again(more);
  }, attributes);
}

/** What loop.changed remembers between iterations. */
export class LoopMemory {
  #last: readonly Value[] | null = null;

  changed(values: readonly Value[]): boolean {
    const same = this.#last !== null && equal(this.#last, values);
    this.#last = values;
    return !same;
  }
}
