/** Waits for a condition, looking again with every turn of the event loop and then every few milliseconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let turn = 0; ; turn++) {
    if (await condition()) return;
    await new Promise((resolve) => (turn < 10 ? setImmediate(resolve) : setTimeout(resolve, 5)));
  }
}
