/** The health of one address by its checks: HAProxy's rise and fall, except that one pass is enough for an unchecked one. */
export interface CheckState {
  readonly health: 'unknown' | 'up' | 'down'
  /** Consecutive checks that contradict `health`. */
  readonly against: number
}

export const unchecked: CheckState = { health: 'unknown', against: 0 }

const up: CheckState = { health: 'up', against: 0 }
const down: CheckState = { health: 'down', against: 0 }

export function applyCheck(
  checks: CheckState,
  passed: boolean,
  limits: { readonly rise: number; readonly fall: number },
): CheckState {
  const agrees = passed === (checks.health !== 'down')
  if (agrees) return passed ? up : down
  const against = checks.against + 1
  if (against < (passed ? limits.rise : limits.fall)) return { health: checks.health, against }
  return passed ? up : down
}
