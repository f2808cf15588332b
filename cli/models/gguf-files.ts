import { StatorError } from '#lib/errors/errors.ts';

export interface GgufFile {
  /** Path inside its repository or directory, with slashes. */
  readonly path: string;
  readonly bytes: number;
  /** Hex digest where the source states one. */
  readonly sha256?: string | undefined;
}

/** One model: a file, or all parts of a split one with the first part first. */
export type GgufModel = readonly [GgufFile, ...GgufFile[]];

const PREFERRED = /(^|[^a-z0-9])q4_k_m([^a-z0-9]|$)/i;
const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;

/** Models among files: parts of split models together; projectors of multimodal models are none. */
export function groupModels(files: readonly GgufFile[]): GgufModel[] {
  const groups = new Map<string, GgufFile[]>();
  for (const file of files.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    const base = file.path.slice(file.path.lastIndexOf('/') + 1).toLowerCase();
    if (!base.endsWith('.gguf') || base.startsWith('mmproj')) continue;
    const shard = SHARD.exec(file.path);
    const key = shard === null ? file.path : `${shard[1]} of ${shard[3]}`;
    groups.set(key, [...(groups.get(key) ?? []), file]);
  }
  return [...groups.values()].flatMap(([first, ...rest]) => (first === undefined ? [] : [[first, ...rest] as const]));
}

/** The model that `wanted` names, or without it the only one, or the only Q4_K_M. Throws with the list otherwise. */
export function chooseModel(models: readonly GgufModel[], wanted: string | undefined, place: string): GgufModel {
  const matching = wanted === undefined ? models : matchingName(models, wanted);
  const [only] = matching.length === 1 ? matching : matching.filter(([first]) => PREFERRED.test(first.path));
  const preferred = matching.filter(([first]) => PREFERRED.test(first.path));
  if (only !== undefined && (matching.length === 1 || preferred.length === 1)) return only;
  if (models.length === 0) throw StatorError.notFound(`${place} has no GGUF file.`);
  const found = matching.length === 0 ? models : matching;
  const problem = matching.length === 0 ? `has no file ${wanted}; it has` : 'has several models, name one of';
  throw StatorError.invalid('model', `${place} ${problem}:\n${found.map(describe).join('\n')}`);
}

function matchingName(models: readonly GgufModel[], wanted: string): readonly GgufModel[] {
  const exact = models.filter((model) => model.some(({ path }) => path === wanted || path.endsWith(`/${wanted}`)));
  if (exact.length > 0) return exact;
  return models.filter(([first]) => first.path.toLowerCase().includes(wanted.toLowerCase()));
}

function describe(model: GgufModel): string {
  const bytes = model.reduce((sum, file) => sum + file.bytes, 0);
  return `  ${model[0].path}  (${(bytes / 1e6).toFixed(0)} MB)`;
}

/** Name that clients ask for: the file's name without quantisation's extension and split. */
export function modelName(path: string): string {
  const base = path.slice(path.lastIndexOf('/') + 1).replace(/\.gguf$/i, '');
  return base.replace(/-\d{5}-of-\d{5}$/, '').replace(/[-._](?:UD-)?(?:I?Q\d\w*|F16|BF16|F32|FP16)$/i, '');
}
