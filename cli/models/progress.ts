/** What fetching a model reports. */
export type ModelProgress =
  | { readonly kind: 'note'; readonly text: string }
  | { readonly kind: 'bytes'; readonly file: string; readonly done: number; readonly total: number | undefined };

export type OnProgress = (progress: ModelProgress) => void;
