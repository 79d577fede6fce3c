/** Feeds one input to a target and measures it. */
import type { Target } from './targets.ts'

/**
 * Throws an error with the reason where the target breaks one of its rules, or is too slow twice in a row: the first time may be
 * due to garbage collection.
 */
export function attempt(target: Target, input: Buffer): string {
  const before = process.cpuUsage()
  const way = target.handle(input)
  if (cpuMs(before) < target.slowMs) return way
  const again = process.cpuUsage()
  target.handle(input)
  const took = cpuMs(again)
  if (took > target.slowMs) throw new Error(`takes ${Math.round(took)} ms`)
  return way
}

/** CPU time of this process, so that load on the machine does not count. */
function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}
