/** A Python float: kept apart from integers, because Python prints 1.0 and JSON tells them apart. */
export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/**
 * Data that templates see, as Python has it: null is None, undefined is Jinja's undefined, numbers are integers, a Map is
 * a dict with its order.
 */
export type Data = null | undefined | boolean | number | bigint | string | Float | readonly Data[] | Dict;
export type Dict = Map<string, Data>;

export function dict(entries: Readonly<Record<string, Data>>): Dict {
  return new Map(Object.entries(entries));
}
