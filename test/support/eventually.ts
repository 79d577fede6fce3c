/**
 * Waits until `check` returns without throwing, or throws its last error after `ms`. In place of sleeps. Checks with
 * node:assert: an assertion of tap counts as failed at the first look.
 */
export async function eventually<T>(check: () => T | Promise<T>, ms = 5000): Promise<T> {
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
