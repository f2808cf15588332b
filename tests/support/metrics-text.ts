/** One sample of a metrics page. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (NaN|[+-]?Inf|[-+0-9.eE]+)(?: -?\\d+)?$`);
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:\\["\\n]|[^"\\])*)"(?:,|$)/y;
const COMMENT = new RegExp(`^# (HELP|TYPE) (${NAME}) ?(.*)$`);
const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped'];

/** Parses Prometheus text as strictly as promtool does what matters here; throws with the line at fault. */
export function parseMetrics(text: string): Sample[] {
  if (text !== '' && !text.endsWith('\n')) throw new Error('the last line has no line feed');
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const seen = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    if (line.startsWith('#')) readComment(line, types, helped);
    else samples.push(readSample(line, seen));
  }
  checkFamilies(samples, types, helped);
  return samples;
}

function readComment(line: string, types: Map<string, string>, helped: Set<string>): void {
  const [, kind, name = '', rest = ''] = COMMENT.exec(line) ?? [];
  if (kind === undefined) throw new Error(`not a comment of the format: ${line}`);
  if (kind === 'HELP') helped.add(name);
  else if (types.has(name)) throw new Error(`second TYPE of ${name}`);
  else if (!TYPES.includes(rest)) throw new Error(`unknown type: ${line}`);
  else types.set(name, rest);
}

function readSample(line: string, seen: Set<string>): Sample {
  const [, name = '', labelText = '', value = ''] = SAMPLE.exec(line) ?? [];
  if (name === '') throw new Error(`not a sample: ${line}`);
  const series = `${name}{${labelText}}`;
  if (seen.has(series)) throw new Error(`second sample of ${series}`);
  seen.add(series);
  return { name, labels: readLabels(labelText, line), value: Number(value.replace('Inf', 'Infinity')) };
}

function readLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const [, key, value = ''] = LABEL.exec(text) ?? [];
    if (key === undefined) throw new Error(`bad labels: ${line}`);
    labels[key] = value;
  }
  return labels;
}

function checkFamilies(
  samples: readonly Sample[],
  types: ReadonlyMap<string, string>,
  helped: ReadonlySet<string>,
): void {
  for (const { name, labels, value } of samples) {
    const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
    const type = types.get(family);
    if (type === undefined) throw new Error(`${name} has no TYPE`);
    if (!helped.has(family)) throw new Error(`${family} has no HELP`);
    if (type === 'counter' && !(value >= 0)) throw new Error(`counter ${name} is ${value}`);
    if (type === 'counter' && name.startsWith('stator_') && !name.endsWith('_total'))
      throw new Error(`counter ${name} lacks _total`);
    if (name.endsWith('_bucket') && type === 'histogram' && labels['le'] === undefined)
      throw new Error(`${name} has no le`);
  }
}

/** Sum of all samples of a name whose labels include `labels`. */
export function sumOf(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels);
  const found = samples.filter((s) => s.name === name && wanted.every(([key, value]) => s.labels[key] === value));
  return found.reduce((sum, { value }) => sum + value, 0);
}
