import { refusals } from './refusals.ts';
import type { RouteDoc } from './route-doc.ts';

const paths = [
  ['/v1/images/generations', 'createImage'],
  ['/v1/images/edits', 'createImageEdit'],
  ['/v1/images/variations', 'createImageVariation'],
  ['/v1/videos', 'createVideo'],
  ['/v1/videos/stream', 'streamVideo'],
  ['/v1/audio/speech', 'createSpeech'],
  ['/v1/audio/transcriptions', 'createTranscription'],
  ['/v1/audio/translations', 'createTranslation'],
] as const;

/** Paths of the public APIs that no worker serves. */
export const mediaDocs: readonly RouteDoc[] = paths.map(([path, operationId]) => ({
  path,
  method: 'post',
  operationId,
  summary: 'Not offered: no kind of worker generates or reads this medium.',
  body: null,
  answers: [],
  refusals: refusals.notOffered,
}));
