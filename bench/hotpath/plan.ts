/** How tokens come: `width` sequences, each with `burst` tokens every `stepMs`. */
export interface Plan {
  readonly width: number;
  readonly burst: number;
  readonly stepMs: number;
  /** Folder through which worker and gateway find each other. */
  readonly discoveryPath: string;
}

export function planOfProcess(): Plan {
  return JSON.parse(process.argv[2] ?? '') as Plan;
}
