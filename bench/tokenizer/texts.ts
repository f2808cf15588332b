/** Texts that differ in every word's company, from a seed: no tokenizer has met them before. */
export function freshText(count: number, bytes: number, seed: number): string[] {
  const random = generator(seed);
  return Array.from({ length: count }, () => {
    let text = '';
    while (text.length < bytes) text += sentence(random);
    return text.slice(0, bytes);
  });
}

export function freshChats(count: number, seed: number): string[] {
  const random = generator(seed);
  return Array.from(
    { length: count },
    () =>
      `<|im_start|>user\n${sentence(random)}${sentence(random)}${sentence(random)}<|im_end|>\n<|im_start|>assistant\n`,
  );
}

const syllables = 'an be con der el for ge hi in ja ko lu mi nor op pa qui re sa tor un ver wa xi yo zen'.split(' ');

function sentence(random: () => number): string {
  const words = Array.from({ length: 6 + Math.floor(random() * 8) }, () => word(random));
  const [first = '', ...rest] = words;
  const end = random() < 0.1 ? ` (${Math.floor(random() * 1e5)}) {x[i] = "${word(random)}";}\n` : '. ';
  return first.charAt(0).toUpperCase() + first.slice(1) + rest.map((next) => ` ${next}`).join('') + end;
}

function word(random: () => number): string {
  let text = '';
  for (let i = Math.floor(random() * 3); i >= 0; i--) text += syllables[Math.floor(random() * syllables.length)] ?? '';
  return text;
}

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
