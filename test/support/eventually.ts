/**
 * Polls until `check` returns without throwing; throws its last error after `ms`. Use it in place of fixed sleeps. Check with
 * node:assert inside, since a failed tap assertion counts at the first attempt. The time is for a busy machine: none that passes waits it out.
 */
export async function eventually<T>(check: () => T | Promise<T>, ms = 20_000): Promise<T> {
  const deadline = performance.now() + ms
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }
}
