import { distance } from 'fastest-levenshtein';

/** Names longer than this are not compared: distance costs the product of the lengths. */
const longestCompared = 128;

/** Up to three of `candidates` that `name` may have meant, nearest first. */
export function closeNames(name: string, candidates: readonly string[]): string[] {
  if (name.length > longestCompared) return [];
  const wanted = name.toLowerCase();
  const scored = candidates
    .filter((candidate) => candidate.length <= longestCompared)
    .map((candidate) => {
      const other = candidate.toLowerCase();
      const contained = wanted.length > 2 && (other.includes(wanted) || wanted.includes(other));
      return { candidate, score: contained ? 0 : distance(wanted, other) / Math.max(wanted.length, other.length) };
    });
  return scored
    .filter(({ score }) => score <= 0.4)
    .sort((a, b) => a.score - b.score)
    .slice(0, 3)
    .map(({ candidate }) => candidate);
}
