/** The verdict of the checks on one address: HAProxy's rise and fall, except that the first check passed decides at once. */
export interface Checks {
  readonly health: 'unknown' | 'up' | 'down'
  /** Checks in a row that speak against `health`. */
  readonly against: number
}

export const unchecked: Checks = { health: 'unknown', against: 0 }

const up: Checks = { health: 'up', against: 0 }
const down: Checks = { health: 'down', against: 0 }

export function judge(
  checks: Checks,
  passed: boolean,
  limits: { readonly rise: number; readonly fall: number },
): Checks {
  const agrees = passed === (checks.health !== 'down')
  if (agrees) return passed ? up : down
  const against = checks.against + 1
  if (against < (passed ? limits.rise : limits.fall)) return { health: checks.health, against }
  return passed ? up : down
}
