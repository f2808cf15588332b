import type { OnProgress } from '../models/progress.ts';
import type { Progress } from './progress.ts';

/** Shows what fetching a model reports. */
export function showModelProgress(progress: Progress): OnProgress {
  return (event) => {
    if (event.kind === 'note') progress.say(event.text);
    else progress.transfer(event.file, event.done, event.total);
  };
}
