import { mediaPadToken } from '../tokens/media-hash.ts';

/** Tokens that stand for media in a model's prompts; null where the model has none. */
export interface PlaceholderTokens {
  readonly image: number | null;
  readonly video: number | null;
}

interface Run {
  readonly start: number;
  readonly end: number;
  readonly video: boolean;
}

/**
 * The tokens of a block with each run of placeholders replaced by its media object's pad token, as prompts are hashed
 * whose media the gateway knows. Null when runs and objects cannot be told apart: then the objects' own hashes enter.
 * Images have a run each. With video, whose object may have several runs, the numbers must agree; without, the last
 * object takes the runs that are too many, for that is how such prompts are prepared.
 */
export function padPlaceholders(
  tokenIds: Uint32Array,
  objects: BigUint64Array,
  tokens: PlaceholderTokens,
): Uint32Array | null {
  const last = objects.at(-1);
  if (last === undefined || (tokens.image !== null && tokens.image === tokens.video)) return null;
  const runs = placeholderRuns(tokenIds, tokens);
  if (runs.length === 0) return null;
  let object = -1;
  const objectOfRun = runs.map((run, i) => {
    if (!run.video || runs[i - 1]?.video !== true) object++;
    return object;
  });
  if (tokens.video !== null && object + 1 !== objects.length) return null;
  const padded = tokenIds.slice();
  runs.forEach((run, i) => {
    padded.fill(mediaPadToken(objects[objectOfRun[i] ?? 0] ?? last), run.start, run.end);
  });
  return padded;
}

function placeholderRuns(tokenIds: Uint32Array, { image, video }: PlaceholderTokens): Run[] {
  const runs: Run[] = [];
  for (let start = 0; start < tokenIds.length; ) {
    const token = tokenIds[start];
    let end = start + 1;
    if (token === image || token === video) {
      while (end < tokenIds.length && tokenIds[end] === token) end++;
      runs.push({ start, end, video: token === video });
    }
    start = end;
  }
  return runs;
}
