/** What `starlane check` found: one line each, with what to do about it. */

export interface Finding {
  /** `this machine`, or a cluster. */
  readonly where: string
  /** What was looked at: `version`, `rights`, `clock`, … */
  readonly check: string
  /** `skipped`: it could not be looked at, which says nothing about it. */
  readonly state: 'good' | 'warning' | 'error' | 'skipped'
  readonly found: string
  /** What to do; of warnings and errors. */
  readonly remedy?: string
}

/** Makes the findings of one place. */
export function findingsAt(where: string) {
  return {
    good: (check: string, found: string): Finding => ({ where, check, state: 'good', found }),
    skipped: (check: string, found: string): Finding => ({ where, check, state: 'skipped', found }),
    warning: (check: string, found: string, remedy: string): Finding => ({
      ...{ where, check, found, remedy },
      state: 'warning',
    }),
    error: (check: string, found: string, remedy: string): Finding => ({
      ...{ where, check, found, remedy },
      state: 'error',
    }),
  }
}

export type Findings = ReturnType<typeof findingsAt>
