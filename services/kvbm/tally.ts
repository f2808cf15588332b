import { Counter, type Registry } from 'prom-client';

type Labels = Readonly<Record<string, string>>;

/** Counters that are both metrics and figures of Stats. */
export class Tally {
  readonly #registry: Registry;
  readonly #prefix: string;
  readonly #counts = new Map<string, Map<string, { readonly labels: Labels; count: number }>>();

  constructor(registry: Registry, prefix: string) {
    this.#registry = registry;
    this.#prefix = prefix;
  }

  /** A counter of that name; each value of its label appears when it was first counted. */
  counter(name: string, help: string, label?: string): (value?: number, labelled?: string) => void {
    const series = new Map<string, { readonly labels: Labels; count: number }>();
    this.#counts.set(name, series);
    if (label === undefined) series.set('', { labels: {}, count: 0 });
    this.#expose(name, help, label === undefined ? [] : [label], () => series.values());
    return (value = 1, labelled = '') => {
      const known = series.get(labelled);
      if (known !== undefined) known.count += value;
      else series.set(labelled, { labels: label === undefined ? {} : { [label]: labelled }, count: value });
    };
  }

  /** A counter that someone else counts. */
  read(name: string, help: string, count: () => number): void {
    const series = new Map([
      [
        '',
        {
          labels: {},
          get count() {
            return count();
          },
          set count(_: number) {},
        },
      ],
    ]);
    this.#counts.set(name, series);
    this.#expose(name, help, [], () => series.values());
  }

  /** Every count by the name of its metric without prefix, labels in braces. */
  totals(): Record<string, number> {
    const all = [...this.#counts].flatMap(([name, series]) =>
      [...series].map(([labelled, { count }]) => [labelled === '' ? name : `${name}{${labelled}}`, count] as const),
    );
    return Object.fromEntries(all);
  }

  #expose(
    name: string,
    help: string,
    labelNames: string[],
    series: () => Iterable<{ labels: Labels; count: number }>,
  ): void {
    new Counter({
      name: `${this.#prefix}${name}`,
      help,
      labelNames,
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const { labels, count } of series()) this.inc(labels, count);
      },
    });
  }
}
